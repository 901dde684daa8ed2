"""Whether rows of a findings table can be items. Every fault is told, before anything is stored.

Knows findings tables, gold tables and audit tables; it stores nothing.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from relabel_service.errors import InvalidInput
from relabel_service.tables import schemas
from relabel_service.tasks import task_named

OPTIONAL = ("signals", "preferred_label", "copies")  # later releases added two; one is not read
NUM_TOLD = 3  # faults that a sentence names
AGAIN = "repair the table, or mine again, and create another campaign"
ROUNDING = 1e-6  # a float32 softmax may pass 1 by so little
# What a task raises on a text that is not one of its contents or labels.
NOT_OF_THE_TASK = (InvalidInput, ValueError, LookupError, TypeError, AttributeError)


@dataclass
class Faults:
    """Of rows: how many, and the first in words."""

    num: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, row_id: object, fault: str) -> None:
        self.num += 1
        if len(self.first) < NUM_TOLD:
            self.first.append(f"row {row_id!r} {fault}")

    def sentence(self, num_rows: int, *, at_least: bool = False) -> str:
        """num_rows: of which they are. at_least: not all of them were looked at."""
        number = f"at least {self.num}" if at_least else str(self.num)
        more = "; …" if self.num > len(self.first) else ""
        return (
            f"{number} of {num_rows} rows cannot be asked about: {'; '.join(self.first)}{more}. "
            f"Nothing more is read: {AGAIN}"
        )


class InvalidRows(InvalidInput):
    """Rows that cannot be items."""


def check_columns(path: str, uri: str, schema: pa.Schema) -> None:
    """Raises InvalidInput naming the field `path` where columns are missing or of another type."""
    faults = []
    for wanted in schemas.FINDINGS:
        if wanted.name not in schema.names:
            if wanted.name not in OPTIONAL:
                faults.append(f"has no column {wanted.name}")
        elif wanted.name != "signals" and not _is_like(schema.field(wanted.name).type, wanted.type):
            kind = schema.field(wanted.name).type
            faults.append(f"has the column {wanted.name} of {kind}, not of {wanted.type}")
    if faults:
        raise InvalidInput.of(
            path, f"{uri!r} {', and '.join(faults)}; write the columns of the findings"
        )


def check_ranks(path: str, rows: Iterable[pa.Table], num_rows: int) -> None:
    """Raises InvalidInput where the ranks are not 0 to num_rows - 1, each once.

    rows: tables with the columns id and rank. Memory is a byte for each row.
    """
    seen, faults = np.zeros(num_rows, np.bool_), Faults()
    for table in rows:
        for row_id, rank in zip(*(table[name].to_pylist() for name in ("id", "rank")), strict=True):
            if rank is None or not 0 <= rank < num_rows:
                faults.add(row_id, f"has rank {rank}, where ranks go from 0 to {num_rows - 1}")
            elif seen[rank]:
                faults.add(row_id, f"has rank {rank}, as another row has")
            else:
                seen[rank] = True
    if faults.num:
        raise InvalidInput.of(path, faults.sentence(num_rows))


def row_fault(row: Mapping[str, Any], task: str) -> str | None:
    """Why the row cannot be an item of a campaign of the task, in words; None where it can."""
    return value_fault(row, task) or _task_fault(row, task)


def value_fault(row: Mapping[str, Any], task: str) -> str | None:
    """The same, as far as the task need not read contents and labels for it."""
    if row["task"] != task:
        return f"is of the task {row['task']!r}, where the first row is of {task!r}"
    for name in ("id", "content", "human_label"):
        if row[name] is None or (name == "id" and not row[name]):
            return f"has no {name}"
    for name in ("id", "unit", "human_label"):
        if "\x00" in (row[name] or ""):
            return f"has a {name} with NUL in it"
    if not _is_share(row["suspicion"]):
        return f"has suspicion {row['suspicion']}, which is not in [0, 1]"
    for suggestion in row["suggestions"] or ():
        if suggestion is None or suggestion["label"] is None:
            return "has a suggestion without a label"
        if not _is_share(suggestion["probability"]):
            return f"has a suggestion of probability {suggestion['probability']}, not in [0, 1]"
    return None


def _task_fault(row: Mapping[str, Any], task: str) -> str | None:
    """What the task cannot send of the row."""
    to_wire = task_named(task).label_to_wire
    texts: list[tuple[str, Callable[[str], Any], str]] = [
        ("content", task_named(task).content_to_wire, row["content"]),
        ("human_label", to_wire, row["human_label"]),
        *(("suggestion", to_wire, one["label"]) for one in row["suggestions"] or ()),
    ]
    if row.get("preferred_label") is not None:
        texts.append(("preferred_label", to_wire, row["preferred_label"]))
    for name, convert, text in texts:
        try:
            convert(text)
        except NOT_OF_THE_TASK as error:
            return f"has a {name} that is not of {task}: {str(error)[:200]}"
    return None


def _is_share(value: object) -> bool:
    if not isinstance(value, float) or not math.isfinite(value):
        return False
    return -ROUNDING <= value <= 1 + ROUNDING


def _is_like(kind: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether values of one type come to Python as those of the other do."""
    if pa.types.is_list(wanted):
        is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
        return is_list and _is_like(kind.value_type, wanted.value_type)
    if pa.types.is_struct(wanted):
        names = {kind.field(i).name for i in range(kind.num_fields)} if _is_struct(kind) else set()
        return all(
            one.name in names and _is_like(kind.field(one.name).type, one.type)
            for one in (wanted.field(i) for i in range(wanted.num_fields))
        )
    if pa.types.is_integer(wanted):
        return bool(pa.types.is_integer(kind))
    if pa.types.is_floating(wanted):
        return bool(pa.types.is_floating(kind))
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_struct(kind: pa.DataType) -> bool:
    return bool(pa.types.is_struct(kind))
