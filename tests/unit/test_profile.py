"""A table's profile: counts, classes, repeated ids, near-duplicates where they are asked for."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster.data.folds import id_keys
from cluster.data.profile import profile_table
from cluster.data.rows import Source, latest, rows
from cluster.engine.local import LocalEngine
from relabel_service.errors import InvalidInput

LONG = "The committee meets on Tuesday morning in the large hall of the city library"


def written(folder: Path, *rows: tuple[str | None, str, str | None]) -> Source:
    ids, texts, labels = zip(*rows, strict=True)
    pq.write_table(pa.table({"id": ids, "text": texts, "label": labels}), folder / "t.parquet")
    return latest(
        Source(str(folder / "t.parquet"), "text_classification", ("text",), "label", "id")
    )


def test_one_pass_counts_rows_faults_classes_and_repeated_ids(tmp_path: Path) -> None:
    source = written(
        tmp_path,
        ("1", "a", "x"),
        ("2", "b", "y"),
        ("1", "c", "x"),
        ("3", " ", "x"),
        ("1", "d", "y"),
        ("4", "e", None),
    )
    profile = profile_table(LocalEngine(), source)
    assert profile.num_rows == 6
    assert profile.num_faults == 4  # two invalid rows, and two copies of an id
    assert profile.classes == {"x": 2, "y": 2}
    assert profile.repeated.tolist() == id_keys(["1"]).tolist()
    assert profile.near_duplicates.shape == (0, 2)


def test_of_rows_that_share_an_id_one_is_kept(tmp_path: Path) -> None:
    source = written(tmp_path, ("1", "a", "y"), ("2", "b", "y"), ("1", "c", "x"))
    repeated = profile_table(LocalEngine(), source).repeated
    found = rows(LocalEngine(), source, repeated=repeated).to_table().to_pylist()
    assert sorted((row["id"], row["content"]) for row in found if not row["fault"]) == [
        ("1", "c"),
        ("2", "b"),
    ]
    [copy] = [row for row in found if row["fault"]]
    assert "'1' is used by 2 rows" in copy["fault"]


def test_an_id_that_only_shares_the_key_of_a_repeated_one_stays(tmp_path: Path) -> None:
    source = written(tmp_path, ("1", "a", "x"), ("2", "b", "y"))
    found = rows(LocalEngine(), source, repeated=id_keys(["2"])).to_table()
    assert found["fault"].null_count == found.num_rows == 2


def test_near_duplicates_are_found_only_where_they_are_asked_for(tmp_path: Path) -> None:
    source = written(
        tmp_path, ("1", LONG, "x"), ("2", " ", "x"), ("3", LONG.upper(), "y"), ("4", "other", "y")
    )
    alone = profile_table(LocalEngine(), source)
    grouped = profile_table(LocalEngine(), source, near_duplicates=True)
    assert alone.near_duplicates.shape == (0, 2)
    assert set(grouped.near_duplicates[:, 0]) == set(id_keys(["1", "3"]))
    assert len(np.unique(grouped.near_duplicates[:, 1])) == 1


def test_a_table_without_a_valid_row_is_refused_with_its_commonest_faults(tmp_path: Path) -> None:
    numbers = pa.table({"id": list("abcd"), "text": ["a"] * 4, "label": [None, 0.5, 1.25, 7.5]})
    pq.write_table(numbers, tmp_path / "table.parquet")
    source = Source(
        str(tmp_path / "table.parquet"), "text_classification", ("text",), "label", "id"
    )
    with pytest.raises(
        InvalidInput, match=r"none of 4 rows .*: 3 rows: label: 0.5 is .*; 1 rows: label: is null"
    ):
        profile_table(LocalEngine(), source)
