"""What a table's columns are taken for, by names, types and values."""

from typing import Any

import pyarrow as pa
import pytest

from cluster.auditing.columns import Columns, guess
from relabel_service.errors import InvalidInput, NotFound
from relabel_service.tables.formats.base import BOXES, MEDIA, Origin, with_origin

TEXTS = [f"a text of some words, number {number}" for number in range(24)]
FEW = ["good", "bad"] * 12
PNG = {"bytes": b"\x89PNG\r\n", "path": None}
WAV = {"bytes": b"RIFF\x00\x00\x00\x00WAVE", "path": None}
BOX = {"label": "cat", "x0": 0.0, "y0": 0.0, "x1": 4.0, "y1": 4.0}


def table(**columns: Any) -> pa.Table:
    return pa.table(columns)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (table(text=TEXTS, label=FEW), ("text_classification", "text", "label", None)),
        (
            table(review=TEXTS, sentiment=FEW, review_id=range(24)),
            ("text_classification", "review", "sentiment", "review_id"),
        ),
        (table(Text=TEXTS, Label=[0, 1] * 12), ("text_classification", "Text", "Label", None)),
        (table(words=TEXTS, verdict=FEW), ("text_classification", "words", "verdict", None)),
        (
            table(short=["s"] * 24, long=TEXTS, label=FEW),
            ("text_classification", "long", "label", None),
        ),
        (
            table(source=TEXTS, label=[text.upper() for text in TEXTS], gold=TEXTS),
            ("sequence_generation", "source", "label", None),
        ),
        (
            table(tokens=[["a", "b"]] * 24, ner_tags=[["O", "B-x"]] * 24),
            ("token_classification", "tokens", "ner_tags", None),
        ),
        (
            pa.table({"image": pa.array([PNG] * 24, MEDIA), "label": FEW}),
            ("image_classification", "image", "label", None),
        ),
        (
            table(file_name=["a/b.jpg"] * 24, label=FEW),
            ("image_classification", "file_name", "label", None),
        ),
        (
            pa.table({"audio": pa.array([WAV] * 24, MEDIA), "label": FEW}),
            ("audio_classification", "audio", "label", None),
        ),
        (
            pa.table({"image": pa.array([PNG], MEDIA), "label": pa.array([[BOX]], BOXES)}),
            ("object_detection", "image", "label", None),
        ),
    ],
)
def test_columns_are_taken_for_what_they_look_like(
    given: pa.Table, expected: tuple[str, str, str, str | None]
) -> None:
    found = guess(given, Columns())
    assert (found.task, *found.content, found.label, found.id) == expected
    assert f"label in {expected[2]!r}" in found.in_words


def test_what_is_named_is_taken() -> None:
    given = table(text=TEXTS, title=TEXTS, label=FEW, topic=FEW, key=TEXTS)
    found = guess(given, Columns("sequence_generation", ("title",), "topic", "key"))
    assert found == Columns("sequence_generation", ("title",), "topic", "key")


def test_rows_of_an_import_go_by_their_number() -> None:
    schema = with_origin([pa.field("text", pa.string()), pa.field("label", pa.string())], ORIGIN)
    rows = pa.table([TEXTS, FEW, list(range(24))], schema=schema)
    assert guess(rows, Columns()).id == "row_number"


ORIGIN = Origin("csv")


def test_an_id_that_names_two_rows_is_none() -> None:
    assert guess(table(text=TEXTS, label=FEW, id=[1] * 24), Columns()).id is None


def test_a_column_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(NotFound, match="no column 'mood'; there are text, label: name one by"):
        guess(table(text=TEXTS, label=FEW), Columns(label="mood"))


def test_a_guess_that_could_go_either_way_is_refused() -> None:
    with pytest.raises(InvalidInput, match="mood, verdict could each be the label"):
        guess(table(text=TEXTS, mood=FEW, verdict=FEW), Columns())
    with pytest.raises(InvalidInput, match="no column looks like the label, of text"):
        guess(table(text=TEXTS), Columns())
    with pytest.raises(InvalidInput, match="name what is labelled by --content-column"):
        guess(table(price=[1.5] * 24, label=FEW), Columns())
