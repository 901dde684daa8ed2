"""The light side of a task: what a label is, which labels are valid, how they travel.

Tables between the stages and the queue keep contents and labels as text; each task
says what that text means and how it comes from, and returns to, a data set's own
columns. The heavy side (encode, model, loss, predict) is cluster/tasks/.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import pyarrow as pa

from relabel_service.v1 import items_pb2, labels_pb2


class Task(Protocol):
    """One kind of labelling. Contents and labels are text forms, equal when they mean the same."""

    name: str
    kind: labels_pb2.TaskKind
    content_columns: tuple[str, ...]
    """Columns the content is read from unless the user names others."""
    refers_to_content: bool
    """Whether labels refer to their content, so that a valid label may not suit it (see
    incompatible_label)."""
    per_class: bool
    """Whether a finding is about one class of a row, rather than about the whole row."""
    agrees_by_equality: bool
    """Whether labels agree exactly where they are equal."""

    def read_content(self, values: Mapping[str, object]) -> str:
        """The text form of a row's content columns. Raises InvalidInput naming the fault."""

    def read_label(self, value: object, content: str) -> str:
        """The text form of a row's label. Raises InvalidInput naming the fault."""

    def read_columns(
        self, contents: Mapping[str, pa.ChunkedArray], labels: pa.ChunkedArray
    ) -> tuple[pa.ChunkedArray, pa.ChunkedArray] | None:
        """read_content and read_label of many rows at once: two string columns of as many rows.

        A null says nothing but that the row must be read by itself. None: all must.
        """

    def write_label(self, label: str, content: str, before: Any = None) -> Any:
        """The label as the data set's own column holds it; read_label's inverse.

        before: what the column holds now, of which whatever the label says nothing of is kept.
        """

    def compared_text(self, content: str) -> str | None:
        """The text whose runs of characters (shingles.py) tell how alike two contents are; None
        where that is not known."""

    def classes_in(self, label: str) -> Sequence[str]:
        """Classes the label names; empty for tasks without classes."""

    def coordinates(self, label: str) -> Sequence[float]:
        """Pixels of the places that the label names; empty for tasks whose labels name none."""

    def label_fault(self, label: str, classes: Sequence[str]) -> str | None:
        """Why a label is not one of this task's, or None. `classes` empty: any class."""

    def incompatible_label(self, label: str, content: items_pb2.Content) -> str | None:
        """Why a valid label does not suit the content, or None. Opens no address."""

    def units(self, classes: Sequence[str]) -> Sequence[str]:
        """What a finding is about: the classes where the task goes per_class, otherwise `("",)`."""

    def foreign_part(self, label: str, unit: str, shown: Sequence[str]) -> str | None:
        """Why an answer about the unit holds what is not the unit's, or None.

        A part of another class belongs there only where a shown label has a part of the unit: it
        gives that part its right class. shown: the human label and the suggestions.
        """

    def unit_label(self, label: str, unit: str) -> str:
        """The part of a row's label that belongs to the unit."""

    def with_unit_label(self, label: str, unit: str, unit_label: str) -> str:
        """The row's label with the unit's part replaced."""

    def content_to_wire(self, content: str) -> items_pb2.Content: ...

    def label_to_wire(self, label: str) -> labels_pb2.Label: ...

    def label_from_wire(self, label: labels_pb2.Label) -> str:
        """Raises InvalidInput when the payload is another task's."""

    def agree(self, left: str, right: str) -> bool:
        """Whether two people who gave these labels said the same."""

    def resolve(self, labels: Sequence[str]) -> str:
        """The label that stands for some that agree, in the order they were given."""

    def distance(self, left: str, right: str) -> float:
        """How far two labels are apart, in [0, 1]; 0 is equal."""
