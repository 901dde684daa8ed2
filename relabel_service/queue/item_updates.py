"""Locked rows of `queue`: what is known of their items, and storing where those stand now.

Items of one batch mostly share their history. So rows are grouped by all that decides where
their items stand, and a whole group is judged once and stored with one statement.
"""

from collections import defaultdict
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection

from relabel_service.queue import item_leases as holding
from relabel_service.queue import statements as sql
from relabel_service.queue.campaigns import Campaign
from relabel_service.queue.item_leases import ADJUDICATOR, LABELER, Hold
from relabel_service.queue.item_state import VOTES, Facts, standing

NUM_COLUMNS = 11  # of statements._ROW
UNANSWERED = ("open", "held")  # unless somebody voted or skipped

Result = tuple[str, str, str | None]  # role, decision, label


@dataclass
class Alike:
    """Items that stand alike. What is changed here is stored by settle()."""

    row: Any
    """Of `queue`, as it was when locked: true of all of them but for rank and sizes."""
    ranks: list[int]
    holds: dict[str, Hold]
    """Leases that may still answer, expired or not, by labeler."""
    results: list[Result]
    not_before: float


def alike(
    connection: Connection,
    campaign: Campaign,
    rows: Collection[Any],
    *,
    added: Mapping[int, Result] = MappingProxyType({}),
) -> list[Alike]:
    """Locked rows in groups. added: by rank, a result that is not stored yet, and counts.

    Nothing is read of items that were never given.
    """
    stored = _results(connection, campaign, rows)
    groups: dict[Hashable, list[Any]] = defaultdict(list)
    for row in rows:
        rank = row[0]
        groups[(row[3:NUM_COLUMNS], stored.get(rank), added.get(rank))].append(row)
    return [_alike(members, stored, added) for members in groups.values()]


def settle(
    connection: Connection,
    campaign: Campaign,
    group: Alike,
    *,
    now: float,
    num_attempts: int = 0,
    num_places: int = 0,
) -> None:
    """Store where the items stand at `now`, num_places further back."""
    where = standing(_facts(group, now=now), campaign.settings, now=now)
    holders, lapsed = holding.write(group.holds, now=now)
    values = {
        **vars(where),
        "campaign": campaign.campaign,
        "ranks": group.ranks,
        "not_before": group.not_before,
        "attempts": num_attempts,
        "places": num_places,
        "holders": holders,
        "lapsed": lapsed,
    }
    sql.SETTLE(connection, values)


def _results(
    connection: Connection, campaign: Campaign, rows: Collection[Any]
) -> Mapping[int, tuple[Result, ...]]:
    answered = [
        row.rank
        for row in rows
        if row.num_attempts and (row.num_votes or row.num_skips or row.state not in UNANSWERED)
    ]
    found: dict[int, tuple[Result, ...]] = {}
    if answered:
        values = {"campaign": campaign.campaign, "ranks": answered}
        for rank, role, decision, label in sql.RESULTS(connection, values):
            found[rank] = (*found.get(rank, ()), (role, decision, label))
    return found


def _alike(
    members: Sequence[Any],
    stored: Mapping[int, tuple[Result, ...]],
    added: Mapping[int, Result],
) -> Alike:
    first = members[0]
    results = list(stored.get(first.rank, ()))
    if first.rank in added:
        results.append(added[first.rank])
    return Alike(
        row=first,
        ranks=[row[0] for row in members],
        holds=dict(holding.read(first.holders, first.lapsed)),
        results=results,
        not_before=first.not_before,
    )


def _facts(group: Alike, *, now: float) -> Facts:
    facts = Facts(group.row.kind, group.not_before)
    for role, decision, label in group.results:
        if role == ADJUDICATOR:
            facts.is_judged |= decision in VOTES
        elif decision in VOTES:
            facts.labels.append(str(label))
        facts.is_escalated |= decision == "escalate"
        facts.num_skips += decision == "skip" and role == LABELER
    for one in group.holds.values():
        if one.in_force(now):
            judges = one.role == ADJUDICATOR
            (facts.judge_expire_times if judges else facts.expire_times).append(one.expire_time)
    return facts
