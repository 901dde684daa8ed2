"""Data in: which rows are fit, what is said of the others, and of tables that cannot be read."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake
from hypothesis import assume, settings
from hypothesis import given as for_all
from hypothesis import strategies as st

from cluster.data.rows import Source, check, check_each, content_id, latest
from relabel_service.errors import InvalidInput, NotFound
from relabel_service.tasks.columns import SPACES
from relabel_service.tasks.text_classification import TextClassification
from tests.data import png


def source(uri: str = "", *, id_column: str | None = "id", **other: Any) -> Source:
    return Source(uri, "text_classification", ("text",), "label", id_column, **other)


def rows(*rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(rows))


def test_fit_rows_become_text_and_unfit_ones_carry_their_fault() -> None:
    given = rows(
        {"id": 7, "text": "hello", "label": "ham"},
        {"id": 8, "text": "", "label": "ham"},
        {"id": 9, "text": "hello", "label": None},
        {"id": None, "text": "hello", "label": "ham"},
        {"id": 11, "text": "hello", "label": "eggs"},
    )
    checked = check(given, source=source(), classes=("ham", "spam")).to_pylist()
    assert checked[0] == {
        "id": "7", "content": "hello", "label": "ham", "weight": 1.0, "fault": None, "row": None
    }  # fmt: skip
    faults = [row["fault"] for row in checked[1:]]
    for fault, told in zip(
        faults, ("text: is empty", "label: is null", "id: is null", "'eggs'"), strict=True
    ):
        assert told in fault
    assert [row["id"] for row in checked[1:3]] == ["8", "9"]
    assert all(row["row"] and row["content"] is None for row in checked[1:])


WORDS = ["a", "b", "1", "a", "b", " a", "", " ", "\u2003\x1c", "\x85", "\u200b", "é"]
ADDRESSES = ["https://a.example/b.wav", "see https://a.example", "data:,x", "data:audio/wav;x"]
VALUES: dict[pa.DataType, list[Any]] = {
    pa.string(): [*WORDS, *ADDRESSES, None],
    pa.large_string(): [*WORDS, None],
    pa.dictionary(pa.int32(), pa.string()): [*WORDS, None],
    pa.int64(): [0, 1, 2, -1, 2**62 + 1, None],
    pa.uint8(): [0, 1, None],
    pa.float64(): [0.0, 0.5, 2.0, -1.0, float("inf"), float("nan"), None],
    pa.float32(): [0.0, 0.5, -1.0, None],
    pa.bool_(): [True, False, None],
    pa.list_(pa.string()): [["a"], ["O", "B-x"], [], None],
}
TEXTS, NUMBERS, ANY = [*VALUES][:3], [*VALUES][3:6], [*VALUES]


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    """Columns mostly of the types that they should have, nulls and odd values among theirs."""
    num_rows = draw(st.integers(0, 8))
    usual = {"key": TEXTS + NUMBERS[:2], "words": TEXTS, "name": TEXTS + NUMBERS[:2], "w": NUMBERS}
    columns = {}
    for name, kinds in usual.items():
        kind = draw(st.sampled_from(kinds * 4 + ANY))
        values = draw(st.lists(st.sampled_from(VALUES[kind]), min_size=num_rows, max_size=num_rows))
        array, cut = pa.array(values, kind), draw(st.integers(0, num_rows))
        columns[name] = pa.chunked_array([array[:cut], array[cut:]])
    return pa.table(columns)


@pytest.mark.parametrize("task", ["text_classification", "sequence_generation"])
@for_all(
    given=tables(),
    id_column=st.sampled_from([None, "key", "words"]),
    weight_column=st.sampled_from([None, "w"]),
    label_column=st.sampled_from(["name", "words"]),
    classes=st.sampled_from([(), ("a", "b"), ("1", "0")]),
)
@settings(max_examples=100, deadline=None)
def test_columns_at_once_give_what_row_by_row_gives(
    task: str,
    given: pa.Table,
    id_column: str | None,
    weight_column: str | None,
    label_column: str,
    classes: tuple[str, ...],
) -> None:
    asked = Source(
        "", task, ("words",), label_column, id_column, weight_column=weight_column
    )  # fmt: skip
    # latest() refuses ids of lists.
    assume(id_column is None or not pa.types.is_list(given[id_column].type))
    found = check(given, source=asked, classes=classes)
    assert found.equals(check_each(given, source=asked, classes=classes))


def test_spaces_are_those_that_python_strips() -> None:
    assert "".join(filter(str.isspace, map(chr, range(sys.maxunicode + 1)))) == SPACES


def test_valid_texts_are_not_read_row_by_row(monkeypatch: pytest.MonkeyPatch) -> None:
    table = pa.table({"id": [1, 2], "text": ["a", "b"], "label": ["x", "y"]})

    def refuse(*_: object) -> None:
        raise AssertionError("read row by row")

    monkeypatch.setattr(TextClassification, "read_content", refuse)
    assert check(table, source=source())["fault"].null_count == 2


def test_a_weight_column_tells_how_much_a_row_counts() -> None:
    given = pa.table(
        {
            "id": list("abcd"),
            "text": ["hello"] * 4,
            "label": ["ham"] * 4,
            "w": pa.array([0.25, None, -1.0, float("inf")]),
        }
    )
    checked = check(given, source=source(weight_column="w")).to_pylist()
    assert [row["weight"] for row in checked] == [0.25, 1.0, None, None]
    assert all("w: " in row["fault"] and "0 or more" in row["fault"] for row in checked[2:])


def test_a_task_without_usual_columns_asks_for_them() -> None:
    with pytest.raises(InvalidInput, match="name them"):
        latest(Source("data", "click_through_rate", (), "label"))


def test_rows_without_an_id_get_a_stable_one_of_their_content() -> None:
    first = check(rows({"text": "a", "label": "x"}), source=source(id_column=None)).to_pylist()
    again = check(rows({"text": "a", "label": "y"}), source=source(id_column=None)).to_pylist()
    assert first[0]["id"] == again[0]["id"] == content_id("a")
    assert content_id("b") != content_id("a")


def test_a_delta_table_is_pinned_to_its_latest_version(tmp_path: Path) -> None:
    uri = str(tmp_path / "table")
    for text in ("a", "b"):
        write_deltalake(uri, rows({"id": "1", "text": text, "label": "x"}), mode="append")
    assert latest(source(uri)).version == 1
    assert latest(source(uri, version=0)).version == 0


def test_missing_columns_are_named_with_those_present(tmp_path: Path) -> None:
    pq.write_table(rows({"key": "1", "text": "a", "label": "x"}), tmp_path / "data.parquet")
    with pytest.raises(NotFound, match=r"no column 'id'; it has key, text, label"):
        latest(source(str(tmp_path / "data.parquet")))


def test_nothing_at_the_address_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="nowhere"):
        latest(source(str(tmp_path / "nowhere")))


def test_a_file_that_is_not_parquet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("id,text,label\n1,a,x\n")
    with pytest.raises(InvalidInput, match="neither parquet nor Delta"):
        latest(source(str(tmp_path / "data.csv")))


def test_a_version_of_parquet_is_refused(tmp_path: Path) -> None:
    pq.write_table(rows({"id": "1", "text": "a", "label": "x"}), tmp_path / "data.parquet")
    with pytest.raises(InvalidInput, match="no Delta table"):
        latest(source(str(tmp_path / "data.parquet"), version=3))


def test_addresses_in_rows_are_opened_near_the_table_and_under_stated_prefixes(
    tmp_path: Path,
) -> None:
    picture = png.encode(np.zeros((8, 8), np.uint8))
    places = {name: tmp_path / name / "pictures" / "1.png" for name in ("data", "shared", "other")}
    for path in places.values():
        path.parent.mkdir(parents=True)
        path.write_bytes(picture)
    table = rows(
        *({"id": name, "image": str(path), "label": "a"} for name, path in places.items()),
        {"id": "query", "image": "s3://bucket/1.png?endpoint_override=host", "label": "a"},
    )
    uri, stated = str(tmp_path / "data" / "train"), (str(tmp_path / "shared"),)
    where = Source(uri, "image_classification", ("image",), "label", "id", media_prefixes=stated)
    faults = {row["id"]: row["fault"] or "" for row in check(table, source=where).to_pylist()}
    assert faults["data"] == faults["shared"] == ""
    assert "is not opened: it lies under none of the allowed places" in faults["other"]
    assert "--media-prefix" in faults["other"]
    assert "has a query" in faults["query"]
