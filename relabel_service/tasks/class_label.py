"""Labels that are one class name: shared by text, image and audio classification."""

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa

from relabel_service.errors import InvalidInput
from relabel_service.tasks.agreement import AgreeWhereEqual
from relabel_service.tasks.columns import MAX_WHOLE
from relabel_service.tasks.one_unit import OneUnit
from relabel_service.v1 import labels_pb2


class ClassLabelled(AgreeWhereEqual, OneUnit):
    """The label half of a classification task; the content half is the task's own."""

    def read_label(self, value: object, content: str) -> str:
        label = _class_name(value)
        if fault := self.label_fault(label, ()):
            raise InvalidInput.of("label", fault)
        return label

    def read_columns(
        self, contents: Mapping[str, pa.ChunkedArray], labels: pa.ChunkedArray
    ) -> tuple[pa.ChunkedArray, pa.ChunkedArray] | None:
        return None  # pictures and sounds are opened one by one

    def write_label(self, label: str, content: str, before: Any = None) -> str:
        return label

    def classes_in(self, label: str) -> Sequence[str]:
        return (label,)

    def label_fault(self, label: str, classes: Sequence[str]) -> str | None:
        if not label.strip():
            return "label is empty; give a class name"
        if classes and label not in classes:
            return f"label {label!r} is not one of the classes {', '.join(classes)}"
        return None

    def label_to_wire(self, label: str) -> labels_pb2.Label:
        return labels_pb2.Label(class_label=labels_pb2.ClassLabel(class_name=label))

    def label_from_wire(self, label: labels_pb2.Label) -> str:
        payload = label.WhichOneof("payload")
        if payload != "class_label":
            raise InvalidInput.of(
                "label", f"payload {payload or 'unset'} does not suit classes; set class_label"
            )
        return label.class_label.class_name

    def distance(self, left: str, right: str) -> float:
        return float(left != right)


def _class_name(value: object) -> str:
    """A label as its column holds it -> the class: whole numbers without their point."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        raise InvalidInput.of("label", "is null; give a class name")
    if isinstance(value, bool):
        return str(value).lower()  # as Arrow writes it, and reads it back
    if isinstance(value, float | Decimal):
        number = float(value)
        if abs(number) < MAX_WHOLE and value == int(number):
            return str(int(number))
        raise InvalidInput.of(
            "label", f"{value} is a measure, not a class; give a class name or a whole number"
        )
    if isinstance(value, str | int):
        return str(value)
    raise InvalidInput.of(
        "label", f"is {type(value).__name__}; give a class name or an integer class"
    )
