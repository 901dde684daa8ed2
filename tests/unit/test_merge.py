"""Results become the next version: once, with lineage, and never over somebody else's change."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from cluster.data.rows import Source, latest
from cluster.versions.merge import Consensus, MergeConfig, merge
from relabel_service.errors import Conflict, InvalidInput, NotFound
from relabel_service.tables import delta, schemas
from relabel_service.tables.lineage import decided_by_people
from tests.support.campaigns import finding
from tests.unit.test_majority import results, vote


class Setting:
    """A data set of four rows, and one campaign's results about it."""

    def __init__(self, folder: Path, *, id_column: str | None = "id", ids: Any = "abcd") -> None:
        self.uri = str(folder / "data")
        self.lineage = str(folder / "lineage")
        self.results = str(folder / "results")
        self.id_column = id_column
        table = pa.table(
            {
                "id": list(ids),
                "text": [f"text {name}" for name in ids],
                "label": ["ham"] * 4,
                "other": [1.5, None, 2.5, 3.5],
            }
        )
        write_deltalake(self.uri, table if id_column else table.drop_columns(["id"]))

    def finalize(self, *votes: dict[str, Any], campaign: str = "c") -> None:
        delta.append_once(self.results, results(*votes), app_id=campaign)

    def merging(self, campaign: str = "c", *, skip_changed: bool = False) -> MergeConfig:
        source = Source(self.uri, "text_classification", ("text",), "label", self.id_column)
        return MergeConfig(latest(source), self.results, campaign, self.lineage, skip_changed)

    def labels(self, version: int | None = None) -> list[str]:
        table = DeltaTable(self.uri, version=version).to_pyarrow_table().sort_by("text")
        return list(table["label"].to_pylist())


def test_a_majority_becomes_the_next_version_with_lineage(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    setting.finalize(
        vote("a", "ann", "spam"),
        vote("a", "bob", "spam"),
        vote("b", "ann", "ham", decision="confirm"),
        vote("c", "ann", "spam"),
        vote("c", "bob", "ham"),
        vote("d", "ann", None),
    )
    merged = merge(setting.merging())
    assert (merged.version_before, merged.version) == (0, 1)
    assert (merged.num_decided, merged.num_changed, merged.num_undecided) == (2, 1, 2)
    assert setting.labels() == ["spam", "ham", "ham", "ham"]
    assert setting.labels(version=0) == ["ham"] * 4
    first, second = delta.read_where(setting.lineage, {}).sort_by("id").to_pylist()
    assert (first["previous_label"], first["new_label"], first["changed"]) == ("ham", "spam", True)
    assert (first["labelers"], dict(first["votes"])) == (["ann", "bob"], {"spam": 2})
    assert (first["dataset_version"], first["campaign"], first["run_id"]) == (1, "c", "run")
    assert (second["id"], second["changed"]) == ("b", False)
    assert set(decided_by_people(setting.lineage).contents) == {("a", ""), ("b", "")}


def test_other_columns_and_rows_stay_as_they_were(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    before = DeltaTable(setting.uri).to_pyarrow_table().sort_by("id")
    setting.finalize(vote("b", "ann", "spam"))
    merge(setting.merging())
    after = DeltaTable(setting.uri).to_pyarrow_table().sort_by("id")
    assert after.drop_columns(["label"]) == before.drop_columns(["label"])
    assert after.schema == before.schema


def test_merging_again_changes_nothing_and_tells_the_same(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    setting.finalize(vote("a", "ann", "spam"))
    first = merge(setting.merging())
    assert merge(setting.merging()) == first
    assert DeltaTable(setting.uri).version() == 1
    assert delta.read_where(setting.lineage, {}).num_rows == 1


def test_a_merge_cut_off_before_its_lineage_is_completed(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    setting.finalize(vote("a", "ann", "spam"))
    whole = merge(setting.merging())
    DeltaTable(setting.lineage).delete()  # as if the process had died between the two commits
    for file in (Path(setting.lineage) / "_delta_log").iterdir():
        file.unlink()
    assert merge(setting.merging()) == whole
    [row] = delta.read_where(setting.lineage, {}).to_pylist()
    assert (row["previous_label"], row["new_label"], row["dataset_version"]) == ("ham", "spam", 1)


def test_a_label_that_changed_meanwhile_is_not_written_over(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    setting.finalize(vote("a", "ann", "spam"), vote("b", "ann", "spam"))
    DeltaTable(setting.uri).update({"label": "'eggs'"}, predicate="id = 'a'")
    with pytest.raises(Conflict, match=r"'a' was 'ham' and is 'eggs'.*--skip-changed"):
        merge(setting.merging())
    assert setting.labels() == ["eggs", "ham", "ham", "ham"]
    merged = merge(setting.merging(skip_changed=True))
    assert (merged.num_skipped, merged.num_changed) == (1, 1)
    assert setting.labels() == ["eggs", "spam", "ham", "ham"]


def test_a_row_that_is_gone_is_told(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    setting.finalize(vote("a", "ann", "spam"))
    DeltaTable(setting.uri).delete("id = 'a'")
    with pytest.raises(Conflict, match="'a' was 'ham' and is gone"):
        merge(setting.merging())


def test_rows_added_meanwhile_are_kept(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    setting.finalize(vote("a", "ann", "spam"))
    more = pa.table({"id": ["e"], "text": ["text e"], "label": ["ham"], "other": [9.0]})
    write_deltalake(setting.uri, more, mode="append")
    merge(setting.merging())
    assert setting.labels() == ["spam", "ham", "ham", "ham", "ham"]


def test_merges_at_the_same_time_are_all_kept(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    for name in "abcd":
        setting.finalize(vote(name, "ann", "spam", campaign=f"c-{name}"), campaign=f"c-{name}")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: merge(setting.merging(f"c-{name}")), "abcd"))
    assert setting.labels() == ["spam"] * 4
    assert delta.read_where(setting.lineage, {}).num_rows == 4


def test_integer_ids_keep_their_type(tmp_path: Path) -> None:
    setting = Setting(tmp_path, ids=[10, 11, 12, 13])
    setting.finalize(vote("11", "ann", "spam"))
    merge(setting.merging())
    assert setting.labels() == ["ham", "spam", "ham", "ham"]


def test_rows_without_ids_are_found_by_their_content(tmp_path: Path) -> None:
    from cluster.data.rows import content_id

    setting = Setting(tmp_path, id_column=None)
    setting.finalize(vote(content_id("text c"), "ann", "spam"))
    merge(setting.merging())
    assert setting.labels() == ["ham", "ham", "spam", "ham"]


def test_confirmations_alone_make_no_version(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    setting.finalize(vote("a", "ann", "ham", decision="confirm"))
    merged = merge(setting.merging())
    assert (merged.version_before, merged.version, merged.num_changed) == (0, 0, 0)
    assert set(decided_by_people(setting.lineage).contents) == {("a", "")}


def test_a_campaign_without_results_is_not_found(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    setting.finalize(vote("a", "ann", "spam"))
    with pytest.raises(NotFound, match="'other'"):
        merge(setting.merging("other"))


def test_parquet_has_no_versions(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"text": ["a"], "label": ["x"]}), tmp_path / "data.parquet")
    source = Source(str(tmp_path / "data.parquet"), "text_classification", ("text",), "label")
    with pytest.raises(InvalidInput, match="not a Delta table"):
        merge(MergeConfig(latest(source), "results", "c", "lineage"))


def test_a_consensus_may_weigh_labelers_and_the_model(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    findings = str(tmp_path / "findings")
    rows = [finding(rank, id=name, content=f"text {name}") for rank, name in enumerate("abcd")]
    rows[3]["suggestions"] = [{"label": "ham", "probability": 0.6}]
    delta.append_once(findings, pa.Table.from_pylist(rows, schemas.FINDINGS), app_id="run")
    votes = [
        vote(name, who, label, findings_uri=findings)
        for who, labels in (("ann", "sssh"), ("bob", "sshh"), ("cyd", "h---"))
        for name, label in zip(
            "abcd", ({"s": "spam", "h": "ham"}.get(one) for one in labels), strict=True
        )
    ]
    setting.finalize(*votes)
    merging = replace(setting.merging(), consensus=Consensus.CROWDLAB)
    merged = merge(merging)
    assert (merged.num_decided, merged.num_undecided) == (4, 0)  # a tie, too: the model tips it
    assert setting.labels() == ["spam", "spam", "spam", "ham"]
    quality = {row["labeler"]: row["quality"] for row in merged.labelers}
    assert quality["ann"] > quality["cyd"]
    assert merge(merging) == merged
    told = json.loads(json.dumps(asdict(merged)))
    assert [row["num_votes"] for row in told["labelers"]] == [4, 4, 1]


def test_two_ways_to_decide_are_two_merges(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    setting.finalize(vote("a", "ann", "spam"))
    merge(setting.merging())
    with pytest.raises(NotFound, match="findings"):  # which the weights need
        merge(replace(setting.merging(), consensus=Consensus.CROWDLAB))
