"""Having items decided anew, for an admin: answers are withdrawn, and kept with who did so when.

A withdrawn answer is no answer of the item any more: its labeler may answer again, under another
lease. Both functions want the campaign alone (Store.write_transaction).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, func, insert, literal, select, true

from relabel_service.errors import NotFound, WrongState
from relabel_service.queue import item_leases, lease_groups
from relabel_service.queue import schema as db
from relabel_service.queue import statements as sql
from relabel_service.queue.campaigns import GOLD, Campaign
from relabel_service.queue.item_leases import LABELER, ItemLease
from relabel_service.queue.item_updates import group_items, update
from relabel_service.queue.submit import TAKES_RESULTS

STEP = 1000  # items of one transaction
# A withdrawal comes after the answer, as far as a results table tells times apart.
LEAST_LATER_S = 1e-3


@dataclass(frozen=True)
class Reopened:
    """How many items had answers that were withdrawn, and how many those were."""

    num_items: int
    num_answers: int


def check_takes_results(campaign: Campaign) -> None:
    """Raises WrongState."""
    if campaign.state not in TAKES_RESULTS:
        next_step = (
            "reopen it first" if campaign.state == "closed" else "its items stay as they are"
        )
        raise WrongState(f"campaign {campaign.campaign!r} is {campaign.state}; {next_step}")


def ranks_of_rows(
    connection: Connection, campaign: Campaign, row_ids: Collection[str]
) -> list[int]:
    """Ranks of all items of the rows, gold ones left out. Raises NotFound for a row without any."""
    row = db.items.c
    query = select(row.rank, row.row_id).where(
        row.campaign == campaign.campaign, row.row_id.in_(row_ids), row.kind != GOLD
    )
    found = list(connection.execute(query))
    if missing := sorted({*row_ids} - {row_id for _, row_id in found}):
        raise NotFound(
            f"campaign {campaign.campaign!r} has no item of row {missing[0]!r}; name ids of the "
            "data set as the findings have them"
        )
    return [rank for rank, _ in found]


def reopen(
    connection: Connection, campaign: Campaign, ranks: Collection[int], *, by: str, now: float
) -> Reopened:
    """Withdraw all answers on the items, and take away the leases on those that had any.

    by: who has asked for it. Raises WrongState where the campaign takes no results.
    """
    check_takes_results(campaign)
    rows = _locked(connection, campaign, ranks)
    answered, num_answers = _withdraw(connection, campaign, rows, true(), by=by, now=now)
    leases: list[ItemLease] = []
    for group in group_items(connection, campaign, answered):
        group.leases.clear()
        group.not_before = 0.0
        update(connection, campaign, group, now=now)
    for row in answered:
        leases += item_leases.read(row.leases, row.expired_leases).values()
    lease_groups.remove(connection, leases)
    return Reopened(len(answered), num_answers)


def requeue(
    connection: Connection, campaign: Campaign, ranks: Collection[int], *, by: str, now: float
) -> Reopened:
    """Withdraw labelers' skips on the items among these that are skipped; votes stay.

    Raises WrongState where the campaign takes no results.
    """
    check_takes_results(campaign)
    skipped = [row for row in _locked(connection, campaign, ranks) if row.state == "skipped"]
    is_skip = (db.results.c.decision == "skip") & (db.results.c.role == LABELER)
    answered, num_skips = _withdraw(connection, campaign, skipped, is_skip, by=by, now=now)
    for group in group_items(connection, campaign, answered):
        update(connection, campaign, group, now=now)
    return Reopened(len(answered), num_skips)


def skipped_ranks(connection: Connection, campaign: Campaign) -> list[int]:
    """The first STEP of the items that are skipped."""
    row = db.queue.c
    query = select(row.rank).where(row.campaign == campaign.campaign, row.state == "skipped")
    return list(connection.execute(query.order_by(row.rank).limit(STEP)).scalars())


def _locked(connection: Connection, campaign: Campaign, ranks: Collection[int]) -> list[Any]:
    values = {"campaign": campaign.campaign, "ranks": sorted(ranks)}
    rows = sql.LOCK_ROWS(connection, values) if ranks else []
    return [row for row in rows if row.kind != GOLD]


def _withdraw(
    connection: Connection,
    campaign: Campaign,
    rows: Sequence[Any],
    which: ColumnElement[bool],
    *,
    by: str,
    now: float,
) -> tuple[list[Any], int]:
    """The rows that had results of this kind, and how many they had together."""
    result, withdrawn = db.results.c, db.withdrawn_results
    among = (
        (result.campaign == campaign.campaign) & result.rank.in_([row.rank for row in rows]) & which
    )
    query = select(result.rank, func.count().label("num")).where(among).group_by(result.rank)
    nums = {row.rank: row.num for row in connection.execute(query)}
    earliest = result.submit_time + LEAST_LATER_S
    time = func.max if connection.dialect.name == "sqlite" else func.greatest
    names = [column.name for column in db.results.columns]
    copied = select(*(result[name] for name in names), time(now, earliest), literal(by)).where(
        among
    )
    columns = [*names, "withdraw_time", "withdrawn_by"]
    connection.execute(insert(withdrawn).from_select(columns, copied))
    connection.execute(delete(db.results).where(among))
    return [row for row in rows if row.rank in nums], sum(nums.values())
