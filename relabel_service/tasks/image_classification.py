"""Image classification: the content is a picture, in the table or by address."""

from collections.abc import Mapping

from relabel_service.media import fetch, images
from relabel_service.tasks.class_label import ClassLabelled
from relabel_service.tasks.shingles import digest
from relabel_service.v1 import items_pb2, labels_pb2


class ImageClassification(ClassLabelled):
    name = "image_classification"
    kind = labels_pb2.TASK_KIND_IMAGE_CLASSIFICATION
    content_columns: tuple[str, ...] = ("image",)

    def read_content(self, values: Mapping[str, object]) -> str:
        [(column, value)] = values.items()
        return fetch.read_media(column, value, images.media_type)

    def compared_text(self, content: str) -> str:
        return digest(content)

    def content_to_wire(self, content: str) -> items_pb2.Content:
        return items_pb2.Content(image=fetch.to_wire(content, images.PIXEL_FRAME))
