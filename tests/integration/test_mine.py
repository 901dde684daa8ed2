"""Mining on a real Ray session: every row accounted for, the worst found, once."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

from cluster.data.rows import Source, latest, rows
from cluster.engine.base import BATCH_ROWS
from cluster.engine.ray import RayBatches, RayEngine
from cluster.inference.predict import InferenceConfig, Sampling
from cluster.io.run_folder import work_folder
from cluster.mining.feedback_data import BY_MODELS, evidence_from
from cluster.mining.mine import (
    MineConfig,
    MineResult,
    delete_predictions,
    mine,
    write_label_confidence,
)
from cluster.mining.selection import Selection
from cluster.scores.feedback import learn
from cluster.training.sample_weights import sample_weights
from relabel_service.errors import InvalidInput, NotFound
from relabel_service.tables import delta
from tests.integration.conftest import Trained
from tests.tasks.test_text_classification import planted, tiny_bert


def mining(trained: Trained, folder: Path, run_id: str = "run", **other: Any) -> MineConfig:
    return MineConfig(
        source=trained.source,
        store_uri=trained.store_uri,
        findings_uri=str(folder / "findings"),
        quarantine_uri=str(folder / "quarantine"),
        run_id=run_id,
        **other,
    )


def without_times(mined: MineResult) -> dict[str, Any]:
    return {name: value for name, value in vars(mined).items() if name != "seconds"}


def test_every_row_is_scored_or_quarantined_and_the_worst_come_first(
    trained: Trained, tmp_path: Path
) -> None:
    mined = mine(mining(trained, tmp_path, selection=Selection(top=1000)), RayEngine())
    assert mined.num_rows == trained.num_rows
    assert mined.num_scored + mined.num_quarantined == mined.num_rows
    assert mined.num_quarantined == trained.num_unfit
    assert mined.num_repeated_ids == 1
    findings = delta.read_run(str(tmp_path / "findings"), "run").to_pylist()
    assert len(findings) == mined.num_findings == mined.num_scored
    assert [row["rank"] for row in findings] == list(range(len(findings)))
    suspicions = [row["suspicion"] for row in findings]
    assert suspicions == sorted(suspicions, reverse=True)
    assert {row["id"] for row in findings} == set(trained.gold)
    wrong = [row["human_label"] != trained.gold[row["id"]] for row in findings]
    num_wrong = sum(wrong)
    assert sum(wrong[:num_wrong]) / num_wrong > 0.8
    first = findings[0]
    assert first["suggestions"][0]["label"] == trained.gold[first["id"]]
    assert first["suggestions"][0]["label"] in first["reason"]
    assert dict(first["signals"])["p_label"] < 0.5
    assert first["content"]
    assert first["classes"] == ["money", "sport", "weather"]


def test_the_quarantine_says_why(trained: Trained, tmp_path: Path) -> None:
    mine(mining(trained, tmp_path), RayEngine())
    rows = delta.read_where(str(tmp_path / "quarantine"), {"run_id": "run"}).to_pylist()
    reasons = {row["id"]: row["reason"] for row in rows}
    assert len(rows) == trained.num_unfit
    assert "text: is empty" in reasons["empty"]
    assert "label: is NoneType" in reasons["no-label"]
    assert "used by 2 rows" in reasons["row-7"]
    assert any("id: is null" in reason for reason in reasons.values())
    assert all(row["row"] for row in rows)


def test_rows_of_one_file_are_shared_among_workers(ray_cluster: None, tmp_path: Path) -> None:
    uri = str(tmp_path / "one.parquet")
    count = 3 * BATCH_ROWS
    texts = [f"text {number}" for number in range(count)]
    pq.write_table(pa.table({"text": texts, "label": ["sport"] * count}), uri)
    source = latest(Source(uri, "text_classification", ("text",), "label"))
    found = rows(RayEngine(), source).cache()
    assert isinstance(found, RayBatches)
    assert (found.dataset.count(), found.dataset.num_blocks()) == (count, 3)


def test_a_run_repeated_tells_the_same_and_writes_nothing(trained: Trained, tmp_path: Path) -> None:
    settings = mining(trained, tmp_path, selection=Selection(budget=0.1))
    first = mine(settings, RayEngine())
    version = delta.open_table(settings.findings_uri).version()
    assert mine(settings, RayEngine()) == first
    assert first.num_findings == 30
    assert delta.open_table(settings.findings_uri).version() == version


def test_a_run_cut_off_goes_on_with_what_is_missing(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("cluster.engine.ray.BATCH_ROWS", "cluster.engine.ray.SHARD_ROWS"):
        monkeypatch.setattr(name, 100)  # so few rows would be one part
    asked = {"selection": Selection(top=50), "inference": InferenceConfig(batch_rows=100)}
    whole = mining(trained, tmp_path, "whole", **asked)
    expected = mine(whole, RayEngine())
    # As a run leaves it that dies after some judged parts: the parts of another, less one.
    half = mining(trained, tmp_path, "half", **asked)
    _judge_only(half, monkeypatch)
    work = work_folder(half.findings_uri, half.run_id)
    parts = work.names("judged", ".parquet")
    assert len(parts) > 1
    Path(work.address(parts[0])).unlink()
    found = mine(half, RayEngine())
    # Sums over parts that come in another order may differ in their last digit.
    assert np.allclose(found.noise_matrix, expected.noise_matrix)
    same = {"run_id": "half", "noise_matrix": found.noise_matrix}
    assert without_times(found) == without_times(expected) | same
    assert _order(half) == _order(whole)
    assert _suspicions(half) == pytest.approx(_suspicions(whole))


def test_only_new_and_changed_rows_are_judged_again_and_the_same_is_found(
    trained: Trained, tmp_path: Path
) -> None:
    every = Selection(top=1000)
    mine(mining(trained, tmp_path, "then", selection=every, keep_predictions=True), RayEngine())
    later = _later_version(trained, tmp_path / "data")
    asked = replace(mining(trained, tmp_path, "whole", selection=every), source=later)
    expected = mine(asked, RayEngine())
    reuse_run = replace(asked, run_id="since", reuse_run="then")
    found = mine(reuse_run, RayEngine())
    # Of the fit rows one is gone, one is new, ten have another label, one another content.
    assert found.num_reused == found.num_scored - 1 - 10 - 1
    assert (found.num_findings, found.rest) == (expected.num_findings, expected.rest)
    assert np.allclose(found.noise_matrix, expected.noise_matrix)
    assert _suspicions(reuse_run) == pytest.approx(_suspicions(asked), abs=1e-6)
    with pytest.raises(NotFound, match="keeps no predictions; mine whole with --keep-predictions"):
        mine(replace(asked, run_id="more", reuse_run="whole"), RayEngine())
    with pytest.raises(InvalidInput, match="judged with predictions 'out-of-sample', not 'in-s"):
        mine(
            replace(reuse_run, run_id="more", inference=InferenceConfig(Sampling.IN_SAMPLE)),
            RayEngine(),
        )
    with pytest.raises(InvalidInput, match="is this run"):
        replace(reuse_run, reuse_run="since")


def _later_version(trained: Trained, folder: Path) -> Source:
    rows = DeltaTable(trained.source.uri).to_pyarrow_table().to_pylist()
    for row in rows[10:20]:
        row["label"] = "money" if row["label"] != "money" else "sport"
    rows[20]["text"] += " again"
    rows[21] = {"id": "new", "text": "a new text", "label": "sport"}
    write_deltalake(str(folder), pa.Table.from_pylist(rows))
    return latest(replace(trained.source, uri=str(folder), version=None))


def test_rows_decided_already_are_scored_but_not_asked_about(
    trained: Trained, tmp_path: Path
) -> None:
    everything = mining(trained, tmp_path, "all", selection=Selection(top=20))
    mine(everything, RayEngine())
    decided = frozenset((row["id"], "") for row in _findings(everything)[:5])
    rest = mining(trained, tmp_path, "rest", selection=Selection(top=20), decided=decided)
    assert mine(rest, RayEngine()).num_scored == trained.num_rows - trained.num_unfit
    assert [row["id"] for row in _findings(rest)[:15]] == [
        row["id"] for row in _findings(everything)[5:]
    ]


def test_rows_are_ranked_by_what_answers_have_taught(trained: Trained, tmp_path: Path) -> None:
    untaught = mining(trained, tmp_path, "before", selection=Selection(top=1000))
    mine(untaught, RayEngine())
    # People find that labels of one class are right, whatever the model says.
    told = [(dict(row["signals"]), row["human_label"]) for row in _findings(untaught)]
    signals = {name: np.array([one[name] for one, _ in told]) for name in told[0][0]}
    wrong = np.array([label != "sport" for _, label in told])
    feedback = learn(evidence_from(signals, [label for _, label in told]), wrong)
    taught = mining(trained, tmp_path, "taught", selection=Selection(top=30), feedback=feedback)
    assert mine(replace(taught, keep_predictions=True), RayEngine()).num_answers == len(told)
    found = _findings(taught)
    assert all(row["human_label"] != "sport" for row in found)
    assert any(row["human_label"] == "sport" for row in _findings(untaught)[:30])
    before = {row["id"]: row for row in _findings(untaught)}
    for row in found:
        told_now, told_then = dict(row["signals"]), dict(before[row["id"]]["signals"])
        assert told_now == told_then
        assert told_now[BY_MODELS] == before[row["id"]]["suspicion"]
        alone = evidence_from(
            {name: np.array([value]) for name, value in told_now.items()}, [row["human_label"]]
        )
        assert row["suspicion"] == pytest.approx(feedback.p_wrong(alone)[0])
    _doubts_are_suspicions_but_of_decided_rows(taught, str(tmp_path / "doubts"))


def _doubts_are_suspicions_but_of_decided_rows(taught: MineConfig, uri: str) -> None:
    found = _findings(taught)
    decided = frozenset((row["id"], "") for row in found[:5])
    rest = write_label_confidence(replace(taught, decided=decided), uri)
    assert sum(rest) == mine(taught, RayEngine()).num_scored - 5
    told = sample_weights(uri, [*(row["id"] for row in found), "unknown"])
    assert told[:5].tolist() == [1.0] * 5
    assert told[5:-1] == pytest.approx([1 - row["suspicion"] for row in found[5:]], abs=1e-6)
    assert told[-1] == 1.0
    delete_predictions(taught.findings_uri, taught.run_id)
    assert write_label_confidence(taught, uri) == rest  # written already
    with pytest.raises(NotFound, match="kept no judgements; mine under another run id"):
        write_label_confidence(taught, f"{uri}-more")


def test_in_sample_predictions_are_more_sure_of_wrong_labels(
    trained: Trained, tmp_path: Path
) -> None:
    wrong = {}
    for sampling in Sampling:
        settings = mining(
            trained,
            tmp_path,
            sampling.value,
            selection=Selection(top=1000),
            inference=InferenceConfig(sampling),
        )
        mine(settings, RayEngine())
        wrong[sampling] = [
            dict(row["signals"])["p_label"]
            for row in _findings(settings)
            if row["human_label"] != trained.gold[row["id"]]
        ]
    means = {name: sum(values) / len(values) for name, values in wrong.items()}
    assert means[Sampling.IN_SAMPLE] > means[Sampling.OUT_OF_SAMPLE]


def test_the_rest_is_counted_and_a_random_sample_of_it_is_kept_for_an_audit(
    trained: Trained, tmp_path: Path
) -> None:
    asked = mining(trained, tmp_path, selection=Selection(top=30), num_audit=60)
    mined = mine(asked, RayEngine())
    assert sum(mined.rest) == mined.num_scored - 30
    audit = delta.read_run(mined.audit_uri, "run").to_pylist()
    assert mined.num_audit == len(audit) == 60
    found = {row["id"] for row in _findings(asked)}
    names = [row["id"] for row in sorted(audit, key=lambda row: row["rank"])]
    assert len(set(names)) == 60
    assert not found & set(names)
    assert all(sum(row) == pytest.approx(1) for row in mined.noise_matrix)
    # A smaller sample of the same run is the beginning of the larger.
    smaller = mine(
        mining(trained, tmp_path / "smaller", selection=Selection(top=30), num_audit=20),
        RayEngine(),
    )
    fewer = delta.read_run(smaller.audit_uri, "run").to_pylist()
    assert [row["id"] for row in sorted(fewer, key=lambda row: row["rank"])] == names[:20]


def test_an_encoder_is_a_second_view(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = tiny_bert(tmp_path / "encoder", planted(100, noise=0).contents)
    settings = mining(trained, tmp_path, selection=Selection(top=20), encoder=encoder)
    mine(settings, RayEngine())
    signals = [dict(row["signals"]) for row in _findings(settings)]
    assert all({"suspicion_encoder", "suspicion_dynamics"} < set(one) for one in signals)
    half = mining(trained, tmp_path, "half", selection=Selection(top=20), encoder=encoder)
    _judge_only(half, monkeypatch)
    mine(half, RayEngine())
    assert _order(half) == _order(settings)
    assert _suspicions(half) == pytest.approx(_suspicions(settings))


def test_an_encoder_that_is_none_is_said_so_before_anything_runs(
    trained: Trained, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInput, match="encoder by hub id or local path"):
        mine(mining(trained, tmp_path, encoder=str(tmp_path / "nothing")), RayEngine())
    with pytest.raises(InvalidInput, match="has no use for it"):
        mine(
            mining(trained, tmp_path, encoder="any", inference=InferenceConfig(Sampling.IN_SAMPLE)),
            RayEngine(),
        )


def test_a_training_that_is_not_there_is_said_so(trained: Trained, tmp_path: Path) -> None:
    settings = mining(trained, tmp_path)
    with pytest.raises(NotFound, match="no finished training"):
        mine(MineConfig(**{**vars(settings), "store_uri": str(tmp_path / "none")}), RayEngine())


@pytest.mark.parametrize("table", ["findings", "quarantine", "audit"])
def test_nothing_is_put_into_another_table(trained: Trained, tmp_path: Path, table: str) -> None:
    asked = mining(trained, tmp_path, num_audit=5)
    other = str(getattr(asked, f"{table}_uri"))
    write_deltalake(other, pa.table({"id": ["a"]}))
    with pytest.raises(InvalidInput, match=f"{table}: .* is a table of id; name another address"):
        mine(asked, RayEngine())


def test_a_run_needs_a_name(trained: Trained, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="run_id"):
        mining(trained, tmp_path, "a/b")


def _findings(settings: MineConfig) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = (
        delta.read_run(settings.findings_uri, settings.run_id)
        .select(["id", "rank", "suspicion", "human_label", "signals"])
        .to_pylist()
    )
    return rows


def _order(settings: MineConfig) -> list[tuple[int, str, str]]:
    return [(row["rank"], row["id"], row["human_label"]) for row in _findings(settings)]


def _suspicions(settings: MineConfig) -> dict[str, float]:
    return {row["id"]: row["suspicion"] for row in _findings(settings)}


def _judge_only(settings: MineConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run until the judged parts are written, then end as a killed process would."""

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("cluster.mining.mine.count", die)
        with pytest.raises(KeyboardInterrupt):
            mine(settings, RayEngine())
