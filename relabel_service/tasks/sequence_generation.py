"""Sequence generation: the content is a source text, the label the text made from it.

Translation, meaning representations, pronunciations, summaries: whatever an
encoder and a decoder can learn. The source may be a sound, and the label its transcript.
"""

import mimetypes
import unicodedata
from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.compute as pc

from relabel_service.errors import InvalidInput
from relabel_service.media import audio, fetch
from relabel_service.tasks import columns
from relabel_service.tasks.agreement import central
from relabel_service.tasks.one_unit import OneUnit
from relabel_service.tasks.scripts import words
from relabel_service.tasks.shingles import words_alone
from relabel_service.v1 import items_pb2, labels_pb2


class SequenceGeneration(OneUnit):
    name = "sequence_generation"
    kind = labels_pb2.TASK_KIND_SEQUENCE_GENERATION
    content_columns: tuple[str, ...] = ("source",)
    agrees_by_equality = False

    def read_content(self, values: Mapping[str, object]) -> str:
        [(column, value)] = values.items()
        if isinstance(value, str) and not is_sound(value):
            return _text(column, value)
        if isinstance(value, str | bytes | Mapping):
            return fetch.read_media(column, value, audio.media_type)
        return _text(column, value)

    def read_label(self, value: object, content: str) -> str:
        return _text("label", value)

    def read_columns(
        self, contents: Mapping[str, pa.ChunkedArray], labels: pa.ChunkedArray
    ) -> tuple[pa.ChunkedArray, pa.ChunkedArray] | None:
        [sources] = contents.values()
        found = columns.texts(sources)
        may_be_sound = pc.match_substring_regex(found, f"^{fetch.DATA}|://")  # see is_sound
        no_text = pa.scalar(None, pa.string())
        return pc.if_else(may_be_sound, no_text, found), columns.texts(labels)

    def write_label(self, label: str, content: str, before: Any = None) -> str:
        return label

    def compared_text(self, content: str) -> str | None:
        return None if is_sound(content) else words_alone(content)

    def classes_in(self, label: str) -> Sequence[str]:
        return ()

    def label_fault(self, label: str, classes: Sequence[str]) -> str | None:
        return None if label.strip() else "label is empty; give a text"

    def content_to_wire(self, content: str) -> items_pb2.Content:
        if is_sound(content):
            return items_pb2.Content(audio=fetch.to_wire(content))
        return items_pb2.Content(text=items_pb2.TextContent(text=content))

    def label_to_wire(self, label: str) -> labels_pb2.Label:
        return labels_pb2.Label(sequence=labels_pb2.SequenceLabel(text=label))

    def label_from_wire(self, label: labels_pb2.Label) -> str:
        payload = label.WhichOneof("payload")
        if payload != "sequence":
            raise InvalidInput.of(
                "label", f"payload {payload or 'unset'} does not suit sequences; set sequence"
            )
        return label.sequence.text

    def agree(self, left: str, right: str) -> bool:
        """Whether the texts are the same but for Unicode's spellings of a sign, and for spaces."""
        return _normalized(left) == _normalized(right)

    def resolve(self, labels: Sequence[str]) -> str:
        return central(labels, self.distance)

    def distance(self, left: str, right: str) -> float:
        """Share of words that have no counterpart in order (Ratcliff and Obershelp 1988); of
        characters in scripts that put no spaces between words."""
        if left == right:
            return 0.0
        matcher = SequenceMatcher(None, words(left), words(right), autojunk=False)
        return 1.0 - matcher.ratio()


def _normalized(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).split())


def is_sound(content: str) -> bool:
    """Whether a source is a sound's `data:` URI or address rather than a text."""
    if content.startswith(fetch.DATA):
        return content.startswith(f"{fetch.DATA}audio/")
    if "://" not in content or any(sign.isspace() for sign in content):
        return False
    guessed, _ = mimetypes.guess_type(urlsplit(content).path)
    return (guessed or "").startswith("audio/")


def _text(column: str, value: object) -> str:
    if not isinstance(value, str):
        raise InvalidInput.of(column, f"is {type(value).__name__}; give a string")
    if not value.strip():
        raise InvalidInput.of(column, "is empty; give a text")
    return value
