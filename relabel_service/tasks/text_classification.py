"""Text classification: the content is a text, the label one class name."""

from collections.abc import Sequence

from relabel_service.errors import InvalidInput
from relabel_service.v1 import items_pb2, labels_pb2


class TextClassification:
    name = "text_classification"
    kind = labels_pb2.TASK_KIND_TEXT_CLASSIFICATION

    def row_fault(self, content: object, label: object, classes: Sequence[str]) -> str | None:
        if not isinstance(content, str):
            return f"text is {type(content).__name__}, not a string"
        if not content.strip():
            return "text is empty"
        if not isinstance(label, str):
            return f"label is {type(label).__name__}, not a string"
        return self.label_fault(label, classes)

    def label_fault(self, label: str, classes: Sequence[str]) -> str | None:
        if not label.strip():
            return "label is empty"
        if classes and label not in classes:
            return f"label {label!r} is not one of the classes {', '.join(classes)}"
        return None

    def content_to_wire(self, content: str) -> items_pb2.Content:
        return items_pb2.Content(text=items_pb2.TextContent(text=content))

    def label_to_wire(self, label: str) -> labels_pb2.Label:
        return labels_pb2.Label(class_label=labels_pb2.ClassLabel(class_name=label))

    def label_from_wire(self, label: labels_pb2.Label) -> str:
        payload = label.WhichOneof("payload")
        if payload != "class_label":
            raise InvalidInput.of(
                "label", f"payload {payload or 'unset'} does not suit {self.name}; set class_label"
            )
        return label.class_label.class_name

    def distance(self, left: str, right: str) -> float:
        return float(left != right)
