"""Click-through rate: the content is a row of named features, the label whether it was clicked."""

import json
import math
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa

from relabel_service.errors import InvalidInput
from relabel_service.tasks.agreement import AgreeWhereEqual
from relabel_service.tasks.one_unit import OneUnit
from relabel_service.v1 import items_pb2, labels_pb2

NOT_CLICKED, CLICKED = "0", "1"

Feature = str | int | float | bool | None


class ClickThroughRate(AgreeWhereEqual, OneUnit):
    name = "click_through_rate"
    kind = labels_pb2.TASK_KIND_CLICK_THROUGH_RATE
    content_columns: tuple[str, ...] = ()  # the features are the user's to name

    def read_content(self, values: Mapping[str, object]) -> str:
        """Canonical JSON of the features; absent and not-a-number are null."""
        features = {name: _feature(name, value) for name, value in values.items()}
        if all(value is None for value in features.values()):
            raise InvalidInput.of(", ".join(features), "are all null; give at least one feature")
        return write_features(features)

    def read_label(self, value: object, content: str) -> str:
        if isinstance(value, bool | int | float) and value in (0, 1):
            return CLICKED if value else NOT_CLICKED
        raise InvalidInput.of("label", f"{value!r} is not a click; give 0 or 1, or a boolean")

    def read_columns(
        self, contents: Mapping[str, pa.ChunkedArray], labels: pa.ChunkedArray
    ) -> None:
        return None

    def write_label(self, label: str, content: str, before: Any = None) -> int:
        return int(label)

    def compared_text(self, content: str) -> None:
        """None: rows with the same few features are many people, not copies of one."""
        return

    def classes_in(self, label: str) -> Sequence[str]:
        return (label,)

    def label_fault(self, label: str, classes: Sequence[str]) -> str | None:
        if label not in (NOT_CLICKED, CLICKED):
            return f"label {label!r} is not a click; give {NOT_CLICKED} or {CLICKED}"
        return None

    def content_to_wire(self, content: str) -> items_pb2.Content:
        fields = {name: _shown(value) for name, value in read_features(content).items()}
        return items_pb2.Content(fields=items_pb2.FieldsContent(fields=fields))

    def label_to_wire(self, label: str) -> labels_pb2.Label:
        return labels_pb2.Label(click=labels_pb2.ClickLabel(clicked=label == CLICKED))

    def label_from_wire(self, label: labels_pb2.Label) -> str:
        payload = label.WhichOneof("payload")
        if payload != "click":
            raise InvalidInput.of(
                "label", f"payload {payload or 'unset'} does not suit clicks; set click"
            )
        return CLICKED if label.click.clicked else NOT_CLICKED

    def distance(self, left: str, right: str) -> float:
        return float(left != right)


def write_features(features: Mapping[str, Feature]) -> str:
    """The text form: equal features give equal texts."""
    return json.dumps(features, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def read_features(content: str) -> dict[str, Feature]:
    features: dict[str, Feature] = json.loads(content)
    return features


def _feature(name: str, value: object) -> Feature:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    raise InvalidInput.of(
        name, f"is {type(value).__name__}; give a string, number, boolean or time a feature"
    )


def _shown(value: Feature) -> str:
    return value if isinstance(value, str) else json.dumps(value)
