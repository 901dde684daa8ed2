"""Audio classification: the content is a sound, in the table or by address."""

from collections.abc import Mapping

from relabel_service.media import audio, fetch
from relabel_service.tasks.class_label import ClassLabelled
from relabel_service.tasks.shingles import digest
from relabel_service.v1 import items_pb2, labels_pb2


class AudioClassification(ClassLabelled):
    name = "audio_classification"
    kind = labels_pb2.TASK_KIND_AUDIO_CLASSIFICATION
    content_columns: tuple[str, ...] = ("audio",)

    def read_content(self, values: Mapping[str, object]) -> str:
        [(column, value)] = values.items()
        return fetch.read_media(column, value, audio.media_type)

    def compared_text(self, content: str) -> str:
        return digest(content)

    def content_to_wire(self, content: str) -> items_pb2.Content:
        return items_pb2.Content(audio=fetch.to_wire(content))
