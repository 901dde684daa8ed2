"""Whether answers suit the items they are about, as far as the contents tell."""

from collections.abc import Sequence

from sqlalchemy import Connection

from relabel_service.errors import InvalidInput, Violation
from relabel_service.queue.campaigns import Campaign
from relabel_service.queue.leased_items import items_of
from relabel_service.queue.submit import Answer
from relabel_service.tasks import task_named
from relabel_service.v1 import items_pb2


def check_fit(
    connection: Connection, campaign: Campaign, answers: Sequence[Answer], *, labeler: str
) -> None:
    """Raises InvalidInput naming every answer whose label is none of its item's."""
    task = task_named(campaign.task)
    named = [one for one in answers if one.label is not None] if task.refers_to_content else []
    if not named:
        return  # most answers: no content is read
    found = items_of(connection, campaign, [one.token for one in named], labeler=labeler)
    violations = [
        Violation(f"results[{place}].label", fault)
        for place, one in enumerate(answers)
        if one.label is not None
        and one.token in found
        and (
            fault := task.incompatible_label(
                one.label, items_pb2.Item.FromString(found[one.token]).content
            )
        )
    ]
    if violations:
        raise InvalidInput(violations)
