"""What goes on in the newest campaigns, for an operator: counts alone, of no labeler."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, and_, case, func, select

from relabel_service.queue import progress
from relabel_service.queue import schema as db
from relabel_service.queue.campaigns import GOLD

# As Report counts them: what adjudicators have is escalated; "leased" is decided by the time.
SHOWN_STATES = {
    "open": "open",
    "leased": "open",
    "done": "done",
    "skipped": "skipped",
    "escalated": "escalated",
    "adjudicating": "escalated",
}
STATES = ("open", "leased", "done", "skipped", "escalated")


@dataclass(frozen=True)
class Activity:
    """Of one campaign. create_time in seconds since the epoch; num_items by STATES."""

    campaign: str
    create_time: float
    num_items: Mapping[str, int]
    num_expired: int
    """Leases that expired without an answer since the time that was asked about."""
    num_imported: int
    num_to_publish: int
    num_published: int
    is_stopped: bool


def nothing(campaign: str, *, now: float) -> Activity:
    """Of a campaign that is gone or finalized."""
    return Activity(campaign, now, dict.fromkeys(STATES, 0), 0, 0, 0, 0, False)


def look(connection: Connection, *, limit: int, since: float, now: float) -> list[Activity]:
    """The newest `limit` campaigns that are neither finalized nor deleted."""
    row = db.campaigns.c
    query = (
        select(row.campaign, row.create_time, row.num_imported)
        .where(row.state.not_in(["finalized", "deleting"]))
        .order_by(row.create_time.desc(), row.campaign)
        .limit(limit)
    )
    found = list(connection.execute(query))
    campaigns = [campaign for campaign, _, _ in found]
    items = _items(connection, campaigns, now=now)
    expired = _expired(connection, campaigns, since=since, now=now)
    operations = progress.operations(connection, campaigns)
    seen = []
    for campaign, create_time, num_imported in found:
        operation = operations.get(campaign)
        seen.append(
            Activity(
                campaign=campaign,
                create_time=create_time,
                num_items=items[campaign],
                num_expired=expired.get(campaign, 0),
                num_imported=num_imported,
                num_to_publish=operation.num_total if operation else 0,
                num_published=operation.num_done if operation else 0,
                is_stopped=bool(operation and operation.reason),
            )
        )
    return seen


def _items(
    connection: Connection, campaigns: list[str], *, now: float
) -> dict[str, dict[str, int]]:
    row = db.queue.c
    is_leased = and_(row.state.in_(["open", "leased"]), row.leased_until > now)
    query = (
        select(row.campaign, row.state, func.count(), func.sum(case((is_leased, 1), else_=0)))
        .where(row.campaign.in_(campaigns), row.kind != GOLD)
        .group_by(row.campaign, row.state)
    )
    nums = {campaign: dict.fromkeys(STATES, 0) for campaign in campaigns}
    for campaign, state, num, num_leased in connection.execute(query):
        shown = nums[campaign]
        shown["leased"] += int(num_leased)
        shown[SHOWN_STATES.get(state, "open")] += int(num) - int(num_leased)
    return nums


def _expired(
    connection: Connection, campaigns: list[str], *, since: float, now: float
) -> dict[str, int]:
    row = db.lease_groups.c
    query = (
        select(row.campaign, func.sum(row.num_live))
        .where(
            row.campaign.in_(campaigns),
            row.expire_time > since,
            row.expire_time <= now,
            row.labeler != "",
        )
        .group_by(row.campaign)
    )
    return {campaign: int(num) for campaign, num in connection.execute(query)}
