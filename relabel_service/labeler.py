"""An example labeler: answers from known gold labels, wrongly at a set rate.

It speaks through the client as any frontend does, so it also shows how to
write one. Tests, the demo and measurements use it in place of people.
"""

import random
from collections.abc import Callable, Mapping

from relabel_service.client import Client, accept, confirm, relabel, skip
from relabel_service.v1 import labels_pb2, leases_pb2

BATCH = 50


def answer_all(
    client: Client,
    campaign: str,
    gold: Mapping[str, str],
    *,
    error_rate: float = 0.0,
    seed: int = 0,
    on_answers: Callable[[int], None] = lambda num: None,
) -> int:
    """Lease and answer until nothing is left for this labeler; how many results were accepted.

    gold: row id -> true class name; a row that is not there is skipped.
    error_rate: share of answers, in [0, 1], that name a wrong class, evenly among the others.
    """
    classes = client.get_campaign(campaign).classes
    randomness = random.Random(seed)
    num_accepted = 0
    while True:
        with client.hold(campaign, max_items=BATCH) as leases:
            if not leases:
                return num_accepted
            results = []
            for lease in leases:
                truth = gold.get(lease.item.row_id)
                if truth is not None and randomness.random() < error_rate:
                    truth = randomness.choice([name for name in classes if name != truth])
                results.append(decide(lease, truth))
            outcomes = client.submit(campaign, results)
        num_accepted += sum(one.status == leases_pb2.RESULT_STATUS_ACCEPTED for one in outcomes)
        on_answers(len(outcomes))


def decide(lease: leases_pb2.Lease, class_name: str | None) -> leases_pb2.Result:
    """The result that says `class_name` is right; skip when it is None."""
    if class_name is None:
        return skip(lease, "no gold label")
    truth = labels_pb2.Label(class_label=labels_pb2.ClassLabel(class_name=class_name))
    if lease.item.human_label == truth:
        return confirm(lease)
    if lease.item.suggestions and lease.item.suggestions[0].label == truth:
        return accept(lease)
    return relabel(lease, truth)
