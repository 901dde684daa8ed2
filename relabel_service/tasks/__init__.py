"""Light side of the task seam: what a label is, which are valid, how they travel.

Tables between the parts and the queue hold contents and labels as text; each task
says what that text means and how it comes from, and returns to, a data set's own
columns. The heavy side (encode, model, loss, predict) is cluster/tasks/.
Shared code looks a task up here and never branches on its name.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from relabel_service.errors import InvalidInput
from relabel_service.tasks.audio_classification import AudioClassification
from relabel_service.tasks.click_through_rate import ClickThroughRate
from relabel_service.tasks.image_classification import ImageClassification
from relabel_service.tasks.object_detection import ObjectDetection
from relabel_service.tasks.sequence_generation import SequenceGeneration
from relabel_service.tasks.text_classification import TextClassification
from relabel_service.tasks.token_classification import TokenClassification
from relabel_service.v1 import items_pb2, labels_pb2


class Task(Protocol):
    """One kind of labelling. Contents and labels are text forms, equal when they mean the same."""

    name: str
    kind: labels_pb2.TaskKind
    content_columns: tuple[str, ...]
    """Columns the content is read from unless the user names others."""
    refers_to_content: bool
    """Whether labels name parts of their content, so that one may not suit it (see misfit)."""

    def read_content(self, values: Mapping[str, object]) -> str:
        """The text form of a row's content columns. Raises InvalidInput naming the fault."""

    def read_label(self, value: object, content: str) -> str:
        """The text form of a row's label. Raises InvalidInput naming the fault."""

    def write_label(self, label: str, content: str) -> Any:
        """The label as the data set's own column holds it; read_label's inverse."""

    def classes_in(self, label: str) -> Sequence[str]:
        """Classes the label names; empty for tasks without classes."""

    def label_fault(self, label: str, classes: Sequence[str]) -> str | None:
        """Why a label is not one of this task's, or None. `classes` empty: any class."""

    def incompatible_label(self, label: str, content: items_pb2.Content) -> str | None:
        """Why a label, sound in itself, does not suit the content, or None. Opens no address."""

    def units(self, classes: Sequence[str]) -> Sequence[str]:
        """What a finding is about: the classes one by one, or `[""]` for the whole row."""

    def unit_label(self, label: str, unit: str) -> str:
        """The part of a row's label that belongs to the unit."""

    def with_unit_label(self, label: str, unit: str, part: str) -> str:
        """The row's label with the unit's part replaced."""

    def content_to_wire(self, content: str) -> items_pb2.Content: ...

    def label_to_wire(self, label: str) -> labels_pb2.Label: ...

    def label_from_wire(self, label: labels_pb2.Label) -> str:
        """Raises InvalidInput when the payload is another task's."""

    def distance(self, left: str, right: str) -> float:
        """How far two labels are apart, in [0, 1]; 0 is equal."""


TASKS: dict[str, Task] = {
    "text_classification": TextClassification(),
    "image_classification": ImageClassification(),
    "audio_classification": AudioClassification(),
    "token_classification": TokenClassification(),
    "object_detection": ObjectDetection(),
    "click_through_rate": ClickThroughRate(),
    "sequence_generation": SequenceGeneration(),
}


def task_of_kind(kind: labels_pb2.TaskKind) -> Task:
    """Look a task up by its kind on the wire. Raises InvalidInput."""
    for task in TASKS.values():
        if task.kind == kind:
            return task
    raise InvalidInput.of("task_kind", f"{kind} is not a task of this version; upgrade the client")


def task_named(name: str) -> Task:
    """Look a task up. Raises InvalidInput naming those that exist."""
    if name not in TASKS:
        raise InvalidInput.of("task", f"{name!r} is not a task; use one of {', '.join(TASKS)}")
    return TASKS[name]
