"""Rules decide about the worst findings; each becomes one version, with lineage, once."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from cluster.data.rows import Source, latest
from cluster.versions.plan import Action
from cluster.versions.policy import LABEL_RANK, Rule, apply, changed_rows, decide
from relabel_service.errors import Conflict, InvalidInput
from relabel_service.tables import delta, schemas
from relabel_service.tables.lineage import decided_by_people

RUN = "run"


def finding(rank: int, row_id: str, label: str, others: str, suspicion: float) -> dict[str, Any]:
    """others: the model's classes, most probable first."""
    return {
        "run_id": RUN,
        "rank": rank,
        "id": row_id,
        "unit": "",
        "content": f"text {row_id}",
        "human_label": label,
        "suggestions": [{"label": name, "probability": 0.5} for name in others],
        "suspicion": suspicion,
        "signals": [(LABEL_RANK, 1.0 + others.find(label))],
        "reason": "",
        "task": "text_classification",
        "classes": sorted(others),
    }


FINDINGS = pa.Table.from_pylist(
    [
        finding(0, "a", "x", "yzx", 0.9),
        finding(1, "b", "x", "yxz", 0.7),
        finding(2, "c", "y", "yxz", 0.2),
        finding(3, "d", "z", "zxy", 0.1),
    ],
    schema=schemas.FINDINGS,
)


class Setting:
    """A data set of four rows and a run's findings about it."""

    def __init__(self, folder: Path, *, id_column: str | None = "id") -> None:
        self.uri, self.findings = str(folder / "data"), str(folder / "findings")
        self.lineage = str(folder / "lineage")
        table = pa.table(
            {
                "id": list("abcd"),
                "text": [f"text {name}" for name in "abcd"],
                "label": list("xxyz"),
                "other": [1.5, None, 2.5, 3.5],
            }
        )
        write_deltalake(self.uri, table)
        delta.append_once(self.findings, FINDINGS, app_id=RUN)
        self.source = latest(Source(self.uri, "text_classification", ("text",), "label", id_column))

    def apply(self, rule: Rule) -> Any:
        return apply(self.source, self.findings, RUN, rule, lineage_uri=self.lineage)

    def rows(self, *columns: str) -> list[tuple[Any, ...]]:
        table = DeltaTable(self.uri).to_pyarrow_table().sort_by("id")
        return list(zip(*(table[name].to_pylist() for name in columns), strict=True))


@pytest.mark.parametrize(
    ("rule", "ids"),
    [
        (Rule(Action.DROP, least=0.5), "ab"),
        (Rule(Action.DROP, top=1), "a"),
        (Rule(Action.DROP, outside_top=1), "ab"),
        (Rule(Action.DROP, outside_top=2), "a"),
        (Rule(Action.DROP, least=0.5, outside_top=2), "a"),
        (Rule(Action.DROP, outside_top=3), ""),
    ],
)
def test_a_rule_takes_the_findings_that_meet_every_condition(rule: Rule, ids: str) -> None:
    assert [row["id"] for row in decide(FINDINGS, rule)] == list(ids)


def test_set_takes_the_best_label_that_is_another() -> None:
    found = {row["id"]: row["new_label"] for row in decide(FINDINGS, Rule(Action.SET))}
    assert found == {"a": "y", "b": "y", "c": "x", "d": "x"}


def test_set_leaves_findings_alone_that_have_no_other_label() -> None:
    lone = pa.Table.from_pylist([finding(0, "a", "x", "x", 0.9)], schema=schemas.FINDINGS)
    assert decide(lone, Rule(Action.SET)) == []


def test_top_k_needs_a_task_that_ranks_classes() -> None:
    row = finding(0, "a", "x", "yx", 0.9) | {"signals": []}
    findings = pa.Table.from_pylist([row], schema=schemas.FINDINGS)
    with pytest.raises(InvalidInput, match="ranks no classes; use a threshold"):
        decide(findings, Rule(Action.DROP, outside_top=1))


@pytest.mark.parametrize(
    "wrong", [{"least": 1.5}, {"top": 0}, {"outside_top": 0}, {"weight": -0.5}]
)
def test_rules_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="use "):
        Rule(Action.WEIGHT, **wrong)


def test_set_writes_labels_and_says_that_a_rule_did(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    written = setting.apply(Rule(Action.SET, least=0.5))
    assert (written.version_before, written.version) == (0, 1)
    assert setting.rows("label") == [("y",), ("y",), ("y",), ("z",)]
    first, second = delta.read_where(setting.lineage, {}).sort_by("id").to_pylist()
    assert (first["id"], first["previous_label"], first["new_label"]) == ("a", "x", "y")
    assert (first["action"], first["policy"]) == ("set", "set-suspicion>=0.5")
    assert (first["labelers"], first["dataset_version"], first["run_id"]) == ([], 1, RUN)
    assert second["id"] == "b"
    assert set(decided_by_people(setting.lineage).contents) == set()  # people have decided nothing


def test_drop_deletes_the_rows_and_the_version_before_keeps_them(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    setting.apply(Rule(Action.DROP, top=2))
    assert setting.rows("id", "other") == [("c", 2.5), ("d", 3.5)]
    assert DeltaTable(setting.uri, version=0).to_pyarrow_table().num_rows == 4
    dropped = delta.read_where(setting.lineage, {}).to_pylist()
    assert {row["id"] for row in dropped} == {"a", "b"}
    assert all(row["new_label"] is None and row["changed"] for row in dropped)


def test_weight_makes_its_column_and_leaves_labels_alone(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    setting.apply(Rule(Action.WEIGHT, least=0.5))
    weighted = setting.rows("id", "label", "weight")
    assert weighted[:2] == [("a", "x", pytest.approx(0.1)), ("b", "x", pytest.approx(0.3))]
    assert weighted[2:] == [("c", "y", None), ("d", "z", None)]
    told = delta.read_where(setting.lineage, {}).sort_by("id").to_pylist()
    assert [row["weight"] for row in told] == [pytest.approx(0.1), pytest.approx(0.3)]


def test_a_second_weighting_writes_into_the_same_column(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    setting.apply(Rule(Action.WEIGHT, top=1, weight=0.5))
    setting.apply(Rule(Action.WEIGHT, top=2, weight=0.25))
    assert setting.rows("weight") == [(0.25,), (0.25,), (None,), (None,)]
    assert DeltaTable(setting.uri).version() == 2


@pytest.mark.parametrize("action", list(Action))
def test_applying_again_changes_nothing_and_tells_the_same(tmp_path: Path, action: Action) -> None:
    setting = Setting(tmp_path)
    first = setting.apply(Rule(action, top=2))
    second = setting.apply(Rule(action, top=2))
    assert (second.version_before, second.version) == (first.version_before, first.version)
    assert [row["id"] for row in second.decisions] == [row["id"] for row in first.decisions]
    assert DeltaTable(setting.uri).version() == 1
    assert delta.read_where(setting.lineage, {}).num_rows == 2


@pytest.mark.parametrize("action", list(Action))
def test_a_label_that_people_changed_meanwhile_is_not_touched(
    tmp_path: Path, action: Action
) -> None:
    setting = Setting(tmp_path)
    DeltaTable(setting.uri).update({"label": "'eggs'"}, predicate="id = 'a'")
    with pytest.raises(Conflict, match="'a' was 'x' and is 'eggs'"):
        setting.apply(Rule(action, top=2))
    assert DeltaTable(setting.uri).version() == 1


def test_a_rule_that_meets_no_row_makes_no_version(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    written = setting.apply(Rule(Action.DROP, least=0.95))
    assert (written.version_before, written.version) == (0, 0)
    assert DeltaTable(setting.uri).version() == 0


@pytest.mark.parametrize("action", list(Action))
def test_a_preview_holds_what_applying_would_leave(tmp_path: Path, action: Action) -> None:
    setting, rule = Setting(tmp_path), Rule(action, least=0.5)
    by_id = {row["id"]: [row] for row in decide(FINDINGS, rule)}
    batch = DeltaTable(setting.uri).to_pyarrow_table(columns=["id", "text", "label"])
    preview = changed_rows(batch, source=setting.source, rule=rule, by_id=by_id)
    assert preview.schema.field("label").type == batch.schema.field("label").type
    setting.apply(rule)
    after = DeltaTable(setting.uri).to_pyarrow_table()
    names = ["id", "label", *(["weight"] if action is Action.WEIGHT else [])]
    wanted = after.select(names).sort_by("id").to_pylist()
    for row in wanted:
        row["weight"] = 1.0 if row.get("weight") is None else row["weight"]
    assert preview.select(["id", "label", "weight"]).sort_by("id").to_pylist() == wanted
