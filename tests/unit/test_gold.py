"""True labels and segments are those of the very row, where an id stands for several."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster.data.folds import id_keys
from cluster.data.rows import Source, latest, rows
from cluster.engine.local import LocalEngine
from jobs.loop.gold import agreed_gold_labels, gold_labels
from jobs.policy.__main__ import segments_of
from relabel_service.tables.fingerprint import content_fingerprint

COPIES = [
    ("a", "one", "ham", "spam", "old"),  # kept of its id: the first by label and content
    ("a", "two", "spam", "ham", "new"),
    ("b", "three", "ham", "ham", "old"),
    ("c", "four", "ham", "spam", "old"),
    ("c", "five", None, "ham", "old"),  # never asked about
    ("d", "six", "ham", None, "old"),
    ("d", "seven", "spam", "ham", "old"),
]


def written(path: Path, copies: list[tuple[Any, ...]]) -> Source:
    names = ("id", "text", "label", "gold", "age")
    table = pa.table(dict(zip(names, map(list, zip(*copies, strict=True)), strict=True)))
    pq.write_table(table, path)
    return latest(Source(str(path), "text_classification", ("text",), "label", "id"))


@pytest.mark.parametrize("order", [1, -1])
def test_gold_is_that_of_the_row_that_is_kept_of_an_id(order: int, tmp_path: Path) -> None:
    source = written(tmp_path / "table.parquet", COPIES[::order])
    assert gold_labels(source, "gold") == {"a": "spam", "b": "ham", "c": "spam"}
    kept = rows(LocalEngine(), source, repeated=id_keys(pa.chunked_array([["a", "b", "c", "d"]])))
    found = [row for row in kept.to_table().to_pylist() if row["fault"] is None]
    assert gold_labels(source, "label") == {row["id"]: row["label"] for row in found}


def test_nobody_answers_from_gold_that_differs_between_rows_of_an_id(tmp_path: Path) -> None:
    source = written(tmp_path / "table.parquet", COPIES)
    assert agreed_gold_labels(source, "gold") == {"b": "ham", "c": "spam"}


@pytest.mark.parametrize("order", [1, -1])
def test_segments_are_those_of_the_very_row(
    order: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    twice = [*COPIES, ("b", "three", "spam", "ham", "new")]
    source = written(tmp_path / "table.parquet", twice[::order])
    of_age = segments_of(source, ["age"])["age"]
    assert of_age[("a", content_fingerprint("one"))] == "old"
    assert of_age[("a", content_fingerprint("two"))] == "new"
    assert ("b", content_fingerprint("three")) not in of_age
    assert "1 rows" in capsys.readouterr().err
