"""Parquet files of differing schemas, in folders as other tools leave them, are one table."""

import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster.data.rows import Source, latest
from cluster.io.tables import column_names, count_rows, num_bytes, read_table
from jobs.common.options import versioned
from relabel_service.errors import InvalidInput, NotFound
from relabel_service.tables.delta import open_table
from tests.support.imported import relabel


def written(folder: Path, files: Mapping[str, pa.Table]) -> str:
    for name, table in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, folder / name)
    return str(folder)


def column(*values: Any, of: pa.DataType | None = None) -> pa.Table:
    return pa.table({"x": pa.array(values, of)})


def read(uri: str, *columns: str) -> dict[str, list[Any]]:
    values: dict[str, list[Any]] = pa.concat_tables(read_table(uri, columns or None)).to_pydict()
    return values


CATEGORY = pa.dictionary(pa.int8(), pa.string())
WIDE_CATEGORY = pa.dictionary(pa.int32(), pa.string())


@pytest.mark.parametrize(
    ("first", "second", "both"),
    [
        (column("a", of=CATEGORY), column("b"), ["a", "b"]),
        (column("a"), column("b", of=CATEGORY), ["a", "b"]),
        (column("a", of=CATEGORY), column("b", of=WIDE_CATEGORY), ["a", "b"]),
        (column(["a"], of=pa.list_(CATEGORY)), column(["b"]), [["a"], ["b"]]),
        (column("a", of=pa.large_string()), column("b"), ["a", "b"]),
        (column(None), column("b"), [None, "b"]),
        (column(1, of=pa.int32()), column(2**40), [1, 2**40]),
        (column(1), column(1.5), [1.0, 1.5]),
        (column([]), column(["b"]), [[], ["b"]]),
        (column({"a": 1}), column({"a": 2, "b": "c"}), [{"a": 1, "b": None}, {"a": 2, "b": "c"}]),
        (pa.table({"y": [1]}), column("b"), [None, "b"]),
    ],
)  # fmt: skip
def test_types_become_the_wider_one(
    first: pa.Table, second: pa.Table, both: list[Any], tmp_path: Path
) -> None:
    uri = written(tmp_path, {"a.parquet": first, "b.parquet": second})
    assert read(uri, "x")["x"] == both
    assert set(column_names(uri)) == {*first.column_names, *second.column_names}
    assert count_rows(uri) == 2


def test_types_that_do_not_go_together_are_named_with_their_files(tmp_path: Path) -> None:
    uri = written(tmp_path, {"a.parquet": column(1), "b.parquet": column("one")})
    with pytest.raises(
        InvalidInput, match=r"'x' of .* is int64 in 'a.parquet' and string in 'b.parquet'"
    ):
        read(uri, "x")


def test_a_column_that_a_file_has_twice_is_told_where_it_is_read(tmp_path: Path) -> None:
    twice = pa.table([pa.array(["a"]), pa.array(["b"]), pa.array(["c"])], names=["y", "x", "x"])
    uri = written(tmp_path, {"a.parquet": column("z"), "b.parquet": twice})
    with pytest.raises(InvalidInput, match=r"'b.parquet' has 2 columns 'x'; rename or drop"):
        read(uri, "x")
    assert read(uri, "y")["y"] == [None, "a"]
    with pytest.raises(InvalidInput, match=r"b.parquet' has 2 columns 'x'; rename or drop"):
        relabel("import", f"{uri}/b.parquet", tmp_path / "table", "--format", "parquet")


def test_columns_that_nobody_reads_may_be_of_any_types(tmp_path: Path) -> None:
    first = column("a").append_column("note", pa.array([1]))
    second = column("b").append_column("note", pa.array(["late"]))
    uri = written(tmp_path, {"a.parquet": first, "b.parquet": second})
    assert read(uri, "x")["x"] == ["a", "b"]


def test_a_value_that_the_wider_type_cannot_hold_is_told(tmp_path: Path) -> None:
    uri = written(tmp_path, {"a.parquet": column(2**62 + 1), "b.parquet": column(0.5)})
    with pytest.raises(InvalidInput, match="write all files with one type"):
        read(uri, "x")


def test_other_files_and_hidden_ones_are_left_out(tmp_path: Path) -> None:
    uri = written(
        tmp_path,
        {
            "train/part-0.snappy.parquet": column("a"),
            "train/PART-1.PARQUET": column("b"),
            "_temporary/part-2.parquet": column("never"),
            ".part-0.parquet": column("never"),
        },
    )
    (tmp_path / "README.md").write_text("# my data\n")
    (tmp_path / "train/_SUCCESS").touch()
    (tmp_path / "train/.part-0.parquet.crc").write_bytes(b"x")
    assert sorted(read(uri)["x"]) == ["a", "b"]
    assert num_bytes(uri, None) == sum(
        one.stat().st_size for one in (tmp_path / "train").glob("*[tT]")
    )


def test_files_without_a_suffix_are_parquet_where_none_has_one(tmp_path: Path) -> None:
    uri = written(tmp_path, {"part-00000": column("a")})
    assert read(uri)["x"] == ["a"]


def test_folder_names_give_columns(tmp_path: Path) -> None:
    uri = written(
        tmp_path,
        {
            "label=ham/day=1/a.parquet": column("a"),
            "label=s%20pam/day=2/b.parquet": column("b"),
            "label=__HIVE_DEFAULT_PARTITION__/day=2/c.parquet": column("c"),
        },
    )
    assert column_names(uri) == ["x", "label", "day"]
    rows = sorted(zip(*read(uri, "x", "label", "day").values(), strict=True))
    assert rows == [("a", "ham", 1), ("b", "s pam", 2), ("c", None, 2)]


def test_folder_names_with_leading_zeros_stay_texts(tmp_path: Path) -> None:
    uri = written(tmp_path, {"zip=01/a.parquet": column("a"), "zip=10/b.parquet": column("b")})
    assert sorted(read(uri, "zip")["zip"]) == ["01", "10"]


def test_a_column_in_the_files_goes_before_one_in_folder_names(tmp_path: Path) -> None:
    uri = written(tmp_path, {"x=7/a.parquet": column("a")})
    assert read(uri)["x"] == ["a"]


def test_what_is_not_parquet_is_told_by_name(tmp_path: Path) -> None:
    uri = written(tmp_path, {"a.parquet": column("a")})
    (tmp_path / "b.parquet").write_text("id,label\n")
    with pytest.raises(InvalidInput, match=r"b.parquet' is neither parquet nor Delta"):
        read(uri)
    (tmp_path / "other").mkdir()
    (tmp_path / "other/README.md").touch()
    with pytest.raises(InvalidInput, match=r"holds README.md; give a folder with files named"):
        column_names(str(tmp_path / "other"))
    with pytest.raises(NotFound, match="nothing at"):
        column_names(str(tmp_path / "nowhere"))


def test_the_copy_with_versions_is_read_as_any_table(tmp_path: Path) -> None:
    label = pa.table({"x": ["b"], "label": ["ham"]})
    uri = written(tmp_path / "data", {"a.parquet": column("a"), "b.parquet": label})
    (tmp_path / "data/README.md").touch()
    copy = open_table(versioned(uri, str(tmp_path / "out"))).to_pyarrow_table()
    assert copy.sort_by("x").to_pydict() == {"x": ["a", "b"], "label": [None, "ham"]}


@pytest.mark.parametrize("task", ["text_classification", "token_classification"])
def test_more_content_columns_than_the_task_reads_are_refused(task: str, tmp_path: Path) -> None:
    uri = written(tmp_path, {"a.parquet": pa.table({"id": ["1"], "a": ["x"], "b": ["y"]})})
    with pytest.raises(InvalidInput, match=rf"a, b are 2, and {task} reads 1; give"):
        latest(Source(uri, task, ("a", "b"), "label", "id"))


def test_a_missing_column_is_told_with_the_option_that_names_it(tmp_path: Path) -> None:
    uri = written(tmp_path, {"a.parquet": pa.table({"key": ["1"], "text": ["x"], "label": ["y"]})})
    source = Source(uri, "text_classification", ("text",), "gold", "id")
    with pytest.raises(NotFound, match=r"'id', 'gold'; it has .* --id-column, --gold-column"):
        latest(source, label_option="--gold-column")


def test_a_copy_of_types_that_delta_has_not_is_refused(tmp_path: Path) -> None:
    uri = written(tmp_path / "data", {"a.parquet": column(datetime.time(1))})
    with pytest.raises(InvalidInput, match=r"no type for 'x' \(time64\[us\]\); leave"):
        versioned(uri, str(tmp_path / "out"))


@pytest.mark.parametrize("uri", ["nonesuch://bucket/rows", "gs:///"])
def test_addresses_that_cannot_be_opened_are_told(uri: str) -> None:
    told = "(is not an address that can be opened|cannot be reached) .*; check"
    with pytest.raises(InvalidInput, match=told):
        column_names(uri)
