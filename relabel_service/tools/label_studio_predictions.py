"""A label as a prediction of Label Studio, which takes any: what can be shown is checked here."""

from typing import Any

from relabel_service.errors import InvalidInput
from relabel_service.tasks.base import Task
from relabel_service.tools.label_studio_controls import Control
from relabel_service.v1 import items_pb2


def prediction_of(
    label: str,
    *,
    by: str,
    score: float | None,
    content: items_pb2.Content,
    task: Task,
    control: Control,
    facts: dict[str, Any],
) -> dict[str, Any] | None:
    """None for a label that the task or the content rules out, or that the control cannot show.

    label: in the task's text form. by: the prediction's model version. score: in [0, 1], higher is
    more likely right. facts: as Control.facts.
    """
    if task.label_fault(label, ()) or task.incompatible_label(label, content):
        return None
    try:
        prediction = {"model_version": by, "result": control.results(label, facts)}
    except InvalidInput:
        return None
    return prediction if score is None else {**prediction, "score": score}
