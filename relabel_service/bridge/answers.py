"""From an annotation of Label Studio to a result to submit."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from relabel_service.bridge.label_config import COMMENT, ESCALATE
from relabel_service.bridge.tasks import Record
from relabel_service.errors import InvalidInput
from relabel_service.tasks.base import Task
from relabel_service.tools.label_studio_controls import NAME, Control, texts_of
from relabel_service.v1 import leases_pb2

MAX_SPENT_S = 24 * 3600.0  # that a result may say

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Answer:
    """An annotation as a result, or what is wrong with it, for the person who made it.

    version: of the annotation. digest: of what was decided, the same for another annotation that
    decides the same.
    """

    annotation: int
    version: str
    result: leases_pb2.Result | None
    fault: str

    @property
    def digest(self) -> str:
        if self.result is None:
            return _digest(self.fault.encode())
        decided = leases_pb2.Result()
        decided.CopyFrom(self.result)
        decided.ClearField("seconds_spent")
        decided.ClearField("token")
        return _digest(decided.SerializeToString(deterministic=True))


def newest(annotations: list[Json]) -> Json | None:
    """The annotation that was changed last: a project is one person's, whoever completed it."""
    return max(annotations, key=lambda one: (one["updated_at"], one["id"]), default=None)


def answer_of(annotation: Json, record: Record, *, task: Task, control: Control) -> Answer:
    number, version = int(annotation["id"]), f"{annotation['id']} {annotation['updated_at']}"
    try:
        result = _result(annotation, record, task, control)
    except InvalidInput as error:
        fault = "; ".join(violation.description for violation in error.violations)
        return Answer(number, version, None, fault)
    result.token = record.token
    result.seconds_spent = min(max(float(annotation.get("lead_time") or 0.0), 0.0), MAX_SPENT_S)
    return Answer(number, version, result, "")


def _result(annotation: Json, record: Record, task: Task, control: Control) -> leases_pb2.Result:
    """Without token and time. Raises InvalidInput for what cannot be taken."""
    results = annotation.get("result") or []
    comment = "\n".join(text for one in _of(results, COMMENT) for text in texts_of(one)).strip()
    if annotation.get("was_cancelled"):
        return leases_pb2.Result(decision=leases_pb2.DECISION_SKIP, comment=comment)
    if any(one["value"].get("choices") for one in _of(results, ESCALATE)):
        return leases_pb2.Result(decision=leases_pb2.DECISION_ESCALATE, comment=comment)
    shown = [record.human_label, *record.suggestions]
    label = control.label(_of(results, NAME), record.facts, [*shown, *record.votes])
    label = task.label_from_wire(task.label_to_wire(label))
    if fault := task.label_fault(label, ()) or task.foreign_part(label, record.unit, shown):
        raise InvalidInput.of("label", fault)
    human, *suggested = (_same(one, record.unit, task) for one in shown)
    if label in human:
        return leases_pb2.Result(decision=leases_pb2.DECISION_CONFIRM, comment=comment)
    if suggested and label in suggested[0]:
        return leases_pb2.Result(decision=leases_pb2.DECISION_ACCEPT, comment=comment)
    return leases_pb2.Result(
        decision=leases_pb2.DECISION_RELABEL, label=task.label_to_wire(label), comment=comment
    )


def _same(label: str, unit: str, task: Task) -> set[str]:
    """A shown label, and its part that the item is about: people are shown that alone."""
    return {label, task.unit_label(label, unit)} if unit else {label}


def _of(results: list[Any], control: str) -> list[Any]:
    return [one for one in results if one.get("from_name") == control]


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
