"""Boxes of an image: their text form, and how well two sets of them agree.

A box is axis-aligned, in pixels, origin at the top left. The text form is JSON of
all boxes, sorted, coordinates to a hundredth of a pixel: equal strings are equal labels.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

DECIMALS = 2  # decimals of a pixel that are kept

ROUNDING = 0.0051  # pixels that a box may differ by from itself: a decided label keeps hundredths
SAME_THING = 0.3  # IoU from which a box is one of its class that was moved
SAME_PLACE = 0.5  # IoU from which it is one that was given another class, and perhaps moved

# A box in a data set's own column, a list of structs.
CLASS = "label"
CORNERS = ("x0", "y0", "x1", "y1")


@dataclass(frozen=True, order=True)
class Box:
    """class_name, and the corners: x_min < x_max, y_min < y_max in a valid box."""

    class_name: str
    x_min: float
    y_min: float
    x_max: float
    y_max: float

    @property
    def corners(self) -> tuple[float, float, float, float]:
        return (self.x_min, self.y_min, self.x_max, self.y_max)

    @property
    def area(self) -> float:
        return max(self.x_max - self.x_min, 0.0) * max(self.y_max - self.y_min, 0.0)

    def __str__(self) -> str:
        x_min, y_min, x_max, y_max = (f"{value:g}" for value in self.corners)
        return f"{self.class_name} ({x_min}, {y_min}, {x_max}, {y_max})"


def write_boxes(boxes: Iterable[Box]) -> str:
    """The boxes' text form."""
    rounded = sorted(
        Box(box.class_name, *(round(float(value), DECIMALS) + 0.0 for value in box.corners))
        for box in boxes
    )
    return json.dumps(
        [vars(box) for box in rounded], sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )


def read_boxes(label: str) -> list[Box]:
    """write_boxes' inverse."""
    return [Box(**box) for box in json.loads(label)]


def column_fields(box: Box) -> dict[str, str | float]:
    """The box as a data set's own column holds it."""
    return {CLASS: box.class_name, **dict(zip(CORNERS, box.corners, strict=True))}


def iou(left: Box, right: Box) -> float:
    """Intersection over union, in [0, 1]."""
    width = min(left.x_max, right.x_max) - max(left.x_min, right.x_min)
    height = min(left.y_max, right.y_max) - max(left.y_min, right.y_min)
    both = max(width, 0.0) * max(height, 0.0)
    either = left.area + right.area - both
    return both / either if either > 0 else 0.0


def near(left: Box, right: Box) -> bool:
    """Whether their corners are the same but for rounding; NaN is where anything is."""
    return all(
        abs(a - b) <= ROUNDING or a != a for a, b in zip(left.corners, right.corners, strict=True)
    )


def successors(old: Sequence[Box], new: Sequence[Box]) -> dict[int, int]:
    """Index of each old box -> of the new one that it became.

    First what is the same, then what was moved within its class, then what was named anew, best
    overlap first. An old box that is missing was removed, and a new one was added.
    """
    found: dict[int, int] = {}
    free = list(range(len(new)))
    for index, box in enumerate(old):
        for place in free:
            if new[place].class_name == box.class_name and near(box, new[place]):
                found[index] = place
                free.remove(place)
                break
    for least, name in ((SAME_THING, lambda box: box), (SAME_PLACE, _unnamed)):
        left = [index for index in range(len(old)) if index not in found]
        free = [place for place in range(len(new)) if place not in found.values()]
        for i, j, overlap in match([name(old[i]) for i in left], [name(new[j]) for j in free]):
            if overlap >= least:
                found[left[i]] = free[j]
    return found


def _unnamed(box: Box) -> Box:
    return Box("", *box.corners)


def match(left_boxes: Sequence[Box], right_boxes: Sequence[Box]) -> list[tuple[int, int, float]]:
    """Pairs of overlapping boxes of a class, best IoU first, each box once: indexes and IoU."""
    pairs = [
        (iou(left, right), i, j)
        for i, left in enumerate(left_boxes)
        for j, right in enumerate(right_boxes)
        if left.class_name == right.class_name
    ]
    matched: list[tuple[int, int, float]] = []
    left_over, right_over = set(range(len(left_boxes))), set(range(len(right_boxes)))
    for overlap, i, j in sorted(pairs, key=lambda pair: (-pair[0], pair[1], pair[2])):
        if overlap > 0 and i in left_over and j in right_over:
            left_over.remove(i)
            right_over.remove(j)
            matched.append((i, j, overlap))
    return matched
