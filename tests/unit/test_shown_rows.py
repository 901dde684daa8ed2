"""A decision reaches the row that was shown, and only that; what the row held beside stays."""

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from cluster.data.rows import Source, latest, rows
from cluster.engine.local import LocalEngine
from cluster.versions.merge import MergeConfig, MergeResult, merge
from relabel_service.errors import Conflict, InvalidInput
from relabel_service.media.fetch import data_uri
from relabel_service.tables import delta, schemas
from relabel_service.tables.fingerprint import content_fingerprint
from relabel_service.tables.lineage import decided_by_people
from relabel_service.tables.row_ids import row_ids
from relabel_service.tasks.boxes import CORNERS, Box, write_boxes
from tests.data.png import encode
from tests.support.campaigns import finding
from tests.unit.test_majority import results, vote

PICTURE = encode(np.zeros((100, 100), np.uint8))
BOX = pa.struct(
    [("label", pa.string()), *((side, pa.int32()) for side in ("x0", "y0", "x1", "y1")),
     ("ann_id", pa.int64()), ("iscrowd", pa.int8())]
)  # fmt: skip


def decided(row_id: str, new: str, shown: str, **other: Any) -> dict[str, Any]:
    """One person's answer about a row whose content was `shown`."""
    return vote(row_id, "ann", new, fingerprint=content_fingerprint(shown)) | other


def merged(
    folder: Path, table: pa.Table, *votes: dict[str, Any], skip_changed: bool = False, **source: Any
) -> tuple[MergeResult, pa.Table]:
    """Write the table, merge the votes; the result, and the table as it is then."""
    uri = str(folder / "data")
    if not delta.is_delta(uri):
        write_deltalake(uri, table)
    delta.append_once(str(folder / "results"), results(*votes), app_id="c")
    of_table = {
        "task": "text_classification",
        "content_columns": ("text",),
        "label_column": "label",
        "id_column": "id",
    } | source
    config = MergeConfig(
        latest(Source(uri, **of_table)),
        str(folder / "results"),
        "c",
        str(folder / "lineage"),
        skip_changed,
    )
    result, after = merge(config), delta.scanner(delta.open_table(uri)).to_table()
    if "text" in after.schema.names:  # a merge keeps no order
        after = after.sort_by("text")
    return result, after


def lineage(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = delta.read_where(str(folder / "lineage"), {}).to_pylist()
    return found


def test_of_rows_with_one_id_the_shown_one_is_written(tmp_path: Path) -> None:
    table = pa.table({"id": ["a", "a", "a"], "text": ["one", "two", None], "label": ["ham"] * 3})
    result, after = merged(tmp_path, table, decided("a", "spam", "one"))
    assert result.num_changed == 1
    assert after.to_pylist() == [
        {"id": "a", "text": "one", "label": "spam"},
        {"id": "a", "text": "two", "label": "ham"},
        {"id": "a", "text": None, "label": "ham"},
    ]


def test_where_it_cannot_be_told_which_was_shown_none_is_written(tmp_path: Path) -> None:
    table = pa.table({"id": ["a", "a", "b"], "text": ["one", "two", "x"], "label": ["ham"] * 3})
    of_earlier_release = [vote("a", "ann", "spam"), vote("b", "ann", "spam")]
    with pytest.raises(Conflict, match="'a' is the id of 2 rows of that label"):
        merged(tmp_path, table, *of_earlier_release)
    result, after = merged(tmp_path, table, *of_earlier_release, skip_changed=True)
    assert (result.num_skipped, after["label"].to_pylist()) == (1, ["ham", "ham", "spam"])


def test_rows_that_are_the_same_get_the_same_decision(tmp_path: Path) -> None:
    table = pa.table({"id": ["a", "a"], "text": ["one", "one"], "label": ["ham", "ham"]})
    _, after = merged(tmp_path, table, decided("a", "spam", "one"))
    assert after["label"].to_pylist() == ["spam", "spam"]
    assert [row["num_rows"] for row in lineage(tmp_path)] == [2]


def test_the_answer_goes_to_all_rows_that_are_still_the_same(tmp_path: Path) -> None:
    table = pa.table(
        {
            "id": ["a", "b", "c", "d"],
            "text": ["one", "one", "one", "another"],
            "label": ["ham", "ham", "eggs", "ham"],
        }
    )
    asked = finding(0, id="a", content="one", copies=["b", "c", "d"])
    uri = str(tmp_path / "findings")
    findings = pa.Table.from_pylist([asked], schema=schemas.FINDINGS)
    delta.append_once(uri, findings, app_id="run")
    _, after = merged(tmp_path, table, decided("a", "spam", "one", findings_uri=uri))
    labels = dict(zip(after["id"].to_pylist(), after["label"].to_pylist(), strict=True))
    assert labels == {"a": "spam", "b": "spam", "c": "eggs", "d": "ham"}
    [row] = lineage(tmp_path)
    assert (row["num_rows"], row["copies"]) == (2, ["b"])
    assert decided_by_people(str(tmp_path / "lineage")).covers(("b", ""), "one")


def test_without_ids_one_content_with_two_labels_is_told_apart(tmp_path: Path) -> None:
    table = pa.table({"text": ["one", "one", "two"], "label": ["ham", "eggs", "ham"]})
    source = Source(str(tmp_path / "data"), "text_classification", ("text",), "label")
    write_deltalake(source.uri, table)
    [name] = {row["id"] for row in checked(source) if row["content"] == "one"}
    _, after = merged(tmp_path, table, decided(name, "spam", "one"), id_column=None)
    pairs = zip(after["text"].to_pylist(), after["label"].to_pylist(), strict=True)
    assert sorted(pairs) == [("one", "eggs"), ("one", "spam"), ("two", "ham")]


def test_a_content_that_was_replaced_meanwhile_is_left_alone(tmp_path: Path) -> None:
    table = pa.table({"id": ["a", "b"], "text": ["one", "two"], "label": ["ham", "ham"]})
    votes = [decided("a", "spam", "another text"), decided("b", "spam", "two")]
    with pytest.raises(Conflict, match=r"'a' has another content.*--skip-changed"):
        merged(tmp_path, table, *votes)
    result, after = merged(tmp_path, table, *votes, skip_changed=True)
    assert (result.num_changed, after["label"].to_pylist()) == (1, ["ham", "spam"])
    [row] = lineage(tmp_path)
    assert (row["id"], row["fingerprint"]) == ("b", content_fingerprint("two"))


def test_a_decision_says_nothing_of_another_content_under_its_id(tmp_path: Path) -> None:
    table = pa.table({"id": ["a", "b"], "text": ["one", "two"], "label": ["ham", "ham"]})
    merged(tmp_path, table, decided("a", "spam", "one"), vote("b", "ann", "ham"))
    known = decided_by_people(str(tmp_path / "lineage"))
    assert known.covers(("a", ""), "one")
    assert not known.covers(("a", ""), "another text")
    assert known.covers(("b", ""), "whatever")  # of a release that kept no fingerprints
    mask = known.mask(["a", "a", "c"], [""] * 3, lambda: ["one", "another text", "x"])
    assert mask.tolist() == [True, False, False]


def checked(source: Source) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = rows(LocalEngine(), latest(source)).to_table().to_pylist()
    return found


NOON = datetime(2026, 1, 2, 12, 0, 0, 5)


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (pa.array(["a", "b"]), ["a", "b"]),
        (pa.array([1, 2], pa.int16()), ["1", "2"]),
        (pa.array([1.0, 2.5]), ["1", "2.5"]),
        (pa.array([Decimal("1.50"), Decimal("2.00")]), ["1.50", "2.00"]),
        (pa.array([date(2026, 1, 2), date(2026, 1, 3)]), ["2026-01-02", "2026-01-03"]),
        (pa.array([NOON, NOON.replace(hour=1)]),
         ["2026-01-02 12:00:00.000005", "2026-01-02 01:00:00.000005"]),
        (pa.array([NOON.replace(tzinfo=UTC), NOON.replace(hour=1, tzinfo=UTC)]),
         ["2026-01-02 12:00:00.000005Z", "2026-01-02 01:00:00.000005Z"]),
        (pa.array([True, False]), ["true", "false"]),
        (pa.array([b"\x00\xff", b"\x01"]), ["00ff", "01"]),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)  # fmt: skip
def test_an_id_that_mining_takes_is_found_again_whatever_its_type(
    tmp_path: Path, ids: pa.Array, expected: list[str]
) -> None:
    table = pa.table({"id": ids, "text": ["one", "two"], "label": ["ham", "ham"]})
    source = Source(str(tmp_path / "data"), "text_classification", ("text",), "label", "id")
    write_deltalake(source.uri, table)
    assert [row["id"] for row in checked(source)] == expected
    _, after = merged(tmp_path, table, decided(expected[0], "spam", "one"))
    assert after["label"].to_pylist() == ["spam", "ham"]
    assert after["id"].to_pylist() == ids.to_pylist()


def test_times_in_parts_of_a_microsecond_stay_apart() -> None:
    times = pa.chunked_array([pa.array([1_000, 1_001, 2_000], pa.timestamp("ns"))])
    assert row_ids(times).to_pylist() == [
        "1970-01-01 00:00:00.000001",
        "1970-01-01 00:00:00.000001001",
        "1970-01-01 00:00:00.000002",
    ]


def test_an_id_of_a_type_that_names_no_row_is_refused(tmp_path: Path) -> None:
    table = pa.table({"id": [["a"]], "text": ["one"], "label": ["ham"]})
    write_deltalake(str(tmp_path / "data"), table)
    source = Source(str(tmp_path / "data"), "text_classification", ("text",), "label", "id")
    with pytest.raises(InvalidInput, match=r"id: is a column of list<.*ids are texts, numbers"):
        latest(source)


def boxes(*corners: tuple[float, float, float, float], name: str = "dog") -> str:
    return write_boxes([Box(name, *corner) for corner in corners])


def test_a_box_keeps_its_other_fields_and_its_place(tmp_path: Path) -> None:
    given = [
        {"label": "dog", "x0": 50, "y0": 0, "x1": 70, "y1": 20, "ann_id": 7, "iscrowd": 0},
        {"label": "cat", "x0": 0, "y0": 0, "x1": 20, "y1": 20, "ann_id": 8, "iscrowd": 1},
        {"label": "dog", "x0": 10, "y0": 50, "x1": 30, "y1": 70, "ann_id": 9, "iscrowd": 0},
    ]
    field = pa.field("label", pa.list_(BOX), metadata={"from": "coco"})
    schema = pa.schema([pa.field("id", pa.string()), field, pa.field("image", pa.binary())])
    table = pa.Table.from_pylist([{"id": "a", "image": PICTURE, "label": given}], schema=schema)
    before = boxes((50, 0, 70, 20), (10, 50, 30, 70))
    answer = boxes((50.75, 0, 70.25, 20), (80, 80, 90, 90))  # one moved, one gone, one new
    shown = data_uri(PICTURE, "image/png")
    of_dogs = {"task": "object_detection", "unit": "dog", "human_label": before}
    _, after = merged(
        tmp_path, table, decided("a", answer, shown, **of_dogs),
        task="object_detection", content_columns=("image",),
    )  # fmt: skip
    [[first, second, third]] = after["label"].to_pylist()
    assert first == given[0] | {"x0": 51}  # a column of whole numbers
    assert second == given[1]
    assert third == {
        "label": "dog", "x0": 80, "y0": 80, "x1": 90, "y1": 90, "ann_id": None, "iscrowd": None,
    }  # fmt: skip
    assert lineage(tmp_path)[0]["new_label"] == boxes((51, 0, 70, 20), (80, 80, 90, 90))
    assert after.schema.names == schema.names


def test_corners_may_be_decimals_and_are_rounded_to_theirs(tmp_path: Path) -> None:
    kind = pa.struct([("label", pa.string()), *((side, pa.decimal128(6, 1)) for side in CORNERS)])
    corners = [[Decimal(value) for value in some] for some in ((0, 0, 20, 20), ("30.5", 0, 50, 20))]
    given = [{"label": "dog", **dict(zip(CORNERS, some, strict=True))} for some in corners]
    schema = pa.schema([("id", pa.string()), ("label", pa.list_(kind)), ("image", pa.binary())])
    table = pa.Table.from_pylist([{"id": "a", "image": PICTURE, "label": given}], schema=schema)
    before = boxes((0, 0, 20, 20), (30.5, 0, 50, 20))
    answer = boxes((0.26, 0, 20, 20), (30.5, 0, 50, 20))
    of_dogs = {"task": "object_detection", "unit": "dog", "human_label": before}
    _, after = merged(
        tmp_path, table, decided("a", answer, data_uri(PICTURE, "image/png"), **of_dogs),
        task="object_detection", content_columns=("image",),
    )  # fmt: skip
    assert after["label"].to_pylist() == [[given[0] | {"x0": Decimal("0.3")}, given[1]]]
    assert lineage(tmp_path)[0]["new_label"] == boxes((0.3, 0, 20, 20), (30.5, 0, 50, 20))


def test_a_box_that_was_named_anew_keeps_its_fields(tmp_path: Path) -> None:
    given = [{"label": "dog", "x0": 0, "y0": 0, "x1": 20, "y1": 20, "ann_id": 7, "iscrowd": 1}]
    schema = pa.schema([("id", pa.string()), ("label", pa.list_(BOX)), ("image", pa.binary())])
    table = pa.Table.from_pylist([{"id": "a", "image": PICTURE, "label": given}], schema=schema)
    human = boxes((0, 0, 20, 20))
    of_dogs = {"task": "object_detection", "unit": "dog", "human_label": human}
    answer = boxes((0, 0, 20, 20), name="wolf")
    _, after = merged(
        tmp_path, table, decided("a", answer, data_uri(PICTURE, "image/png"), **of_dogs),
        task="object_detection", content_columns=("image",),
    )  # fmt: skip
    assert after["label"].to_pylist() == [[given[0] | {"label": "wolf"}]]


def test_rows_whose_answer_breaks_a_constraint_are_named_and_the_others_written(
    tmp_path: Path,
) -> None:
    table = pa.table({"id": ["a", "b"], "text": ["one", "two"], "label": ["ham", "spam"]})
    write_deltalake(str(tmp_path / "data"), table)
    rule = {"known": "label = 'ham' OR label = 'spam'"}
    DeltaTable(str(tmp_path / "data")).alter.add_constraint(rule)
    votes = [
        decided("a", "newsletter", "one"),
        decided("b", "ham", "two", human_label="spam"),
    ]
    with pytest.raises(InvalidInput, match=r"'a': breaks the table's constraint 'known' \(label ="):
        merged(tmp_path, table, *votes)
    result, after = merged(tmp_path, table, *votes, skip_changed=True)
    assert (result.num_changed, result.num_skipped) == (1, 1)
    assert after.sort_by("id")["label"].to_pylist() == ["ham", "ham"]


@pytest.mark.parametrize("name", ["new id", "new label", "label label"])
def test_a_column_may_have_any_name(tmp_path: Path, name: str) -> None:
    table = pa.table({name: ["a", "b"], "text": ["one", "two"], "label": ["ham", "ham"]})
    _, after = merged(tmp_path, table, decided("a", "spam", "one"), id_column=name)
    assert after["label"].to_pylist() == ["spam", "ham"]


def test_names_of_columns_may_hold_quotes_and_contents_several_columns(tmp_path: Path) -> None:
    table = pa.table({'a"b': [1, 1, 2], "c.d": ["x", "y", None], 'is "clicked"': [1, 1, 0]})
    uri = str(tmp_path / "data")
    write_deltalake(uri, table)
    columns: dict[str, Any] = {
        "content_columns": ('a"b', "c.d"),
        "label_column": 'is "clicked"',
        "id_column": None,
    }
    source = Source(uri, "click_through_rate", ('a"b', "c.d"), 'is "clicked"')
    first = checked(source)[0]
    answer = decided(first["id"], "0", first["content"], human_label="1", task="click_through_rate")
    _, after = merged(tmp_path, table, answer, task="click_through_rate", **columns)
    assert after['is "clicked"'].to_pylist() == [0, 1, 0]


def test_tables_of_an_earlier_release_gain_the_columns_of_this_one(tmp_path: Path) -> None:
    names = [name for name in schemas.RESULTS.names if name != "fingerprint"]
    old = results(vote("a", "ann", "spam", campaign="old")).select(names)
    uri = str(tmp_path / "results")
    write_deltalake(uri, old)
    table = pa.table({"id": ["a", "b"], "text": ["one", "two"], "label": ["ham", "ham"]})
    write_deltalake(str(tmp_path / "data"), table)
    source = Source(str(tmp_path / "data"), "text_classification", ("text",), "label", "id")
    merge(MergeConfig(latest(source), uri, "old", str(tmp_path / "lineage")))
    _, after = merged(tmp_path, table, decided("b", "spam", "two"))
    assert after.sort_by("id")["label"].to_pylist() == ["spam", "spam"]
    assert len(delta.read_where(uri, {})) == 2


def test_results_of_an_earlier_release_are_about_what_their_findings_showed(
    tmp_path: Path,
) -> None:
    table = pa.table({"id": ["a", "b"], "text": ["one", "two"], "label": ["ham", "ham"]})
    shown = [finding(0, id="a", content="another text"), finding(1, id="b", content="two")]
    uri = str(tmp_path / "findings")
    delta.append_once(uri, pa.Table.from_pylist(shown, schema=schemas.FINDINGS), app_id="run")
    votes = [vote(name, "ann", "spam", findings_uri=uri) for name in "ab"]
    with pytest.raises(Conflict, match="'a' has another content"):
        merged(tmp_path, table, *votes)
    _, after = merged(tmp_path, table, *votes, skip_changed=True)
    assert after["label"].to_pylist() == ["ham", "spam"]


def test_where_findings_are_gone_contents_that_were_replaced_are_left_alone(
    tmp_path: Path,
) -> None:
    table = pa.table({"id": ["a", "b"], "text": ["one", "two"], "label": ["ham", "ham"]})
    uri = str(tmp_path / "data")
    write_deltalake(uri, table)
    DeltaTable(uri).update(predicate="id = 'a'", new_values={"text": "a wholly other text"})
    votes = [vote("a", "ann", "spam"), vote("b", "ann", "spam")]
    with pytest.raises(Conflict, match="'a' had another content in an earlier version"):
        merged(tmp_path, table, *votes)
    result, after = merged(tmp_path, table, *votes, skip_changed=True)
    assert (result.num_changed, after["label"].to_pylist()) == (1, ["ham", "spam"])
