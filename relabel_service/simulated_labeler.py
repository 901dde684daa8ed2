"""An example labeler: labels from known gold labels, wrongly at a set rate.

It speaks through the client as any frontend does, so it also shows how to
write one. Tests, the demo and measurements use it in place of people.
"""

import random
from collections.abc import Callable, Mapping, Sequence

from relabel_service.client import Client
from relabel_service.decisions import accept, confirm, relabel, skip
from relabel_service.tasks import task_of_kind
from relabel_service.tasks.base import Task
from relabel_service.v1 import leases_pb2

BATCH = 50
ACCEPTED = leases_pb2.RESULT_STATUS_ACCEPTED


def label_all(
    client: Client,
    campaign: str,
    gold: Mapping[str, str],
    *,
    error_rate: float = 0.0,
    seed: int = 0,
    on_submitted: Callable[[int], None] = lambda num: None,
) -> int:
    """Lease and submit until nothing is left for this labeler; how many results were accepted.

    gold: row id -> the row's true label in the task's text form; other rows are skipped.
    error_rate: share of labels, in [0, 1], that are wrong, drawn evenly from the other
    classes, or where the task has none from the human label and the suggestions.
    """
    about = client.get_campaign(campaign)
    task, classes = task_of_kind(about.task_kind), list(about.classes)
    randomness = random.Random(seed)
    num_accepted = 0
    while True:
        with client.leases(campaign, max_items=BATCH) as leases:
            if not leases:
                return num_accepted
            results = []
            for lease in leases:
                label = _truth(lease, gold, task)
                if label is not None and randomness.random() < error_rate:
                    label = randomness.choice(_wrong(lease, label, task, classes) or [label])
                results.append(decide(lease, label, task))
            outcomes = client.submit(campaign, results)
        num_accepted += sum(outcome.status == ACCEPTED for outcome in outcomes)
        on_submitted(len(outcomes))


def decide(lease: leases_pb2.Lease, label: str | None, task: Task) -> leases_pb2.Result:
    """The result that says `label`, in the task's text form, is right; skip when it is None."""
    if label is None:
        return skip(lease, "no gold label")
    truth = task.label_to_wire(label)
    if lease.item.human_label == truth:
        return confirm(lease)
    if lease.item.suggestions and lease.item.suggestions[0].label == truth:
        return accept(lease)
    return relabel(lease, truth)


def _truth(lease: leases_pb2.Lease, gold: Mapping[str, str], task: Task) -> str | None:
    label = gold.get(lease.item.row_id)
    return None if label is None else task.unit_label(label, lease.item.unit)


def _wrong(lease: leases_pb2.Lease, truth: str, task: Task, classes: Sequence[str]) -> list[str]:
    """Labels that may be chosen by mistake."""
    if task.label_fault(truth, classes) is None and truth in classes:
        return [name for name in classes if name != truth]
    shown = [lease.item.human_label, *(s.label for s in lease.item.suggestions)]
    return sorted({task.label_from_wire(label) for label in shown} - {truth})
