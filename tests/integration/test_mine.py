"""Mining, on both engines: every row accounted for, the worst found, once.

What does not depend on the engine runs on the local one alone; what another engine goes on with
ends as a whole run of the local one does.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

from cluster.data.rows import Source, latest, rows
from cluster.engine.base import BATCH_ROWS, Engine
from cluster.engine.local import LocalEngine
from cluster.engine.ray import RayEngine
from cluster.inference.predict import InferenceConfig, Sampling
from cluster.mining.config import MineConfig, MineResult
from cluster.mining.feedback_data import BY_MODELS, evidence_from
from cluster.mining.label_confidence import write_label_confidence
from cluster.mining.mine import delete_predictions, mine
from cluster.mining.scored_shards import scored_shards
from cluster.mining.selection import Selection
from cluster.scores.feedback import learn
from cluster.training.sample_weights import sample_weights
from cluster.training.train import train
from relabel_service.errors import InvalidInput, NotFound
from relabel_service.tables import delta
from relabel_service.tables.lineage import Decided
from tests.integration.conftest import TRAINING, Trained
from tests.tasks.test_text_classification import planted, tiny_bert

LOCAL = LocalEngine()
ALL = Selection(top=1000)


def config(trained: Trained, folder: Path, run_id: str = "run", **other: Any) -> MineConfig:
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
    mined = mine(config(trained, tmp_path, selection=ALL, each_copy=True), LOCAL)
    assert mined.num_rows == trained.num_rows
    assert mined.num_scored + mined.num_quarantined == mined.num_rows
    assert mined.num_quarantined == trained.num_invalid
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


def test_engines_find_the_same(trained: Trained, tmp_path: Path, ray_cluster: Engine) -> None:
    exact, numbers = [], []
    for number, engine in enumerate((LOCAL, ray_cluster, RayEngine())):
        folder = tmp_path / str(number)
        settings = config(
            trained, folder, selection=Selection(top=250), num_audit=20, keep_predictions=True
        )
        result = without_times(mine(settings, engine))
        assert result.pop("audit_uri") == settings.audit_uri
        noise_matrix = result.pop("noise_matrix")
        written = [
            row
            for uri in (settings.findings_uri, settings.audit_uri)
            for row in delta.read_run(uri, "run").to_pylist()
        ]
        unasked = write_label_confidence(settings, engine, str(folder / "confidence"))
        weights = sample_weights(str(folder / "confidence"), sorted(trained.gold))
        signals = [dict(row.pop("signals")) for row in written]
        suspicions = [row.pop("suspicion") for row in written]
        exact.append((result, unasked, written, [list(of_row) for of_row in signals]))
        of_signals = [value for of_row in signals for value in of_row.values()]
        numbers.append(np.concatenate([*noise_matrix, suspicions, of_signals, weights]))
    assert exact[0] == exact[1] == exact[2]
    # Ray may read the blocks of a table in another order, which changes the last digit of sums.
    assert np.allclose(numbers[0], numbers[1:], rtol=1e-9, atol=1e-9)


def test_the_quarantine_says_why(trained: Trained, tmp_path: Path) -> None:
    mine(config(trained, tmp_path), LOCAL)
    quarantine = delta.read_where(str(tmp_path / "quarantine"), {"run_id": "run"}).to_pylist()
    reasons = {row["id"]: row["reason"] for row in quarantine}
    assert len(quarantine) == trained.num_invalid
    assert "text: is empty" in reasons["empty"]
    assert "label: is null" in reasons["no-label"]
    assert "used by 2 rows" in reasons["row-7"]
    assert any("id: is null" in reason for reason in reasons.values())
    assert all(row["row"] for row in quarantine)


def test_rows_of_one_file_are_shared_among_workers(ray_cluster: Engine, tmp_path: Path) -> None:
    from cluster.engine.ray_data import RayBatches

    uri = str(tmp_path / "one.parquet")
    count = 3 * BATCH_ROWS
    texts = [f"text {number}" for number in range(count)]
    pq.write_table(pa.table({"text": texts, "label": ["sport"] * count}), uri)
    source = latest(Source(uri, "text_classification", ("text",), "label"))
    batches = rows(ray_cluster, source).cache()
    assert isinstance(batches, RayBatches)
    assert (batches.dataset.count(), batches.dataset.num_blocks()) == (count, 3)


@pytest.mark.parametrize(
    ("limits", "least", "most"),
    [
        ({}, 1, BATCH_ROWS),
        ({"BLOCKS": 2}, BATCH_ROWS + 1, 32 * BATCH_ROWS),
        ({"BLOCKS": 2, "BLOCK_BYTES": 1_000}, 1, BATCH_ROWS),
    ],
)
def test_blocks_are_as_large_as_many_workers_and_memory_allow(
    ray_cluster: Engine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    limits: dict[str, int],
    least: int,
    most: int,
) -> None:
    from cluster.engine import ray_data

    for name, value in limits.items():
        monkeypatch.setattr(ray_data, name, value)
    uri = str(tmp_path / "one.parquet")
    count = 64 * BATCH_ROWS
    texts = [f"text {number}" for number in range(count)]
    pq.write_table(pa.table({"text": texts}), uri)
    batches = ray_cluster.read(uri, ["text"])
    assert isinstance(batches, ray_data.RayBatches)
    sizes = [block.num_rows for block in batches]
    assert sum(sizes) == count
    assert least <= max(sizes) <= most


def test_a_repeated_run_returns_the_stored_result_and_writes_nothing(
    trained: Trained, tmp_path: Path
) -> None:
    settings = config(trained, tmp_path, selection=Selection(budget=0.1))
    first = mine(settings, LOCAL)
    version = delta.open_table(settings.findings_uri).version()
    assert mine(settings, LOCAL) == first
    assert first.num_findings == 30
    assert delta.open_table(settings.findings_uri).version() == version


def test_a_run_cut_off_goes_on_with_what_is_missing(
    trained: Trained, tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = {"local": "local", "ray": "ray_data"}[engine.name]
    for name in ("BATCH_ROWS", "SHARD_ROWS"):  # so few rows would be one shard
        monkeypatch.setattr(f"cluster.engine.{module}.{name}", 100)
    settings = {"selection": Selection(top=50), "inference": InferenceConfig(batch_rows=100)}
    whole = config(trained, tmp_path, "whole", num_audit=10, **settings)
    expected = mine(whole, LOCAL)
    # As a run leaves it that dies after some shards: the shards of another, less one.
    half = config(trained, tmp_path, "half", num_audit=10, **settings)
    _predict_only(half, engine, monkeypatch)
    shards = scored_shards(half.folder)
    assert len(shards) > 1
    Path(half.folder.address(shards[0])).unlink()
    resumed = mine(half, engine)
    # Sums over shards that come in another order may differ in their last digit.
    assert np.allclose(resumed.noise_matrix, expected.noise_matrix)
    same = {"run_id": "half", "noise_matrix": resumed.noise_matrix}
    assert without_times(resumed) == without_times(expected) | same
    assert _order(half) == _order(whole)
    assert _suspicions(half) == pytest.approx(_suspicions(whole))


def test_only_new_and_changed_rows_are_predicted_again_and_the_same_is_found(
    trained: Trained, tmp_path: Path, engine: Engine
) -> None:
    mine(config(trained, tmp_path, "then", selection=ALL, keep_predictions=True), engine)
    later = _later_version(trained, tmp_path / "data")
    whole = replace(config(trained, tmp_path, "whole", selection=ALL), source=later)
    expected = mine(whole, LOCAL)
    reusing = replace(whole, run_id="reusing", reuse_run="then")
    mined = mine(reusing, engine)
    # Of the valid rows one is gone, one is new, ten have another label, one another content.
    assert mined.num_reused == mined.num_scored - 1 - 10 - 1
    assert (mined.num_findings, mined.unasked_histogram) == (
        expected.num_findings,
        expected.unasked_histogram,
    )
    assert np.allclose(mined.noise_matrix, expected.noise_matrix)
    assert _suspicions(reusing) == pytest.approx(_suspicions(whole), abs=1e-6)
    with pytest.raises(NotFound, match="keeps no predictions; mine whole with --keep-predictions"):
        mine(replace(whole, run_id="more", reuse_run="whole"), engine)
    in_sample = InferenceConfig(Sampling.IN_SAMPLE)
    with pytest.raises(InvalidInput, match="scored with predictions 'out-of-sample', not 'in-s"):
        mine(replace(reusing, run_id="more", inference=in_sample), engine)
    with pytest.raises(InvalidInput, match="is this run"):
        replace(reusing, reuse_run="reusing")


def _later_version(trained: Trained, folder: Path) -> Source:
    table = DeltaTable(trained.source.uri).to_pyarrow_table().to_pylist()
    for row in table[10:20]:
        row["label"] = "money" if row["label"] != "money" else "sport"
    table[20]["text"] += " again"
    table[21] = {"id": "new", "text": "a new text", "label": "sport"}
    write_deltalake(str(folder), pa.Table.from_pylist(table))
    return latest(replace(trained.source, uri=str(folder), version=None))


def test_rows_decided_on_already_are_scored_but_not_asked_about(
    trained: Trained, tmp_path: Path
) -> None:
    everything = config(trained, tmp_path, "all", selection=Selection(top=20))
    mine(everything, LOCAL)
    decided = Decided.whatever((row["id"], "") for row in _findings(everything)[:5])
    others = config(trained, tmp_path, "others", selection=Selection(top=20), decided=decided)
    assert mine(others, LOCAL).num_scored == trained.num_rows - trained.num_invalid
    assert [row["id"] for row in _findings(others)[:15]] == [
        row["id"] for row in _findings(everything)[5:]
    ]


def test_rows_that_are_the_same_are_asked_about_once(trained: Trained, tmp_path: Path) -> None:
    table = delta.open_table(trained.source.uri, trained.source.version).to_pyarrow_table()
    known = mine(config(trained, tmp_path, "known", selection=ALL), LOCAL)
    worst = _findings(config(trained, tmp_path, "known"))[0]
    rows = table.to_pylist() + [
        {"id": f"copy-{number}", "text": worst["content"], "label": worst["human_label"]}
        for number in range(3)
    ]
    write_deltalake(str(tmp_path / "data"), pa.Table.from_pylist(rows, schema=table.schema))
    source = latest(replace(trained.source, uri=str(tmp_path / "data"), version=None))
    once = replace(config(trained, tmp_path, "once", selection=ALL), source=source)
    each = replace(config(trained, tmp_path, "each", selection=ALL, each_copy=True), source=source)
    assert mine(each, LOCAL).num_findings == mine(once, LOCAL).num_scored
    copies = sum(len(row["copies"] or ()) for row in _findings(once))
    assert mine(once, LOCAL).num_findings + copies == mine(once, LOCAL).num_scored
    same = (worst["content"], worst["human_label"])
    [asked] = [row for row in _findings(once) if (row["content"], row["human_label"]) == same]
    others = {worst["id"], "copy-0", "copy-1", "copy-2"} - {asked["id"]}
    assert set(asked["copies"]) >= others
    assert all(row["copies"] is None for row in _findings(each))
    few = replace(config(trained, tmp_path, "few", selection=Selection(top=5)), source=source)
    assert mine(few, LOCAL).num_findings == 5
    covered = 5 + sum(len(row["copies"] or ()) for row in _findings(few))
    assert sum(mine(few, LOCAL).unasked_histogram) == known.num_scored + 3 - covered


def test_equally_suspicious_rows_are_all_in_the_order_or_those_of_the_first_ids(
    trained: Trained, tmp_path: Path
) -> None:
    """Feedback that leaves all rows alike: the limit cuts through rows of one suspicion."""
    everything = config(trained, tmp_path, "all", selection=ALL)
    mine(everything, LOCAL)
    signals = {BY_MODELS: np.full(50, 0.5)}
    alike = replace(
        learn(evidence_from(signals, [""] * 50), np.ones(50, np.bool_)), slope=-1.0, groups={}
    )
    some = config(trained, tmp_path, "some", selection=Selection(top=7), feedback=alike)
    mined = mine(some, LOCAL)
    assert [row["id"] for row in _findings(some)] == sorted(trained.gold)[:7]
    assert sum(mined.unasked_histogram) == mined.num_scored - 7


def test_rows_are_ranked_by_what_feedback_has_taught(trained: Trained, tmp_path: Path) -> None:
    untaught = config(trained, tmp_path, "before", selection=ALL)
    mine(untaught, LOCAL)
    # People find that labels of one class are right, whatever the model says.
    asked = [(dict(row["signals"]), row["human_label"]) for row in _findings(untaught)]
    signals = {name: np.array([of_row[name] for of_row, _ in asked]) for name in asked[0][0]}
    wrong = np.array([label != "sport" for _, label in asked])
    feedback = learn(evidence_from(signals, [label for _, label in asked]), wrong)
    taught = config(trained, tmp_path, "taught", selection=Selection(top=30), feedback=feedback)
    mined = mine(replace(taught, keep_predictions=True), LOCAL)
    assert mined.num_feedback == len(asked)
    findings = _findings(taught)
    assert all(row["human_label"] != "sport" for row in findings)
    assert any(row["human_label"] == "sport" for row in _findings(untaught)[:30])
    before = {row["id"]: row for row in _findings(untaught)}
    for row in findings:
        now, then = dict(row["signals"]), dict(before[row["id"]]["signals"])
        assert now == then
        assert now[BY_MODELS] == before[row["id"]]["suspicion"]
        alone = evidence_from(
            {name: np.array([value]) for name, value in now.items()}, [row["human_label"]]
        )
        assert row["suspicion"] == pytest.approx(feedback.p_wrong(alone)[0])
    _weights_follow_suspicion_but_for_decided_rows(taught, str(tmp_path / "label_confidence"))


def _weights_follow_suspicion_but_for_decided_rows(taught: MineConfig, uri: str) -> None:
    findings = _findings(taught)
    decided = Decided.whatever((row["id"], "") for row in findings[:5])
    unasked = write_label_confidence(replace(taught, decided=decided), LOCAL, uri)
    assert sum(unasked) == mine(taught, LOCAL).num_scored - 5
    weights = sample_weights(uri, [*(row["id"] for row in findings), "unknown"])
    assert weights[:5].tolist() == [1.0] * 5
    expected = [1 - row["suspicion"] for row in findings[5:]]
    assert weights[5:-1] == pytest.approx(expected, abs=1e-6)
    assert weights[-1] == 1.0
    delete_predictions(taught.findings_uri, taught.run_id)
    assert write_label_confidence(taught, LOCAL, uri) == unasked  # the stored ones
    with pytest.raises(NotFound, match="kept no predictions; mine under another run id"):
        write_label_confidence(taught, LOCAL, f"{uri}-more")


def test_in_sample_predictions_are_more_sure_of_wrong_labels(
    trained: Trained, tmp_path: Path
) -> None:
    # Trained until the models know their own rows by heart: after few epochs both are as sure.
    learned = str(tmp_path / "learned")
    train(trained.source, replace(TRAINING, epochs=40), learned, LOCAL)
    trained = replace(trained, store_uri=learned)
    wrong = {}
    for sampling in Sampling:
        inference = InferenceConfig(sampling)
        settings = config(trained, tmp_path, sampling.value, selection=ALL, inference=inference)
        mine(settings, LOCAL)
        wrong[sampling] = [
            dict(row["signals"])["p_label"]
            for row in _findings(settings)
            if row["human_label"] != trained.gold[row["id"]]
        ]
    means = {name: sum(values) / len(values) for name, values in wrong.items()}
    assert means[Sampling.IN_SAMPLE] > means[Sampling.OUT_OF_SAMPLE]


def test_unasked_rows_are_counted_and_a_random_sample_of_them_is_kept_for_an_audit(
    trained: Trained, tmp_path: Path
) -> None:
    settings = config(trained, tmp_path, selection=Selection(top=30), num_audit=60)
    mined = mine(settings, LOCAL)
    assert sum(mined.unasked_histogram) == mined.num_scored - 30
    audit = delta.read_run(mined.audit_uri, "run").to_pylist()
    assert mined.num_audit == len(audit) == 60
    asked = {row["id"] for row in _findings(settings)}
    names = [row["id"] for row in sorted(audit, key=lambda row: row["rank"])]
    assert len(set(names)) == 60
    assert not asked & set(names)
    assert all(sum(row) == pytest.approx(1) for row in mined.noise_matrix)
    # A smaller sample of the same run is the beginning of the larger.
    fewer = config(trained, tmp_path / "smaller", selection=Selection(top=30), num_audit=20)
    smaller = delta.read_run(mine(fewer, LOCAL).audit_uri, "run").to_pylist()
    assert [row["id"] for row in sorted(smaller, key=lambda row: row["rank"])] == names[:20]


def test_an_encoder_gives_a_second_model(
    trained: Trained, tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = tiny_bert(tmp_path / "encoder", planted(100, noise=0).contents)
    settings = config(trained, tmp_path, selection=Selection(top=20), encoder=encoder)
    mine(settings, LOCAL)
    half = config(trained, tmp_path, "half", selection=Selection(top=20), encoder=encoder)
    _predict_only(half, engine, monkeypatch)
    mine(half, engine)
    signals = [dict(row["signals"]) for row in _findings(half)]
    assert all({"suspicion_encoder", "suspicion_dynamics"} < set(of_row) for of_row in signals)
    assert _order(half) == _order(settings)
    assert _suspicions(half) == pytest.approx(_suspicions(settings))


def test_an_encoder_that_does_not_load_is_refused_before_anything_runs(
    trained: Trained, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInput, match="encoder by hub id or local path"):
        mine(config(trained, tmp_path, encoder=str(tmp_path / "nothing")), LOCAL)
    in_sample = InferenceConfig(Sampling.IN_SAMPLE)
    with pytest.raises(InvalidInput, match="has no use for it"):
        mine(config(trained, tmp_path, encoder="any", inference=in_sample), LOCAL)


def test_a_unit_that_the_task_lacks_is_refused(trained: Trained, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="'PER' is not a unit of text_classification"):
        mine(config(trained, tmp_path, units=("PER",)), LOCAL)


def test_a_training_that_is_not_there_is_not_found(trained: Trained, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no finished training"):
        mine(replace(config(trained, tmp_path), store_uri=str(tmp_path / "none")), LOCAL)


@pytest.mark.parametrize("table", ["findings", "quarantine", "audit"])
def test_nothing_is_put_into_another_table(trained: Trained, tmp_path: Path, table: str) -> None:
    settings = config(trained, tmp_path, num_audit=5)
    other = str(getattr(settings, f"{table}_uri"))
    write_deltalake(other, pa.table({"id": ["a"]}))
    with pytest.raises(InvalidInput, match=f"{table}: .* is a table of id; name another address"):
        mine(settings, LOCAL)


def test_a_run_needs_a_name(trained: Trained, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="run_id"):
        config(trained, tmp_path, "a/b")


def _findings(settings: MineConfig) -> list[dict[str, Any]]:
    findings: list[dict[str, Any]] = (
        delta.read_run(settings.findings_uri, settings.run_id)
        .select(["id", "rank", "content", "suspicion", "human_label", "signals", "copies"])
        .to_pylist()
    )
    return findings


def _order(settings: MineConfig) -> list[tuple[int, str, str]]:
    return [(row["rank"], row["id"], row["human_label"]) for row in _findings(settings)]


def _suspicions(settings: MineConfig) -> dict[str, float]:
    return {row["id"]: row["suspicion"] for row in _findings(settings)}


def _predict_only(settings: MineConfig, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run until the scored rows are written, then end as a killed process would."""

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("cluster.mining.mine.summarize_shards", die)
        with pytest.raises(KeyboardInterrupt):
            mine(settings, engine)
