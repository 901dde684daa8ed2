"""Locked rows of `queue`: what is known of their items, and storing the items' new state.

Items of one lease group mostly share their history. So rows are grouped by all that decides
their state, the state is computed once for a whole group, and stored with one statement.
"""

from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

from sqlalchemy import Connection

from relabel_service.queue import item_leases
from relabel_service.queue import statements as sql
from relabel_service.queue.campaigns import Campaign
from relabel_service.queue.item_leases import ADJUDICATOR, LABELER, ItemLease
from relabel_service.queue.item_state import VOTES, ItemFacts, item_state

NUM_COLUMNS = 11  # of statements._ROW
WITHOUT_RESULTS = ("open", "leased")  # unless somebody voted or skipped


class RoleDecision(NamedTuple):
    """What one result says, as far as the item's state depends on it."""

    role: str
    decision: str
    label: str | None


@dataclass
class ItemGroup:
    """Items in one state. What is changed here is stored by update()."""

    row: Any
    """Of `queue`, as it was when locked: true of all the items except for rank and sizes."""
    ranks: list[int]
    leases: dict[str, ItemLease]
    """Leases that may still submit, expired or not, by labeler."""
    results: list[RoleDecision]
    not_before: float


def group_items(
    connection: Connection,
    campaign: Campaign,
    rows: Collection[Any],
    *,
    added: Mapping[int, RoleDecision] = MappingProxyType({}),
) -> list[ItemGroup]:
    """Locked rows in groups. added: by rank, a result that is not stored yet, and counts."""
    return in_groups(rows, stored_results(connection, campaign, rows), added)


def in_groups(
    rows: Iterable[Any],
    stored: Mapping[int, tuple[RoleDecision, ...]],
    added: Mapping[int, RoleDecision] = MappingProxyType({}),
) -> list[ItemGroup]:
    """As group_items. stored: the items' results by rank."""
    groups: dict[Hashable, list[Any]] = defaultdict(list)
    for row in rows:
        rank = row[0]
        groups[(row[3:NUM_COLUMNS], stored.get(rank), added.get(rank))].append(row)
    return [_group(members, stored, added) for members in groups.values()]


def update(
    connection: Connection,
    campaign: Campaign,
    group: ItemGroup,
    *,
    now: float,
    setback: int = 0,
) -> None:
    """Store the items' state at `now`. setback: what is added to their sort keys."""
    sql.update_items(connection, [changed(campaign, group, now=now, setback=setback)])


def changed(
    campaign: Campaign,
    group: ItemGroup,
    *,
    now: float,
    num_new_attempts: int = 0,
    setback: int = 0,
) -> dict[str, Any]:
    """What UPDATE_ITEMS stores: the items' state at `now`."""
    state = item_state(_facts(group, now=now), campaign.settings, now=now)
    leases, expired_leases = item_leases.write(group.leases, now=now)
    return {
        **vars(state),
        "campaign": campaign.campaign,
        "ranks": group.ranks,
        "not_before": group.not_before,
        "num_new_attempts": num_new_attempts,
        "setback": setback,
        "leases": leases,
        "expired_leases": expired_leases,
    }


def stored_results(
    connection: Connection, campaign: Campaign, rows: Collection[Any]
) -> Mapping[int, tuple[RoleDecision, ...]]:
    """Of locked rows, by rank. Nothing is read of items that were never leased."""
    ranks = [
        row.rank
        for row in rows
        if row.num_attempts and (row.num_votes or row.num_skips or row.state not in WITHOUT_RESULTS)
    ]
    results: dict[int, tuple[RoleDecision, ...]] = {}
    if ranks:
        values = {"campaign": campaign.campaign, "ranks": ranks}
        for rank, role, decision, label in sql.RESULTS(connection, values):
            results[rank] = (*results.get(rank, ()), RoleDecision(role, decision, label))
    return results


def _group(
    members: Sequence[Any],
    stored: Mapping[int, tuple[RoleDecision, ...]],
    added: Mapping[int, RoleDecision],
) -> ItemGroup:
    first = members[0]
    results = list(stored.get(first.rank, ()))
    if first.rank in added:
        results.append(added[first.rank])
    return ItemGroup(
        row=first,
        ranks=[row[0] for row in members],
        leases=dict(item_leases.read(first.leases, first.expired_leases)),
        results=results,
        not_before=first.not_before,
    )


def _facts(group: ItemGroup, *, now: float) -> ItemFacts:
    facts = ItemFacts(group.row.kind, group.not_before)
    for role, decision, label in group.results:
        if role == ADJUDICATOR:
            facts.is_adjudicated |= decision in VOTES
        elif decision in VOTES:
            facts.labels.append(str(label))
        facts.is_escalated |= decision == "escalate"
        facts.num_skips += decision == "skip" and role == LABELER
    for lease in group.leases.values():
        if lease.in_force(now):
            is_adjudicator = lease.role == ADJUDICATOR
            times = facts.adjudicator_expire_times if is_adjudicator else facts.expire_times
            times.append(lease.expire_time)
    return facts
