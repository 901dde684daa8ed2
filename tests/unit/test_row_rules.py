"""Rows that break a rule of their table are named before anything is written, and others written;
what a column cannot hold, and what a commit fails of, is said in a sentence."""

import json
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from cluster.data.rows import Source, latest, require_mergeable
from cluster.versions.plan import Action, WriteConfig
from cluster.versions.policy import Rule, changed_rows
from cluster.versions.write import write
from relabel_service.errors import InvalidInput
from relabel_service.tables import delta, schemas
from tests.support.handmade_delta import write_table
from tests.unit.test_shown_rows import decided, lineage, merged

ROWS = pa.table(
    {
        "id": ["a", "b"],
        "text": ["one", "two"],
        "label": ["ham", "spam"],
        "number": pa.array([None, 2], pa.int32()),
    }
)
KNOWN = "label = 'ham' OR label = 'spam'"
VOTES = (
    decided("a", "newsletter", "one"),
    decided("b", "ham", "two", human_label="spam"),
)


def invariant(expression: str) -> dict[str, str]:
    return {"delta.invariants": json.dumps({"expression": {"expression": expression}})}


RULES: Mapping[str, tuple[Mapping[str, Any], str]] = {
    "invariant": (
        {"features": ["invariants"], "fields": {"label": invariant(KNOWN)}},
        r"'a': breaks the table's invariant of column 'label' \(label = 'ham'",
    ),
    "invariant of two columns": (
        {"features": ["invariants"], "fields": {"text": invariant("label <> 'newsletter'")}},
        "'a': breaks the table's invariant of column 'text'",
    ),
    "null breaks a constraint": (
        {
            "features": ["checkConstraints"],
            "configuration": {"delta.constraints.n": f"{KNOWN} OR number > 0"},
        },
        "'a': breaks the table's constraint 'n'",
    ),
    "null breaks an invariant": (
        {"features": ["invariants"], "fields": {"id": invariant(f"{KNOWN} OR number > 0")}},
        "'a': breaks the table's invariant of column 'id'",
    ),
}


def source(uri: str, **other: Any) -> Source:
    return Source(uri, "text_classification", ("text",), "label", "id", **other)


@pytest.mark.parametrize("kind", RULES)
def test_rows_whose_answer_breaks_a_rule_are_named_and_the_others_written(
    kind: str, tmp_path: Path
) -> None:
    settings, reason = RULES[kind]
    uri = write_table(tmp_path / "data", ROWS, **settings)
    require_mergeable(latest(source(uri)))
    with pytest.raises(InvalidInput, match=reason):
        merged(tmp_path, ROWS, *VOTES)
    result, after = merged(tmp_path, ROWS, *VOTES, skip_changed=True)
    assert (result.num_changed, result.num_skipped) == (1, 1)
    assert after["label"].to_pylist() == ["ham", "ham"]
    assert [row["id"] for row in lineage(tmp_path)] == ["b"]


@pytest.mark.parametrize(
    "settings",
    [
        {"fields": {"label": invariant(KNOWN)}},
        {"configuration": {"delta.constraints.known": KNOWN}},
    ],
)
def test_rules_whose_feature_the_table_has_not_are_not_in_force(
    settings: Mapping[str, Any], tmp_path: Path
) -> None:
    write_table(tmp_path / "data", ROWS, **settings)
    _, after = merged(tmp_path, ROWS, *VOTES)
    assert after["label"].to_pylist() == ["newsletter", "ham"]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (
            {"features": ["invariants"], "fields": {"number": invariant("number > 0")}},
            r"1 rows of .* break its invariant of column 'number', 'number > 0', as they.*repair",
        ),
        (
            {
                "features": ["checkConstraints"],
                "configuration": {"delta.constraints.n": "number>0"},
            },
            r"1 rows of .* break its constraint 'n', 'number>0', as they are.*or drop the rule",
        ),
        (
            {"features": ["invariants"], "fields": {"number": invariant("nonesuch(number)")}},
            "the invariant of column 'number', 'nonesuch.number.', which cannot be computed here",
        ),
        (
            {"features": ["invariants"], "fields": {"number": {"delta.invariants": "}"}}},
            "delta.invariants cannot be read .* remove it",
        ),
    ],
)
def test_rules_that_no_merge_could_keep_are_told_before_people_are_asked(
    settings: Mapping[str, Any], told: str, tmp_path: Path
) -> None:
    uri = write_table(tmp_path / "data", ROWS, **settings)
    with pytest.raises(InvalidInput, match=told):
        require_mergeable(latest(source(uri)))


def test_a_rule_of_which_rows_are_broken_meanwhile_is_told_at_the_merge(tmp_path: Path) -> None:
    fields = {"number": invariant("number > 0")}
    write_table(tmp_path / "data", ROWS, features=["invariants"], fields=fields)
    with pytest.raises(InvalidInput, match=r"1 rows of .* break its invariant of column 'number'"):
        merged(tmp_path, ROWS, decided("b", "ham", "two", human_label="spam"))


@pytest.mark.parametrize(
    ("values", "answer", "kind"),
    [
        (pa.array([0, 1]), "spam", "int64"),
        (pa.array([0, 1], pa.int8()), "300", "int8"),
        (pa.array([False, True]), "perhaps", "bool"),
        (pa.array([0.0, 1.0]), "spam", "double"),
        (pa.array([Decimal(0), Decimal(1)], pa.decimal128(3, 1)), "12345", "decimal128"),
    ],
)
def test_an_answer_that_the_column_cannot_hold_is_named_and_the_others_written(
    values: pa.Array, answer: str, kind: str, tmp_path: Path
) -> None:
    table = pa.table({"id": ["a", "b"], "text": ["one", "two"], "label": values})
    zero, one = ("false", "true") if kind == "bool" else ("0", "1")
    votes = [
        decided("a", answer, "one", human_label=zero),
        decided("b", zero, "two", human_label=one),
    ]
    told = rf"1 new labels .* 'a': '{answer}' cannot be held by a label column of {kind}"
    with pytest.raises(InvalidInput, match=told):
        merged(tmp_path, table, *votes)
    result, after = merged(tmp_path, table, *votes, skip_changed=True)
    assert (result.num_changed, result.num_skipped) == (1, 1)
    assert after["label"].to_pylist() == [values[0].as_py()] * 2


def test_lineage_says_what_the_column_holds(tmp_path: Path) -> None:
    table = pa.table({"id": ["a"], "text": ["one"], "label": [False]})
    _, after = merged(tmp_path, table, decided("a", "1", "one", human_label="false"))
    assert after["label"].to_pylist() == [True]
    assert lineage(tmp_path)[0]["new_label"] == "true"


def test_a_preview_writes_whole_numbers_as_the_column_holds_them() -> None:
    batch = pa.table({"id": ["a", "b"], "text": ["one", "two"], "label": [0, 1]})
    decision = {"id": "a", "unit": "", "previous_label": "0", "new_label": "1"}
    changed = changed_rows(
        batch, source=source("anywhere"), rule=Rule(Action.SET), by_id={"a": [decision]}
    )
    assert changed["label"].to_pylist() == [1, 1]


def test_weights_that_their_column_cannot_hold_are_refused(tmp_path: Path) -> None:
    table = ROWS.append_column("weight", pa.array([1, 1]))
    write_deltalake(str(tmp_path / "data"), table)
    decision = dict.fromkeys(schemas.LINEAGE.names) | {
        "id": "a", "unit": "", "previous_label": "ham", "new_label": "ham", "weight": 0.5
    }  # fmt: skip
    config = WriteConfig(
        source(str(tmp_path / "data")), [decision], "rule", str(tmp_path / "lineage"),
        action=Action.WEIGHT,
    )  # fmt: skip
    with pytest.raises(InvalidInput, match=r"'weight' .* is of int64, which cannot hold"):
        write(config)


def test_a_table_of_other_columns_is_not_appended_to(tmp_path: Path) -> None:
    uri = str(tmp_path / "table")
    write_deltalake(uri, ROWS)
    other = ROWS.set_column(3, "number", pa.array(["many", "few"]))
    with pytest.raises(InvalidInput, match=r"cannot be written: .*; remove that, or write to"):
        delta.append_once(uri, other, app_id="a")


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InvalidInput, match=r"cannot be written: .*; remove that, or write to"):
        delta.append_once(str(tmp_path / "file" / "table"), ROWS, app_id="a")


def test_a_file_that_is_gone_at_the_merge_is_told(tmp_path: Path) -> None:
    uri = str(tmp_path / "data")
    write_deltalake(uri, ROWS)
    for path in DeltaTable(uri).file_uris():
        Path(path.removeprefix("file://")).unlink()
    with pytest.raises(InvalidInput, match=r"cannot be read to its end .* give a later version"):
        merged(tmp_path, ROWS, *VOTES)
