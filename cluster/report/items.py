"""Findings as items that a page or a terminal shows, the worst first.

An item holds its content and labels in their wire form: what shows them looks up the payload that
is set and never asks which task it is.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from relabel_service.tasks import task_named
from relabel_service.tasks.base import Task
from relabel_service.v1 import items_pb2, labels_pb2
from relabel_service.wire.label_text import label_text

NOTHING = "nothing"  # what a label without a class is called
READ_ROWS = 64  # findings turned into items at once: their contents may be pictures
# The kind of a reason stands before a colon: "spurious: model sees no entity in …".
_KIND = re.compile(r"^([a-z][a-z ]{2,30}): ")


@dataclass(frozen=True)
class Suggestion:
    """What a model says of an item. probability: in [0, 1]."""

    label: labels_pb2.Label
    words: str
    probability: float


@dataclass(frozen=True)
class Item:
    """One finding.

    pair: classes of the human label and of the best suggestion; None where labels have no classes,
    or nothing is suggested. kinds: of the reason, such as `badly placed`.
    decided: the label that people gave it since; None where they have not.
    """

    rank: int
    id: str
    unit: str
    suspicion: float
    reason: str
    content: items_pb2.Content
    label: labels_pb2.Label
    label_words: str
    suggestions: tuple[Suggestion, ...]
    pair: tuple[str, str] | None
    kinds: tuple[str, ...]
    num_copies: int
    decided: labels_pb2.Label | None = None
    decided_words: str = ""


def read_items(findings: pa.Table, *, num_items: int | None = None) -> Iterator[Item]:
    """The findings by rank, at most so many; contents are decoded as they are asked for.

    findings: schemas.FINDINGS; a column `decided_label` (string) may stand beside them.
    """
    order = findings.select(["rank"]).append_column("place", pa.array(range(len(findings))))
    places = order.sort_by("rank")["place"].slice(0, num_items)
    for start in range(0, len(places), READ_ROWS):
        for row in findings.take(places.slice(start, READ_ROWS)).to_pylist():
            yield _item(row)


def _item(row: dict[str, Any]) -> Item:
    task = task_named(row["task"])
    content = task.content_to_wire(row["content"])
    wire = items_pb2.Item(row_id=row["id"], unit=row["unit"] or "", content=content)
    label = task.label_to_wire(row["human_label"])
    suggestions = []
    for suggestion in row["suggestions"] or ():
        suggested = task.label_to_wire(suggestion["label"])
        words = label_text(suggested, wire)
        suggestions.append(Suggestion(suggested, words, suggestion["probability"]))
    decided_label = row.get("decided_label")
    decided = None if decided_label is None else task.label_to_wire(decided_label)
    return Item(
        rank=row["rank"],
        id=row["id"],
        unit=row["unit"] or "",
        suspicion=row["suspicion"],
        reason=row["reason"] or "",
        content=content,
        label=label,
        label_words=label_text(label, wire),
        suggestions=tuple(suggestions),
        pair=_pair(task, row),
        kinds=reason_kinds(row["reason"] or ""),
        num_copies=len(row.get("copies") or ()),
        decided=decided,
        decided_words="" if decided is None else label_text(decided, wire),
    )


def _pair(task: Task, row: dict[str, Any]) -> tuple[str, str] | None:
    if not row["suggestions"]:
        return None
    labels = (row["human_label"], row["suggestions"][0]["label"])
    named = [task.classes_in(label) for label in labels]
    if not any(named):
        return None
    given, suggested = (" + ".join(classes) or NOTHING for classes in named)
    return given, suggested


def reason_kinds(reason: str) -> tuple[str, ...]:
    """Kinds that a reason names, each once."""
    found = (_KIND.match(part) for part in reason.split("; "))
    return tuple(dict.fromkeys(match[1] for match in found if match))
