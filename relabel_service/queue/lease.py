"""Handing out: the next items in their order, to a labeler who may answer them.

An item has a slot for each vote it needs. A lease or a vote fills one; a lease that
expired fills its slot until somebody needs it, and then it is superseded in the transaction
that hands the slot on.
"""

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from relabel_service.errors import Exhausted, WrongState
from relabel_service.queue import item_leases, lease_groups
from relabel_service.queue import statements as sql
from relabel_service.queue.campaigns import GOLD, Campaign
from relabel_service.queue.item_leases import ADJUDICATOR, LABELER, Hold
from relabel_service.queue.item_updates import Alike, alike, settle
from relabel_service.queue.ordering import LOST_PLACES

# From the state in which items wait for a role to that in which all their slots are held.
WAITING = {LABELER: "open", ADJUDICATOR: "escalated"}
HELD = {LABELER: "held", ADJUDICATOR: "judging"}
MAX_FREED = 1000  # about so many expired items are taken back by one call; later calls do the rest

LEASE_BYTES = 400  # of a lease without its item, or with what it takes to read it
MAX_DUE = 100  # batches looked at for them


@dataclass(frozen=True)
class Wish:
    """What a labeler asks for. role: as a labeler, or as an adjudicator of unclear items."""

    labeler: str
    limit: int
    duration_s: float
    role: str = LABELER
    max_leases: int = 2000
    max_bytes: int = 3 * 2**20
    max_item_bytes: int = 2**20
    """Of an item that is told with its lease; a larger one is read by itself."""


@dataclass(frozen=True)
class LeftOut:
    """An item too large to travel with its lease. num_bytes: of all that is known of it."""

    rank: int
    row_id: str
    unit: str
    num_bytes: int


@dataclass(frozen=True)
class Lease:
    """expire_time in seconds since the epoch."""

    token: str
    item: "bytes | LeftOut"
    """What the labeler sees, as a serialized Item (item_parts.py)."""
    expire_time: float
    num_earlier_attempts: int


def take(connection: Connection, campaign: Campaign, wish: Wish, *, now: float) -> list[Lease]:
    """Lease up to wish.limit items with a free slot, in the campaign's order.

    Leaves out items the labeler holds or has answered. Gives fewer where the
    labeler would hold more than max_leases, or what is shown of the items would
    have more than max_bytes, not counting items above max_item_bytes. Raises WrongState when the
    campaign gives out nothing, Exhausted when the labeler holds max_leases.
    """
    if campaign.state != "active":
        raise WrongState(f"campaign {campaign.campaign!r} is {campaign.state}; it leases nothing")
    num_held = lease_groups.count_held(connection, campaign, labeler=wish.labeler, now=now)
    if num_held >= wish.max_leases:
        raise Exhausted(
            f"{wish.labeler!r} holds {num_held} items of campaign {campaign.campaign!r}; "
            f"submit or release some: {wish.max_leases} are allowed"
        )
    _free_expired(connection, campaign, wish.role, now=now)
    limit = min(wish.limit, wish.max_leases - num_held)
    rows = _fitting(_chosen(connection, campaign, wish, limit=limit, now=now), wish)
    if not rows:
        return []
    hold = Hold(lease_groups.new_batch(), wish.role, now + wish.duration_s)
    for group in alike(connection, campaign, rows):
        _make_room(group, wish, now=now)
        group.holds[wish.labeler] = hold
        settle(connection, campaign, group, now=now, num_attempts=1)
    ranks = [row.rank for row in rows]
    lease_groups.give(
        connection, campaign, ranks, labeler=wish.labeler, hold=hold, num_live=len(ranks)
    )
    return _leases(connection, campaign, rows, wish, hold)


def is_blind(campaign: Campaign, rank: int, *, labeler: str, role: str) -> bool:
    """Whether this labeler sees the item without suggestions: by chance, and always the same."""
    if role == ADJUDICATOR or not campaign.settings.blind_share:
        return False
    draw = f"{campaign.campaign}/{campaign.create_time}/{rank}/{labeler}".encode()
    number = int.from_bytes(hashlib.blake2b(draw, digest_size=8).digest())
    return number < campaign.settings.blind_share * 2**64


def _free_expired(connection: Connection, campaign: Campaign, role: str, *, now: float) -> None:
    """Take back the slots whose leases have expired. No sweeper to die: whoever asks, sweeps."""
    values = {"campaign": campaign.campaign, "role": role, "now": now, "limit": MAX_DUE}
    num_seen = 0
    for due in sql.DUE(connection, values):
        ranks = json.loads(due.ranks)
        num_seen += len(ranks)
        if num_seen > MAX_FREED and num_seen > len(ranks):
            break
        rows = sql.UNLOCKED_ROWS(connection, {"campaign": campaign.campaign, "ranks": ranks})
        lost = [row for row in rows if _is_lost(row, due, now=now)]
        for group in alike(connection, campaign, lost):
            _give_back(connection, campaign, group, due, role, now=now)
        if len(rows) == len(ranks):  # else somebody is at one of the items; a later call looks
            sql.FREED(connection, {"batch": due.batch, "expire_time": due.expire_time})
            if due.labeler == lease_groups.NOBODY:
                sql.FORGET(connection, {"batches": [due.batch]})


def _is_lost(row: Any, due: Any, *, now: float) -> bool:
    if due.labeler == lease_groups.NOBODY:
        return True
    hold = item_leases.read(row.holders, row.lapsed).get(due.labeler)
    return hold is not None and hold.batch == due.batch and hold.expire_time <= now


def _give_back(
    connection: Connection, campaign: Campaign, group: Alike, due: Any, role: str, *, now: float
) -> None:
    """The worst items still come first, but one that was lost while nobody else could have it
    goes back: an item that everybody lets expire cannot keep the others waiting."""
    was_kept = due.labeler == lease_groups.NOBODY or group.row.not_before >= due.expire_time
    goes_back = group.row.state == HELD[role] and not was_kept
    num_places = LOST_PLACES[campaign.settings.item_order] if goes_back else 0
    if due.labeler == lease_groups.NOBODY:
        group.not_before = 0.0  # has passed, whatever slower transactions take the time to be
    settle(connection, campaign, group, now=now, num_places=num_places)


def _chosen(
    connection: Connection, campaign: Campaign, wish: Wish, *, limit: int, now: float
) -> list[Any]:
    """Rows of the items to give, locked; gold ones among them."""

    def free(state: str, num: int) -> list[Any]:
        values = {
            "campaign": campaign.campaign,
            "labeler": wish.labeler,
            "holder": item_leases.holder(wish.labeler),
            "limit": num,
        }
        return sql.FREE[state](connection, values)

    chosen = free(WAITING[wish.role], limit)
    rate = campaign.settings.gold_rate
    if rate and wish.role == LABELER:
        # Drawn anew for each batch, so that neither number nor places of gold tell anything.
        chance = random.Random(f"{campaign.settings.secret}/{wish.labeler}/{now}")
        gold = free(GOLD, sum(chance.random() < rate for _ in chosen))
        chosen = chosen[: len(chosen) - len(gold)]
        for one in gold:
            chosen.insert(chance.randint(0, len(chosen)), one)
    return chosen


def _fitting(rows: Sequence[Any], wish: Wish) -> list[Any]:
    """The first rows whose items together have at most max_bytes; at least one."""
    kept: list[Any] = []
    num_bytes = 0
    for row in rows:
        num_bytes += LEASE_BYTES + (0 if _is_large(row, wish) else row.num_bytes)
        if kept and num_bytes > wish.max_bytes:
            break
        kept.append(row)
    return kept


def _make_room(group: Alike, wish: Wish, *, now: float) -> None:
    """Supersede expired leases until the item's slots hold one more: the labeler's own first."""
    filled = {name: one for name, one in group.holds.items() if one.role == wish.role}
    num_over = len(filled)  # an adjudicator's item has one slot
    if wish.role == LABELER:
        num_over += group.row.num_votes + 1 - group.row.votes_needed
    expired = [name for name, one in filled.items() if not one.in_force(now)]
    expired.sort(key=lambda name: (name != wish.labeler, filled[name].expire_time))
    for name in expired[: max(num_over, wish.labeler in expired)]:
        del group.holds[name]


def _leases(
    connection: Connection, campaign: Campaign, rows: Sequence[Any], wish: Wish, hold: Hold
) -> list[Lease]:
    large = [row.rank for row in rows if _is_large(row, wish)]
    ranks = [row.rank for row in rows if not _is_large(row, wish)]
    shown: dict[int, bytes | LeftOut] = {}
    for rank, item, hints in sql.PARTS(connection, {"campaign": campaign.campaign, "ranks": ranks}):
        blind = is_blind(campaign, rank, labeler=wish.labeler, role=wish.role)
        shown[rank] = item if blind else item + hints
    if large:
        values = {"campaign": campaign.campaign, "ranks": large}
        for one in sql.LEFT_OUT(connection, values):
            shown[one.rank] = LeftOut(*one)
    return [
        Lease(
            lease_groups.token(hold.batch, place),
            shown[row.rank],
            hold.expire_time,
            row.num_attempts,
        )
        for place, row in enumerate(rows)
    ]


def _is_large(row: Any, wish: Wish) -> bool:
    return int(row.num_bytes) > min(wish.max_item_bytes, wish.max_bytes)
