"""From a lease to a task of Label Studio, and what the bridge keeps with the task.

Everything that the bridge must know of a task again after a restart lies in the task itself, under
its `meta`: the bridge has no files of its own.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from relabel_service.bridge.label_config import ASK, NOTE
from relabel_service.errors import InvalidInput
from relabel_service.tasks.base import Task
from relabel_service.tools.label_studio_controls import Control
from relabel_service.tools.label_studio_media import Media
from relabel_service.tools.label_studio_predictions import prediction_of
from relabel_service.v1 import items_pb2, leases_pb2
from relabel_service.visible import visible
from relabel_service.wire.label_text import label_text

META = "relabel"
HUMAN, MODEL, VOTE = "human label", "model", "vote"  # model versions of predictions
DECIDED = {leases_pb2.DECISION_SKIP: "skipped", leases_pb2.DECISION_ESCALATE: "escalated"}

Json = dict[str, Any]


@dataclass(frozen=True)
class Sent:
    """What became of an annotation: accepted, or refused and why."""

    annotation: int
    digest: str
    accepted: bool
    reason: str = ""


@dataclass(frozen=True)
class Record:
    """A task's lease, and what its annotations are read with. Labels are in their text form.

    votes: labels that labelers decided on, which adjudicators are shown.
    """

    item: str
    token: str
    unit: str
    human_label: str
    suggestions: list[str]
    facts: Json = field(default_factory=dict)
    sent: Sent | None = None
    votes: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, task: Mapping[str, Any]) -> "Record | None":
        """Of a task; None of one that the bridge did not make."""
        kept = (task.get("meta") or {}).get(META)
        if not isinstance(kept, dict):
            return None
        try:
            sent = kept.get("sent")
            return cls(**{**kept, "sent": Sent(**sent) if sent else None})
        except TypeError:
            return None

    def to_meta(self) -> Json:
        return {META: asdict(self)}


def task_of(lease: leases_pb2.Lease, *, task: Task, control: Control, media: Media) -> Json:
    """What is imported for a lease: data, predictions and meta.

    Predictions that the task or the content rules out are left out. Raises InvalidInput where the
    content cannot be shown.
    """
    item = lease.item
    shown = _shown(item, control, media)
    facts = control.facts(item.content, shown)
    human_label = task.label_from_wire(item.human_label)
    suggestions = [task.label_from_wire(one.label) for one in item.suggestions]
    votes = [task.label_from_wire(vote.label) for vote in lease.votes if vote.HasField("label")]
    record = Record(item.name, lease.token, item.unit, human_label, suggestions, facts, votes=votes)
    data = {control.shows: shown[control.shows], ASK: _ask(lease, record, task), NOTE: ""}
    said: list[tuple[str, str, float | None]] = [(HUMAN, human_label, _label_quality(item))]
    if item.suggestions:
        said.append((MODEL, suggestions[0], item.suggestions[0].probability or None))
    for number, vote in enumerate(lease.votes, 1):
        if vote.HasField("label"):
            said.append((f"{VOTE} {number}", task.label_from_wire(vote.label), None))
    predictions = [
        prediction
        for by, label, score in said
        if (
            prediction := prediction_of(
                _about(label, record, task),
                by=by,
                score=score,
                content=item.content,
                task=task,
                control=control,
                facts=facts,
            )
        )
    ]
    return {"data": data, "predictions": predictions, "meta": record.to_meta()}


def _shown(item: items_pb2.Item, control: Control, media: Media) -> Json:
    kind = item.content.WhichOneof("payload")
    if control.shows == "text" and kind == "text":
        return {"text": item.content.text.text}
    if control.shows == "text" and kind == "tokens":
        return {"text": " ".join(item.content.tokens.tokens)}
    if control.shows == kind == "image":
        return media.picture(item.content.image, measured=False)
    if control.shows == kind == "audio":
        return media.sound(item.content.audio)
    raise InvalidInput.of(
        item.name, f"its content is {kind}, which is not shown in Label Studio; use the page"
    )


def _label_quality(item: items_pb2.Item) -> float | None:
    """1 - suspicion; None where the campaign hides it."""
    return 1 - item.suspicion if item.suspicion else None


def _about(label: str, record: Record, task: Task) -> str:
    """The part of a label that the item is about. A label that somebody gave is that already, and
    may name another class in its place."""
    is_whole = label in (record.human_label, *record.suggestions)
    return task.unit_label(label, record.unit) if record.unit and is_whole else label


def _ask(lease: leases_pb2.Lease, record: Record, task: Task) -> str:
    """The line above the content; for adjudicators with what labelers decided and wrote, since a
    prediction has no place for a comment, and Label Studio shows one prediction at a time."""
    item = lease.item
    parts = [f"About {item.unit}: mark every one." if item.unit else "", item.reason]
    lines = [" ".join(part for part in parts if part)]
    for number, vote in enumerate(lease.votes, 1):
        decided = DECIDED.get(vote.decision, "")
        if vote.HasField("label"):
            label = _about(task.label_from_wire(vote.label), record, task)
            decided = label_text(task.label_to_wire(label), item)
        lines.append(
            ": ".join(part for part in (f"{VOTE} {number}", decided, vote.comment) if part)
        )
    return visible(" · ".join(line for line in lines if line))
