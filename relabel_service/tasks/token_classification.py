"""Token classification (named entities): the content is tokens, the label spans of entities.

A finding is about one row and one class: the spans of that class are its part of the label.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from relabel_service.errors import InvalidInput
from relabel_service.tasks import spans
from relabel_service.tasks.agreement import AgreeWhereEqual
from relabel_service.tasks.spans import Span
from relabel_service.v1 import items_pb2, labels_pb2


class TokenClassification(AgreeWhereEqual):
    name = "token_classification"
    kind = labels_pb2.TASK_KIND_TOKEN_CLASSIFICATION
    content_columns: tuple[str, ...] = ("tokens",)
    refers_to_content = True
    per_class = True

    def read_content(self, values: Mapping[str, object]) -> str:
        [(column, tokens)] = values.items()
        if not isinstance(tokens, Sequence) or isinstance(tokens, str | bytes):
            raise InvalidInput.of(
                column, f"is {type(tokens).__name__}; give a list of tokens, one string each"
            )
        if not tokens:
            raise InvalidInput.of(column, "is empty; give at least one token")
        strange = next((token for token in tokens if not isinstance(token, str)), None)
        if strange is not None or None in tokens:
            raise InvalidInput.of(column, f"holds {strange!r}; give tokens as strings")
        return json.dumps(list(tokens), ensure_ascii=False, separators=(",", ":"))

    def read_label(self, value: object, content: str) -> str:
        if not isinstance(value, Sequence) or isinstance(value, str | bytes):
            raise InvalidInput.of(
                "label", f"is {type(value).__name__}; give a list of BIO tags, one a token"
            )
        num_tokens = len(json.loads(content))
        if len(value) != num_tokens:
            raise InvalidInput.of(
                "label", f"has {len(value)} tags for {num_tokens} tokens; give one a token"
            )
        return spans.to_text(spans.from_bio(value))

    def read_columns(
        self, contents: Mapping[str, pa.ChunkedArray], labels: pa.ChunkedArray
    ) -> None:
        return None

    def write_label(self, label: str, content: str, before: Any = None) -> list[str]:
        return spans.to_bio(spans.from_text(label), len(json.loads(content)))

    def compared_text(self, content: str) -> str:
        """The tokens set together, letter case set aside."""
        return re.sub(r"\s+", "", "".join(json.loads(content)).lower())

    def classes_in(self, label: str) -> Sequence[str]:
        return sorted({span.class_name for span in spans.from_text(label)})

    def coordinates(self, label: str) -> Sequence[float]:
        return ()

    def label_fault(self, label: str, classes: Sequence[str]) -> str | None:
        return spans.fault_of(spans.from_text(label), classes)

    def incompatible_label(self, label: str, content: items_pb2.Content) -> str | None:
        return spans.fault_beyond(spans.from_text(label), len(content.tokens.tokens))

    def units(self, classes: Sequence[str]) -> Sequence[str]:
        return tuple(classes)

    def foreign_part(self, label: str, unit: str, shown: Sequence[str]) -> str | None:
        places = [
            span for text in shown for span in spans.from_text(text) if span.class_name == unit
        ]
        for span in spans.from_text(label):
            if span.class_name != unit and not any(span.overlaps(place) for place in places):
                return (
                    f"span {span.start}-{span.end} is of class {span.class_name!r}, and the item "
                    f"is about {unit!r}; leave out what overlaps no {unit!r} that is shown"
                )
        return None

    def unit_label(self, label: str, unit: str) -> str:
        return spans.to_text(span for span in spans.from_text(label) if span.class_name == unit)

    def with_unit_label(self, label: str, unit: str, unit_label: str) -> str:
        """A token is of one entity at most: what unit_label names is taken from other classes."""
        named = spans.from_text(unit_label)
        kept = [
            span
            for span in spans.from_text(label)
            if span.class_name != unit and not any(span.overlaps(other) for other in named)
        ]
        return spans.to_text([*kept, *named])

    def content_to_wire(self, content: str) -> items_pb2.Content:
        return items_pb2.Content(tokens=items_pb2.TokensContent(tokens=json.loads(content)))

    def label_to_wire(self, label: str) -> labels_pb2.Label:
        wire_spans = [
            labels_pb2.Span(start=start, end=end, class_name=class_name)
            for start, end, class_name in spans.from_text(label)
        ]
        return labels_pb2.Label(spans=labels_pb2.SpansLabel(spans=wire_spans))

    def label_from_wire(self, label: labels_pb2.Label) -> str:
        payload = label.WhichOneof("payload")
        if payload != "spans":
            raise InvalidInput.of(
                "label", f"payload {payload or 'unset'} does not suit entities; set spans"
            )
        return spans.to_text(
            Span(span.start, span.end, span.class_name) for span in label.spans.spans
        )

    def distance(self, left: str, right: str) -> float:
        """One minus the F1 of the left label's spans against the right's."""
        left_spans, right_spans = set(spans.from_text(left)), set(spans.from_text(right))
        total = len(left_spans) + len(right_spans)
        return 1 - 2 * len(left_spans & right_spans) / total if total else 0.0
