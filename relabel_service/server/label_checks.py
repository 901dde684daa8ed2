"""Whether submitted labels suit the items they are about, as far as the contents tell."""

from collections.abc import Sequence

from sqlalchemy import Connection

from relabel_service.errors import InvalidInput, Violation
from relabel_service.queue.campaigns import Campaign
from relabel_service.queue.leased_items import items_by_token
from relabel_service.queue.submit import Result
from relabel_service.tasks import task_named
from relabel_service.v1 import items_pb2


def check_labels(
    connection: Connection, campaign: Campaign, results: Sequence[Result], *, labeler: str
) -> None:
    """Raises InvalidInput naming every result whose label does not suit its item."""
    task = task_named(campaign.task)
    if not task.refers_to_content:
        return
    tokens = [result.token for result in results if result.label is not None]
    if not tokens:
        return  # as in most requests: no content is read
    items = items_by_token(connection, campaign, tokens, labeler=labeler)
    violations = []
    for index, result in enumerate(results):
        if result.label is None or result.token not in items:
            continue
        item = items_pb2.Item.FromString(items[result.token])
        labels = [item.human_label, *(suggestion.label for suggestion in item.suggestions)]
        shown = [task.label_from_wire(label) for label in labels if label.WhichOneof("payload")]
        fault = task.incompatible_label(result.label, item.content) or task.foreign_part(
            result.label, item.unit, shown
        )
        if fault:
            violations.append(Violation(f"results[{index}].label", fault))
    if violations:
        raise InvalidInput(violations)
