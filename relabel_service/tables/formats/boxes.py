"""Which box of a table is which box of the file it came from.

Tables hold what people see: a class and corners. A file's boxes hold more (ids, masks, flags), so
each box of the table is given back to the one it was; only what changed is written anew.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from relabel_service.errors import InvalidInput
from relabel_service.tables.formats import media
from relabel_service.tables.formats.base import (
    BOXES,
    MEDIA,
    ORIGINAL,
    Origin,
    Table,
    in_batches,
    no_label,
    with_origin,
)
from relabel_service.tasks.boxes import CLASS, CORNERS, Box, column_fields, near, successors


class Paired(NamedTuple):
    """A box of the table. was: index of the file's box it is, None for a new one; moved, renamed:
    what became different."""

    box: Box
    was: int | None
    moved: bool
    renamed: bool


def reader(
    rows: Iterable[Mapping[str, Any]],
    origin: Origin,
    *,
    original: pa.DataType,
    id_type: pa.DataType | None = None,
) -> pa.RecordBatchReader:
    """Pictures and their boxes as a stream. original: type of what is kept of a row; id_type: of
    the file's own ids, where it has some."""
    columns = [
        pa.field("file_name", pa.string()),
        pa.field("image", MEDIA),
        pa.field("label", BOXES),
        pa.field(ORIGINAL, original),
    ]
    ids = [pa.field("id", id_type)] if id_type else []
    return in_batches(
        rows,
        with_origin([*ids, *columns], origin),
        num_bytes=lambda row: media.num_bytes(row["image"]),
    )


def classes_of(table: Table) -> list[str]:
    """The classes of a table's boxes, in an order that does not depend on the rows': numbers by
    their size, then names."""
    names: set[str] = set()
    for values in table.column("label"):
        if values.type != pa.null():
            names.update(box.class_name for value in values.to_pylist() for box in from_row(value))
    return sorted(
        names, key=lambda name: (not name.isdecimal(), int(name) if name.isdecimal() else 0, name)
    )


def from_row(value: Sequence[Mapping[str, Any]] | None) -> list[Box]:
    """The boxes of a label column. Raises InvalidInput where it is not one of boxes, or null."""
    if value is None:
        raise no_label("that the picture shows nothing")
    try:
        found = [Box(box[CLASS], *(float(box[side]) for side in CORNERS)) for box in value]
        if all(isinstance(box.class_name, str) for box in found):
            return found
        raise TypeError
    except (TypeError, KeyError):
        raise InvalidInput.of(
            "table",
            f"label holds {value!r}; boxes are a list of label, x0, y0, x1, y1",
        ) from None


def to_row(boxes: Iterable[Box]) -> list[dict[str, Any]]:
    return [column_fields(box) for box in boxes]


def pair(originals: Sequence[Box], present: Sequence[Box]) -> list[Paired]:
    """Each present box with the one it was, in the originals' order and new ones last.

    A box of the file with no counterpart was removed. Raises InvalidInput where a new one has a
    corner that is not a finite number.
    """
    became = successors(originals, present)
    paired = [
        Paired(
            present[place],
            index,
            moved=not near(originals[index], present[place]),
            renamed=originals[index].class_name != present[place].class_name,
        )
        for index, place in sorted(became.items())
    ]
    new = sorted(set(range(len(present))) - set(became.values()))
    for place in new:
        if not all(map(math.isfinite, present[place].corners)):
            raise InvalidInput.of(
                "table", f"has the box {present[place]}; corners are finite numbers: fix or drop it"
            )
    return paired + [Paired(present[place], None, moved=True, renamed=True) for place in new]
