"""Data in: which rows are fit, what is said of the others, and of tables that cannot be read."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake

from cluster.data.rows import Source, check, content_id, latest
from relabel_service.errors import InvalidInput, NotFound


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
        faults, ("text: is empty", "label: is NoneType", "id: is null", "'eggs'"), strict=True
    ):
        assert told in fault
    assert [row["id"] for row in checked[1:3]] == ["8", "9"]
    assert all(row["row"] and row["content"] is None for row in checked[1:])


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


def test_a_table_with_deletion_vectors_is_refused(tmp_path: Path) -> None:
    uri = str(tmp_path / "table")
    write_deltalake(uri, rows({"id": "1", "text": "a", "label": "x"}))
    log = Path(uri) / "_delta_log" / f"{0:020d}.json"
    lines = [
        '{"protocol":{"minReaderVersion":3,"minWriterVersion":7,'
        '"readerFeatures":["deletionVectors"],"writerFeatures":["deletionVectors"]}}'
        if '"protocol"' in line
        else line
        for line in log.read_text().splitlines()
    ]
    log.write_text("\n".join(lines) + "\n")
    with pytest.raises(InvalidInput, match="deletion vectors"):
        latest(source(uri))
