"""A systematic error is mended from five of its cases, at a known cost, and blind."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable, write_deltalake

from cluster.data.rows import Source, latest
from cluster.engine.ray import RayEngine
from cluster.mining.selection import Selection
from cluster.similar.find import ExampleError, Pattern, find
from cluster.similar.similarity import Similarity
from cluster.versions.merge import MergeConfig, merge
from jobs import pattern as job
from relabel_service.client import Client
from relabel_service.errors import InvalidInput, NotFound
from relabel_service.simulated_labeler import label_all
from relabel_service.tables import delta
from relabel_service.tasks import task_named
from tests.data import slices
from tests.support.cross_fit import Rows, cross_fit
from tests.support.servers import ServerProcess
from tests.tasks.test_text_classification import TOPICS, planted, tiny_bert
from tests.unit.test_majority import results, vote

TASK = "text_classification"
NUM_WRONG, NUM_CASES = 60, 5
TRANSFER = ["transfer", "fee", "contract", "striker", "signed", "deal"]

pytestmark = pytest.mark.usefixtures("ray_cluster")


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
        unfit = pa.table({"id": ["unfit"], "text": [""], "label": ["money"], "gold": ["money"]})
        write_deltalake(uri, unfit)  # a block without a fit row
        for at in range(0, self.table.num_rows, 140):  # three more
            write_deltalake(uri, self.table.slice(at, 140), mode="append")
        self.source = latest(Source(uri, TASK, ("text",), "label", "id"))
        self.cases = tuple(
            ExampleError(text, "sport", name)
            for text, name in zip(texts[:NUM_CASES], names, strict=False)
        )

    def pattern(self, **other: Any) -> Pattern:
        settings = {
            "source": self.source,
            "cases": self.cases,
            "similarity_by": Similarity.TOKENS,
            "findings_uri": self.findings,
            "run_id": "transfers",
            "selection": Selection(top=80),
        }
        return Pattern(**{**settings, **other})

    def found(self, run_id: str = "transfers") -> list[dict[str, Any]]:
        return list(delta.read_run(self.findings, run_id).to_pylist())


def mended(source: Source, table: pa.Table, findings: list[dict[str, Any]], folder: Path) -> int:
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
            assert all("right label is sport" in lease.item.reason for lease in leases)
            preferred = {lease.item.preferred_label.class_label.class_name for lease in leases}
            assert preferred == {"sport"}
            client.release(campaign, [lease.token for lease in leases])
        assert label_all(client, campaign, gold) == 80
        client.finalize(campaign, results_uri=str(setting.folder / "results"))
    results_uri, lineage_uri = str(setting.folder / "results"), str(setting.folder / "lineage")
    merging = MergeConfig(setting.source, results_uri, "transfers", lineage_uri)
    assert merge(merging).num_decided == 80


def test_five_cases_mend_most_of_a_systematic_error(tmp_path: Path, server: ServerProcess) -> None:
    setting = Setting(tmp_path)
    found = find(setting.pattern(), RayEngine())
    assert found.num_rows == 421
    assert found.num_findings == 80
    findings = setting.found()
    assert findings[0]["suspicion"] == 1.0
    for row in findings:
        assert row["suggestions"] == []
        assert "like bad case 'transfer-" in row["reason"]
        assert row["reason"].endswith("whose right label is sport")
        assert row["human_label"] != "sport"
        assert 0 < row["suspicion"] <= 1
    assert [row["rank"] for row in findings] == list(range(80))
    asked_and_merged(setting, server)
    assert planted_wrong(setting) <= NUM_WRONG // 10


def test_mining_passes_the_same_error_over(tmp_path: Path) -> None:
    """The model has learned it: why the search is by likeness, and the campaign blind."""
    table = Setting(tmp_path).table
    rows = Rows(*(table[name].to_pylist() for name in ("id", "text", "label", "gold")))
    fitted = cross_fit(TASK, rows)
    worst = [rows.ids[row] for row in np.argsort(-fitted.suspicion)[:80]]
    assert sum(name.startswith("transfer") for name in worst) < NUM_WRONG // 5


def test_the_order_does_not_depend_on_how_the_table_is_stored(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    find(setting.pattern(), RayEngine())
    whole = str(tmp_path / "whole")
    write_deltalake(whole, setting.table.sort_by([("id", "descending")]))
    again = setting.pattern(source=latest(replace(setting.source, uri=whole, version=None)))
    find(replace(again, run_id="whole"), RayEngine())
    kept = [
        [(row["id"], round(row["suspicion"], 9)) for row in setting.found(name)]
        for name in ("transfers", "whole")
    ]
    assert kept[0] == kept[1]


def test_searching_again_tells_the_same_and_writes_nothing(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    first = find(setting.pattern(), RayEngine())
    assert find(setting.pattern(), RayEngine()) == first
    assert len(setting.found()) == first.num_findings


def test_rows_that_agree_or_are_decided_are_not_asked_about(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    every = find(setting.pattern(selection=Selection(threshold=0.0)), RayEngine())
    sport = sum(label == "sport" for label in setting.table["label"].to_pylist())
    assert 0 < every.num_agreeing <= sport
    assert every.num_findings == every.num_alike - every.num_agreeing
    known = frozenset({("transfer-0", ""), ("transfer-1", "")})
    find(setting.pattern(decided=known, run_id="later"), RayEngine())
    assert not known & {(row["id"], row["unit"]) for row in setting.found("later")}


def test_an_expression_finds_what_it_matches(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    case = ExampleError(r"\b(fee|striker)\b", "sport", r"\b(fee|striker)\b")
    found = find(
        setting.pattern(cases=(case,), similarity_by=Similarity.REGEX, selection=Selection()),
        RayEngine(),
    )
    texts = setting.table["text"].to_pylist()
    expected = [text for text in texts if {"fee", "striker"} & {*text.split()}]
    assert found.num_findings == len(expected) > 10
    assert setting.found()[0]["reason"].startswith("matches bad case")


def test_a_text_encoder_by_path_finds_texts_of_the_same_words(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    model = tiny_bert(tmp_path / "bert", setting.table["text"].to_pylist())
    found = find(setting.pattern(similarity_by=Similarity.EMBEDDING, encoder=model), RayEngine())
    assert found.num_findings == 80
    assert setting.found()[0]["suspicion"] == pytest.approx(1.0)
    best = [row["id"].startswith("transfer") for row in setting.found()[:40]]
    assert np.mean(best) > 0.5


def test_pictures_like_five_misnamed_ones_are_found_by_their_pixels(tmp_path: Path) -> None:
    """Ones that are named 7, in the digits whose noise confuses the two."""
    task = task_named("image_classification")
    table = slices.read("image_classification/digits", "train")
    uri = str(tmp_path / "data")
    write_deltalake(uri, table)
    source = latest(Source(uri, task.name, ("image",), "label", "id"))
    wrong = [row for row in table.to_pylist() if (row["gold"], row["label"]) == ("1", "7")]
    cases = tuple(
        ExampleError(task.read_content({"image": row["image"]}), "1", str(row["id"]))
        for row in wrong[:NUM_CASES]
    )
    found = find(
        Pattern(
            source=source,
            cases=cases,
            similarity_by=Similarity.EMBEDDING,
            findings_uri=str(tmp_path / "findings"),
            run_id="ones",
            selection=Selection(top=2 * len(wrong)),
        ),
        RayEngine(),
    )
    assert found.num_findings == 2 * len(wrong)
    rows = delta.read_run(str(tmp_path / "findings"), "ones").to_pylist()
    hit = {row["id"] for row in rows} & {str(row["id"]) for row in wrong}
    assert len(hit) > 0.6 * len(wrong)
    assert mended(source, table, rows, tmp_path) >= len(hit)


def test_classes_of_boxes_are_asked_about_one_by_one(tmp_path: Path) -> None:
    task = task_named("object_detection")
    table = slices.read("object_detection/digit_scenes", "train").slice(0, 40)
    uri = str(tmp_path / "data")
    write_deltalake(uri, table)
    first = table.slice(0, 1).to_pylist()[0]
    content = task.read_content({"image": first["image"]})
    case = ExampleError(content, task.read_label(first["gold"], content), first["id"])
    find(
        Pattern(
            source=latest(Source(uri, task.name, ("image",), "label", "id")),
            cases=(case,),
            similarity_by=Similarity.EMBEDDING,
            findings_uri=str(tmp_path / "findings"),
            run_id="scenes",
            selection=Selection(top=3),
        ),
        RayEngine(),
    )
    rows = delta.read_run(str(tmp_path / "findings"), "scenes").to_pylist()
    named = list(task.classes_in(case.label))
    assert [row["unit"] for row in rows] == named * 3
    assert {row["preferred_label"] for row in rows} == {None}  # its places are the case's own
    assert rows[0]["id"] == first["id"]
    assert all(set(task.classes_in(row["human_label"])) <= {row["unit"]} for row in rows)


def test_findings_are_not_put_into_another_table(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    with pytest.raises(InvalidInput, match="is a table of id, text, label, gold; name another"):
        find(setting.pattern(findings_uri=setting.source.uri), RayEngine())


def test_a_search_without_cases_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="name at least one bad case"):
        Pattern(
            source=Source("data", TASK, ("text",), "label"),
            cases=(),
            similarity_by=Similarity.TOKENS,
            findings_uri=str(tmp_path),
            run_id="r",
        )


def test_a_right_label_that_no_row_has_is_a_slip_unless_it_is_meant(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    slip = ExampleError("a fee", "sprot", "a fee")
    with pytest.raises(InvalidInput, match=r"'sprot' is no class of .* money, sport, weather"):
        find(setting.pattern(cases=(slip,)), RayEngine())
    find(setting.pattern(cases=(slip,), new_classes=True), RayEngine())
    assert "sprot" in setting.found()[0]["classes"]


def test_cases_are_typed_named_by_row_or_read_from_a_table(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    bad = str(tmp_path / "bad")
    one = setting.table.filter(pc.equal(setting.table["id"], "transfer-9"))
    write_deltalake(bad, one.drop_columns(["gold"]))
    typed = job._of_contents(setting.source, ["a fee"], "sport", Similarity.TOKENS)
    assert typed == [ExampleError("a fee", "sport", "a fee")]
    [of_row] = job._of_rows(RayEngine(), setting.source, ["transfer-3"], "sport")
    assert (of_row.label, of_row.name) == ("sport", "transfer-3")
    [of_table] = job._of_table(RayEngine(), setting.source, bad)
    assert (of_table.label, of_table.name) == ("money", "transfer-9")
    with pytest.raises(NotFound, match="has no fit row 'nobody'"):
        job._of_rows(RayEngine(), setting.source, ["nobody"], "sport")
    with pytest.raises(InvalidInput, match="say which label is right"):
        job._of_contents(setting.source, ["a fee"], None, Similarity.TOKENS)
