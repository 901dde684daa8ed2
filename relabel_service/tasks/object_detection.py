"""Object detection: the content is an image, the label its boxes, the units the box classes."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa

from relabel_service.errors import InvalidInput
from relabel_service.media import fetch, images
from relabel_service.tasks.agreement import central
from relabel_service.tasks.boxes import (
    CLASS,
    CORNERS,
    SAME_PLACE,
    Box,
    column_fields,
    iou,
    match,
    read_boxes,
    successors,
    write_boxes,
)
from relabel_service.tasks.shingles import digest
from relabel_service.v1 import items_pb2, labels_pb2

# Two people's boxes of one thing. COCO's stricter threshold: one pixel of 20 on both axes is 0.82.
DRAWN_ALIKE = 0.75
SLACK = 1.0  # pixels a box may stand out of its image: sources count from 0 or from 1


class ObjectDetection:
    name = "object_detection"
    kind = labels_pb2.TASK_KIND_OBJECT_DETECTION
    content_columns: tuple[str, ...] = ("image",)
    refers_to_content = True
    per_class = True
    agrees_by_equality = False

    def read_content(self, values: Mapping[str, object]) -> str:
        [(column, value)] = values.items()
        return fetch.read_media(column, value, images.media_type)

    def content_to_wire(self, content: str) -> items_pb2.Content:
        return items_pb2.Content(image=fetch.to_wire(content, images.PIXEL_FRAME))

    def read_label(self, value: object, content: str) -> str:
        if not isinstance(value, list):
            raise InvalidInput.of(
                "label", f"is {type(value).__name__}; give a list of boxes, empty for none"
            )
        boxes = [_read_box(index, box) for index, box in enumerate(value)]
        size = images.size(fetch.load(content))
        for box in boxes:
            if fault := _box_fault(box, ()) or _outside(box, size):
                raise InvalidInput.of("label", fault)
        return write_boxes(boxes)

    def read_columns(
        self, contents: Mapping[str, pa.ChunkedArray], labels: pa.ChunkedArray
    ) -> None:
        return None

    def write_label(
        self, label: str, content: str, before: Sequence[Mapping[str, Any]] | None = None
    ) -> list[dict[str, Any]]:
        """Boxes that are there already keep their place, and their other fields; so does a box
        that was moved or named anew, where it can be told which it was. New ones come last."""
        boxes = read_boxes(label)
        given = [dict(box) for box in before or ()]
        old = [_rounded(_read_box(index, box)) for index, box in enumerate(given)]
        of_old = successors(old, boxes)
        others = dict.fromkeys(name for box in given for name in box)
        kept = [
            own if old[index] == boxes[place] else {**own, **column_fields(boxes[place])}
            for index, own in enumerate(given)
            if (place := of_old.get(index)) is not None
        ]
        new = [box for place, box in enumerate(boxes) if place not in of_old.values()]
        return [*kept, *({**others, **column_fields(box)} for box in new)]

    def compared_text(self, content: str) -> str:
        return digest(content)

    def classes_in(self, label: str) -> Sequence[str]:
        return sorted({box.class_name for box in read_boxes(label)})

    def coordinates(self, label: str) -> Sequence[float]:
        return [value for box in read_boxes(label) for value in box.corners]

    def label_fault(self, label: str, classes: Sequence[str]) -> str | None:
        boxes = read_boxes(label)
        return next((fault for box in boxes if (fault := _box_fault(box, classes))), None)

    def incompatible_label(self, label: str, content: items_pb2.Content) -> str | None:
        if not content.image.data:
            return None
        try:
            size = images.size(content.image.data)
        except InvalidInput:
            return None  # a picture that cannot be read rules out no box
        return next((fault for box in read_boxes(label) if (fault := _outside(box, size))), None)

    def units(self, classes: Sequence[str]) -> Sequence[str]:
        return tuple(classes)

    def foreign_part(self, label: str, unit: str, shown: Sequence[str]) -> str | None:
        places = [box for text in shown for box in read_boxes(text) if box.class_name == unit]
        for box in read_boxes(label):
            if box.class_name != unit and all(iou(box, place) < SAME_PLACE for place in places):
                return (
                    f"box {box} is of another class than {unit!r}, which the item is about; leave "
                    f"out what lies where no {unit!r} is shown"
                )
        return None

    def unit_label(self, label: str, unit: str) -> str:
        return write_boxes(box for box in read_boxes(label) if box.class_name == unit)

    def with_unit_label(self, label: str, unit: str, unit_label: str) -> str:
        """A box that unit_label gives another class, having been misnamed, joins that class."""
        others = {box for box in read_boxes(label) if box.class_name != unit}
        return write_boxes(others.union(read_boxes(unit_label)))

    def label_to_wire(self, label: str) -> labels_pb2.Label:
        boxes = [labels_pb2.Box(**vars(box)) for box in read_boxes(label)]
        return labels_pb2.Label(boxes=labels_pb2.BoxesLabel(boxes=boxes))

    def label_from_wire(self, label: labels_pb2.Label) -> str:
        payload = label.WhichOneof("payload")
        if payload != "boxes":
            raise InvalidInput.of(
                "label", f"payload {payload or 'unset'} does not suit boxes; set boxes"
            )
        return write_boxes(
            Box(box.class_name, box.x_min, box.y_min, box.x_max, box.y_max)
            for box in label.boxes.boxes
        )

    def agree(self, left: str, right: str) -> bool:
        """Whether each box of the one is a box of the other, drawn nearly alike."""
        left_boxes, right_boxes = read_boxes(left), read_boxes(right)
        if len(left_boxes) != len(right_boxes):
            return False
        alike = [overlap for _, _, overlap in match(left_boxes, right_boxes)]
        return len(alike) == len(left_boxes) and all(overlap >= DRAWN_ALIKE for overlap in alike)

    def resolve(self, labels: Sequence[str]) -> str:
        return central(labels, self.distance)

    def distance(self, left: str, right: str) -> float:
        """One minus the IoU of matched boxes over all boxes: a Dice coefficient with soft hits."""
        left_boxes, right_boxes = read_boxes(left), read_boxes(right)
        if not left_boxes and not right_boxes:
            return 0.0
        shared = sum(overlap for _, _, overlap in match(left_boxes, right_boxes))
        return 1.0 - 2.0 * shared / (len(left_boxes) + len(right_boxes))


def _rounded(box: Box) -> Box:
    [rounded] = read_boxes(write_boxes([box]))
    return rounded


def _read_box(index: int, value: object) -> Box:
    names = (CLASS, *CORNERS)
    if not isinstance(value, Mapping) or not set(names) <= set(value):
        what = f"has the fields {', '.join(value)}" if isinstance(value, Mapping) else repr(value)
        raise InvalidInput.of("label", f"box {index} {what}; it needs {', '.join(names)} (pixels)")
    name, corners = value[CLASS], [value[side] for side in CORNERS]
    if not isinstance(name, str):
        raise InvalidInput.of("label", f"box {index} has class {name!r}; give a class name")
    if any(
        isinstance(side, bool) or not isinstance(side, int | float | Decimal) for side in corners
    ):
        raise InvalidInput.of("label", f"box {index} has corners {corners}; give four numbers")
    return Box(name, *map(float, corners))


def _box_fault(box: Box, classes: Sequence[str]) -> str | None:
    if not box.class_name.strip():
        return f"box {box} has an empty class; name one"
    if classes and box.class_name not in classes:
        return f"box {box} is of another class; use one of {', '.join(classes)}"
    if not all(abs(value) < float("inf") for value in box.corners):  # NaN too
        return f"box {box} has a corner that is not a finite number; give pixels"
    if box.x_max <= box.x_min or box.y_max <= box.y_min:
        return f"box {box} has no area; x1 must be beyond x0, and y1 beyond y0"
    if min(box.x_min, box.y_min) < -SLACK:
        return f"box {box} begins outside the image; use corners from 0"
    return None


def _outside(box: Box, size: tuple[int, int]) -> str | None:
    if box.x_max <= size[0] + SLACK and box.y_max <= size[1] + SLACK:
        return None
    return (
        f"box {box} leaves its image of {size[0]}x{size[1]} pixels, EXIF orientation applied; fix "
        "the box or the image"
    )
