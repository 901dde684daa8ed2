"""Light side of the task seam: what a label is, which are valid, how they travel.

Tables and the queue hold contents and labels as text; each task says what that
text means. The heavy side (encode, model, loss, predict) is cluster/tasks/.
Shared code looks a task up here and never branches on its name.
"""

from collections.abc import Sequence
from typing import Protocol

from relabel_service.errors import InvalidInput
from relabel_service.tasks.text_classification import TextClassification
from relabel_service.v1 import items_pb2, labels_pb2


class Task(Protocol):
    """One kind of labelling. Contents and labels are the tables' text forms."""

    name: str
    kind: labels_pb2.TaskKind

    def row_fault(self, content: object, label: object, classes: Sequence[str]) -> str | None:
        """Why a data row breaks the task's schema, or None. `classes` empty: any class."""

    def label_fault(self, label: str, classes: Sequence[str]) -> str | None:
        """Why a label is not one of this task's, or None."""

    def content_to_wire(self, content: str) -> items_pb2.Content: ...

    def label_to_wire(self, label: str) -> labels_pb2.Label: ...

    def label_from_wire(self, label: labels_pb2.Label) -> str:
        """Raises InvalidInput when the payload is another task's."""

    def distance(self, left: str, right: str) -> float:
        """How far two labels are apart, in [0, 1]; 0 is equal."""


TASKS: dict[str, Task] = {
    "text_classification": TextClassification(),
}


def task_named(name: str) -> Task:
    """Look a task up. Raises InvalidInput naming those that exist."""
    if name not in TASKS:
        raise InvalidInput.of("task", f"{name!r} is not a task; use one of {', '.join(TASKS)}")
    return TASKS[name]
