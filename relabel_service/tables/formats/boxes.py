"""Which box of a table is which box of the file it came from.

Tables hold what people see: a class and corners. A file's boxes hold more (ids, masks, flags), so
each box of the table is given back to the one it was; only what changed is written anew.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from relabel_service.errors import InvalidInput
from relabel_service.tasks.boxes import CLASS, CORNERS, Box, column_fields, iou

ROUNDING = 0.0051  # pixels: a decided label keeps hundredths
SAME_THING = 0.3  # IoU from which a changed box is the box that it covers


class Paired(NamedTuple):
    """A box of the table. was: index of the file's box it is, None for a new one; moved, renamed:
    what became different."""

    box: Box
    was: int | None
    moved: bool
    renamed: bool


def from_row(value: Sequence[Mapping[str, Any]] | None) -> list[Box]:
    """The boxes of a label column. Raises InvalidInput where it is not one of boxes."""
    try:
        return [Box(box[CLASS], *(float(box[side]) for side in CORNERS)) for box in value or ()]
    except (TypeError, KeyError):
        raise InvalidInput.of(
            "table",
            f"label holds {value!r}; boxes are a list of label, x0, y0, x1, y1",
        ) from None


def to_row(boxes: Iterable[Box]) -> list[dict[str, Any]]:
    return [column_fields(box) for box in boxes]


def pair(originals: Sequence[Box], present: Sequence[Box]) -> list[Paired]:
    """Each present box with the one it was, in the originals' order and new ones last.

    First what is the same, then what keeps its place or its class, best overlap first; a box of the
    file with no counterpart was removed.
    """
    paired: list[Paired] = []
    free, left = list(range(len(originals))), []
    for box in present:
        same = next((i for i in free if _same(originals[i], box)), None)
        if same is None:
            left.append(box)
        else:
            free.remove(same)
            paired.append(Paired(box, same, moved=False, renamed=False))
    overlaps = sorted(
        (
            (iou(originals[i], box), originals[i].class_name == box.class_name, -i, -number)
            for number, box in enumerate(left)
            for i in free
        ),
        reverse=True,
    )
    for overlap, _, i, number in overlaps:
        if overlap < SAME_THING or -i not in free or left[-number] is None:
            continue
        box, was = left[-number], originals[-i]
        moved = not _near(was, box)
        paired.append(Paired(box, -i, moved, renamed=box.class_name != was.class_name))
        free.remove(-i)
        left[-number] = None  # type: ignore[call-overload]
    new = [Paired(box, None, moved=True, renamed=True) for box in left if box is not None]
    return sorted(paired, key=lambda one: one.was or 0) + new


def _same(left: Box, right: Box) -> bool:
    return left.class_name == right.class_name and _near(left, right)


def _near(left: Box, right: Box) -> bool:
    return all(
        abs(a - b) <= ROUNDING or a != a for a, b in zip(left.corners, right.corners, strict=True)
    )
