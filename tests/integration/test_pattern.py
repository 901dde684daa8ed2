"""A systematic error is repaired from five example errors, at a known cost, and blind.

The searches run on the local engine; test_find.py compares the engines.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable, write_deltalake

from cluster.data.rows import Source, latest
from cluster.engine.local import LocalEngine
from cluster.mining.selection import Selection
from cluster.similar.find import ExampleError, FindConfig, find
from cluster.similar.similarity import Similarity
from cluster.versions.merge import MergeConfig, merge
from jobs import pattern as job
from relabel_service.client import Client
from relabel_service.errors import InvalidInput, NotFound
from relabel_service.simulated_labeler import label_all
from relabel_service.tables import delta
from relabel_service.tables.lineage import Decided
from relabel_service.tasks import task_named
from tests.data import slices
from tests.support.cross_fit import Rows, cross_fit
from tests.support.servers import ServerProcess
from tests.tasks.test_text_classification import TOPICS, planted, tiny_bert
from tests.unit.test_majority import results, vote

TASK = "text_classification"
LOCAL = LocalEngine()
NUM_WRONG, NUM_EXAMPLES = 60, 5
TRANSFER = ["transfer", "fee", "contract", "striker", "signed", "deal"]


class Setting:
    """300 rows with a few errors at random; 60 about transfers that say money, all wrongly; and 60
    about money that share words with those and are right."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.findings = str(folder / "findings")
        others = planted(300, noise=0.05)
        randomness = np.random.default_rng(1)
        texts = [
            " ".join([*randomness.choice(TRANSFER, 3, replace=False), "a", "now"])
            for _ in range(NUM_WRONG)
        ]
        names = [f"transfer-{place}" for place in range(NUM_WRONG)]
        right = [
            " ".join([*randomness.choice(TRANSFER, 2), *randomness.choice(TOPICS["money"], 2), "a"])
            for _ in range(NUM_WRONG)
        ]
        self.table = pa.table(
            {
                "id": [*others.ids, *names, *(f"right-{place}" for place in range(NUM_WRONG))],
                "text": [*others.contents, *texts, *right],
                "label": [*others.labels, *["money"] * 2 * NUM_WRONG],
                "gold": [*others.gold, *["sport"] * NUM_WRONG, *["money"] * NUM_WRONG],
            }
        )
        uri = str(folder / "data")
        invalid = pa.table({"id": ["invalid"], "text": [""], "label": ["money"], "gold": ["money"]})
        write_deltalake(uri, invalid)  # a batch without a valid row
        for at in range(0, self.table.num_rows, 140):  # three more
            write_deltalake(uri, self.table.slice(at, 140), mode="append")
        self.source = latest(Source(uri, TASK, ("text",), "label", "id"))
        self.examples = tuple(
            ExampleError(text, "sport", name)
            for text, name in zip(texts[:NUM_EXAMPLES], names, strict=False)
        )

    def config(self, **other: Any) -> FindConfig:
        settings = {
            "source": self.source,
            "examples": self.examples,
            "similarity_by": Similarity.TOKENS,
            "findings_uri": self.findings,
            "run_id": "transfers",
            "selection": Selection(top=80),
        }
        return FindConfig(**{**settings, **other})

    def findings_of(self, run_id: str = "transfers") -> list[dict[str, Any]]:
        return list(delta.read_run(self.findings, run_id).to_pylist())


def num_repaired(
    source: Source, table: pa.Table, findings: list[dict[str, Any]], folder: Path
) -> int:
    """Answer every finding by gold and merge: how many rows that were wrong are right now."""
    gold = dict(zip(table["id"].to_pylist(), table["gold"].to_pylist(), strict=True))
    votes = [
        vote(row["id"], "ann", gold[row["id"]], human_label=row["human_label"], rank=row["rank"])
        for row in findings
    ]
    delta.append_once(str(folder / "results"), results(*votes), app_id="c")
    merged = merge(MergeConfig(source, str(folder / "results"), "c", str(folder / "lineage")))
    assert merged.num_decided == len(findings)
    return merged.num_changed


def planted_wrong(setting: Setting) -> int:
    after = DeltaTable(setting.source.uri).to_pyarrow_table().to_pylist()
    return sum(row["label"] != row["gold"] for row in after if row["id"].startswith("transfer"))


def asked_and_merged(setting: Setting, server: ServerProcess) -> None:
    """Ask about the findings in a campaign, blind, answer by gold, merge."""
    table = setting.table
    gold = dict(zip(table["id"].to_pylist(), table["gold"].to_pylist(), strict=True))
    with Client(server.address, labeler="ann") as client:
        campaign = client.create_campaign(
            "transfers", findings_uri=setting.findings, run_id="transfers"
        ).name
        with client.leases(campaign, max_items=5) as leases:
            assert all(not lease.item.suggestions for lease in leases)
            assert all("correct label is sport" in lease.item.reason for lease in leases)
            preferred = {lease.item.preferred_label.class_label.class_name for lease in leases}
            assert preferred == {"sport"}
            client.release(campaign, [lease.token for lease in leases])
        assert label_all(client, campaign, gold) == 80
        client.finalize(campaign, results_uri=str(setting.folder / "results"))
    results_uri, lineage_uri = str(setting.folder / "results"), str(setting.folder / "lineage")
    merging = MergeConfig(setting.source, results_uri, "transfers", lineage_uri)
    assert merge(merging).num_decided == 80


def test_five_examples_repair_most_of_a_systematic_error(
    tmp_path: Path, server: ServerProcess
) -> None:
    setting = Setting(tmp_path)
    found = find(setting.config(), LOCAL)
    assert found.num_rows == 421
    assert found.num_findings == 80
    findings = setting.findings_of()
    assert findings[0]["suspicion"] == 1.0
    for row in findings:
        assert row["suggestions"] == []
        assert "similar to example error 'transfer-" in row["reason"]
        assert row["reason"].endswith("whose correct label is sport")
        assert row["human_label"] != "sport"
        assert 0 < row["suspicion"] <= 1
    assert [row["rank"] for row in findings] == list(range(80))
    asked_and_merged(setting, server)
    assert planted_wrong(setting) <= NUM_WRONG // 10


def test_mining_passes_the_same_error_over(tmp_path: Path) -> None:
    """The model has learned it: why the search is by similarity, and the campaign blind."""
    table = Setting(tmp_path).table
    rows = Rows(*(table[name].to_pylist() for name in ("id", "text", "label", "gold")))
    fitted = cross_fit(TASK, rows)
    worst = [rows.ids[row] for row in np.argsort(-fitted.suspicion)[:80]]
    assert sum(name.startswith("transfer") for name in worst) < NUM_WRONG // 5


def test_a_repeated_search_returns_the_stored_result_and_writes_nothing(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    first = find(setting.config(), LOCAL)
    assert find(setting.config(), LOCAL) == first
    assert len(setting.findings_of()) == first.num_findings


def test_rows_that_agree_or_are_decided_are_not_asked_about(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    every = find(setting.config(selection=Selection(threshold=0.0)), LOCAL)
    sport = sum(label == "sport" for label in setting.table["label"].to_pylist())
    assert 0 < every.num_agreeing <= sport
    assert every.num_findings == every.num_similar - every.num_agreeing
    known = frozenset({("transfer-0", ""), ("transfer-1", "")})
    find(setting.config(decided=Decided.whatever(known), run_id="later"), LOCAL)
    assert not known & {(row["id"], row["unit"]) for row in setting.findings_of("later")}


def test_an_expression_finds_what_it_matches(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    example = ExampleError(r"\b(fee|striker)\b", "sport", r"\b(fee|striker)\b")
    found = find(
        setting.config(examples=(example,), similarity_by=Similarity.REGEX, selection=Selection()),
        LOCAL,
    )
    texts = setting.table["text"].to_pylist()
    expected = [text for text in texts if {"fee", "striker"} & {*text.split()}]
    assert found.num_findings == len(expected) > 10
    assert setting.findings_of()[0]["reason"].startswith("matches example error")


def test_a_text_encoder_by_path_finds_texts_of_the_same_words(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    model = tiny_bert(tmp_path / "bert", setting.table["text"].to_pylist())
    found = find(setting.config(similarity_by=Similarity.EMBEDDING, encoder=model), LOCAL)
    assert found.num_findings == 80
    assert setting.findings_of()[0]["suspicion"] == pytest.approx(1.0)
    best = [row["id"].startswith("transfer") for row in setting.findings_of()[:40]]
    assert np.mean(best) > 0.5


def test_pictures_like_five_misnamed_ones_are_found_by_their_pixels(tmp_path: Path) -> None:
    """Ones that are named 7, in the digits whose noise confuses the two."""
    task = task_named("image_classification")
    table = slices.read("image_classification/digits", "train")
    uri = str(tmp_path / "data")
    write_deltalake(uri, table)
    source = latest(Source(uri, task.name, ("image",), "label", "id"))
    wrong = [row for row in table.to_pylist() if (row["gold"], row["label"]) == ("1", "7")]
    examples = tuple(
        ExampleError(task.read_content({"image": row["image"]}), "1", str(row["id"]))
        for row in wrong[:NUM_EXAMPLES]
    )
    found = find(
        FindConfig(
            source=source,
            examples=examples,
            similarity_by=Similarity.EMBEDDING,
            findings_uri=str(tmp_path / "findings"),
            run_id="ones",
            selection=Selection(top=2 * len(wrong)),
        ),
        LOCAL,
    )
    assert found.num_findings == 2 * len(wrong)
    rows = delta.read_run(str(tmp_path / "findings"), "ones").to_pylist()
    hit = {row["id"] for row in rows} & {str(row["id"]) for row in wrong}
    assert len(hit) > 0.6 * len(wrong)
    assert num_repaired(source, table, rows, tmp_path) >= len(hit)


def test_classes_of_boxes_are_asked_about_one_by_one(tmp_path: Path) -> None:
    task = task_named("object_detection")
    table = slices.read("object_detection/digit_scenes", "train").slice(0, 40)
    uri = str(tmp_path / "data")
    write_deltalake(uri, table)
    first = table.slice(0, 1).to_pylist()[0]
    content = task.read_content({"image": first["image"]})
    example = ExampleError(content, task.read_label(first["gold"], content), first["id"])
    find(
        FindConfig(
            source=latest(Source(uri, task.name, ("image",), "label", "id")),
            examples=(example,),
            similarity_by=Similarity.EMBEDDING,
            findings_uri=str(tmp_path / "findings"),
            run_id="scenes",
            selection=Selection(top=3),
        ),
        LOCAL,
    )
    rows = delta.read_run(str(tmp_path / "findings"), "scenes").to_pylist()
    named = list(task.classes_in(example.label))
    assert [row["unit"] for row in rows] == named * 3
    assert {row["preferred_label"] for row in rows} == {None}  # its places are the case's own
    assert rows[0]["id"] == first["id"]
    assert all(set(task.classes_in(row["human_label"])) <= {row["unit"]} for row in rows)


def test_findings_are_not_put_into_another_table(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    with pytest.raises(InvalidInput, match="is a table of id, text, label, gold; name another"):
        find(setting.config(findings_uri=setting.source.uri), LOCAL)


def test_a_search_without_examples_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="name at least one example error"):
        FindConfig(
            source=Source("data", TASK, ("text",), "label"),
            examples=(),
            similarity_by=Similarity.TOKENS,
            findings_uri=str(tmp_path),
            run_id="r",
        )


def test_a_correct_label_that_no_row_has_is_a_slip_unless_it_is_meant(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    slip = ExampleError("a fee", "sprot", "a fee")
    with pytest.raises(InvalidInput, match=r"'sprot' is not a class of .* money, sport, weather"):
        find(setting.config(examples=(slip,)), LOCAL)
    find(setting.config(examples=(slip,), new_classes=True), LOCAL)
    assert "sprot" in setting.findings_of()[0]["classes"]


def test_examples_are_typed_named_by_row_or_read_from_a_table(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    bad = str(tmp_path / "bad")
    one = setting.table.filter(pc.equal(setting.table["id"], "transfer-9"))
    write_deltalake(bad, one.drop_columns(["gold"]))
    typed = job._of_contents(setting.source, ["a fee"], "sport", Similarity.TOKENS)
    assert typed == [ExampleError("a fee", "sport", "a fee")]
    [of_row] = job._of_rows(LOCAL, setting.source, ["transfer-3"], "sport")
    assert (of_row.label, of_row.name) == ("sport", "transfer-3")
    [of_table] = job._of_table(LOCAL, setting.source, bad)
    assert (of_table.label, of_table.name) == ("money", "transfer-9")
    with pytest.raises(NotFound, match="has no valid row 'nobody'"):
        job._of_rows(LOCAL, setting.source, ["nobody"], "sport")
    with pytest.raises(InvalidInput, match="say which label is right"):
        job._of_contents(setting.source, ["a fee"], None, Similarity.TOKENS)
