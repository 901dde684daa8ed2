"""Text classification: the content is a text, the label one class name."""

from collections.abc import Mapping

import pyarrow as pa

from relabel_service.errors import InvalidInput
from relabel_service.tasks import columns
from relabel_service.tasks.class_label import ClassLabelled
from relabel_service.tasks.shingles import words_alone
from relabel_service.v1 import items_pb2, labels_pb2


class TextClassification(ClassLabelled):
    name = "text_classification"
    kind = labels_pb2.TASK_KIND_TEXT_CLASSIFICATION
    content_columns: tuple[str, ...] = ("text",)

    def read_content(self, values: Mapping[str, object]) -> str:
        [(column, text)] = values.items()
        if not isinstance(text, str):
            raise InvalidInput.of(column, f"is {type(text).__name__}; give a string")
        if not text.strip():
            raise InvalidInput.of(column, "is empty; give a text")
        return text

    def read_columns(
        self, contents: Mapping[str, pa.ChunkedArray], labels: pa.ChunkedArray
    ) -> tuple[pa.ChunkedArray, pa.ChunkedArray] | None:
        [texts] = contents.values()
        return columns.texts(texts), columns.class_names(labels)

    def compared_text(self, content: str) -> str:
        return words_alone(content)

    def content_to_wire(self, content: str) -> items_pb2.Content:
        return items_pb2.Content(text=items_pb2.TextContent(text=content))
