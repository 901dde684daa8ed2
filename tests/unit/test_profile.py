"""A table's profile: counts, classes, repeated ids, near-duplicates where they are asked for."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from cluster.data.folds import id_keys
from cluster.data.label_warnings import near_identical
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


def test_rows_that_are_left_out_are_told_with_their_reasons(tmp_path: Path) -> None:
    rows = [("1", "a", "x"), ("2", "b", "y"), ("1", "c", "x"), ("1", "d", "y"), ("4", "e", None)]
    [told] = profile_table(LocalEngine(), written(tmp_path, *rows)).left_out
    assert told.startswith("3 of 5 rows are left out: 2 rows: the id is that of another row; give")
    assert (
        told.endswith("; 1 rows: label: a class is expected, got None") or "1 rows: label" in told
    )
    assert profile_table(LocalEngine(), written(tmp_path, *rows[:2])).left_out == []


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


def test_class_names_that_differ_as_good_as_not_are_told(tmp_path: Path) -> None:
    labels = ["ham", "ham ", "Ham", "spam", "spam", "C", "C++", "credit card", "credit_card"]
    rows = [(str(at), f"text {at}", label) for at, label in enumerate(labels)]
    source = written(tmp_path, *rows)
    first, second = profile_table(LocalEngine(), source).warnings
    told = f"{first} {second}"
    assert "'ham' (1 rows), 'ham ' (1 rows), 'Ham' (1 rows) differ in letter case, spaces" in told
    assert "'credit card' (1 rows), 'credit_card' (1 rows)" in told
    assert "C++" not in told


@pytest.mark.parametrize(
    ("names", "alike"),
    [
        (["1", "1.0"], True),
        (["e\u0301t\u00e9", "\u00e9t\u00e9"], True),  # one accent composed, one not
        (["a\u200b", "a"], True),
        (["neg", "pos"], False),
        (["10", "1"], False),
        (["C", "C#"], False),
    ],
)
def test_which_names_are_near_identical(names: list[str], alike: bool) -> None:
    assert bool(near_identical(dict.fromkeys(names, 1))) is alike


def test_of_many_groups_the_largest_are_told() -> None:
    classes = {f"{name}{number}": number + 1 for number in range(9) for name in ("class", "Class")}
    told = near_identical(classes)
    assert len(told) == 6
    assert "'class8' (9 rows)" in told[0]
    assert told[-1] == "4 more groups of class names differ as little"


@pytest.mark.parametrize(("scale", "warned"), [(1, True), (20, False)])
def test_boxes_in_fractions_of_the_picture_are_told(
    scale: float, warned: bool, tmp_path: Path
) -> None:
    corners = {"x0": 0.1, "y0": 0.1, "x1": 0.9, "y1": 1.0}
    box = {"label": "cell", **{name: value * scale for name, value in corners.items()}}
    picture = io.BytesIO()
    Image.new("RGB", (24, 24)).save(picture, "PNG")
    images = [picture.getvalue()] * 3
    pq.write_table(
        pa.table({"id": ["1", "2", "3"], "image": images, "label": [[box], [], [box]]}),
        tmp_path / "t.parquet",
    )
    source = latest(
        Source(str(tmp_path / "t.parquet"), "object_detection", ("image",), "label", "id")
    )
    warnings = profile_table(LocalEngine(), source).warnings
    assert [one for one in warnings if "within 0 and 1, as fractions" in one] == [*warnings]
    assert bool(warnings) is warned
