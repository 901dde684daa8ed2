"""Leasing: the next items in their order, to a labeler who may decide on them.

An item has a slot for each vote it needs. A lease or a vote fills one; a lease that
expired fills its slot until somebody needs it, and then it is superseded in the transaction
that leases the slot anew.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from relabel_service.errors import Exhausted, WrongState
from relabel_service.queue import item_leases, lease_groups
from relabel_service.queue import statements as sql
from relabel_service.queue.campaigns import Campaign
from relabel_service.queue.gold_items import with_gold
from relabel_service.queue.item_leases import ADJUDICATOR, LABELER, ItemLease
from relabel_service.queue.item_updates import ItemGroup, group_items, update
from relabel_service.queue.ordering import SETBACK

# From the state in which items wait for a role to that in which all their slots are leased.
WAITING = {LABELER: "open", ADJUDICATOR: "escalated"}
LEASED = {LABELER: "leased", ADJUDICATOR: "adjudicating"}
MAX_FREED = 1000  # about so many expired items are freed by one call; later calls do the others

LEASE_BYTES = 400  # of a lease without its item, or with what it takes to read it
ALWAYS_ALLOWED = 20  # leases, however small the campaign is
MAX_GROUPS = 100  # expired groups that one call looks at


@dataclass(frozen=True)
class LeaseRequest:
    """What a labeler asks for. role: as a labeler, or as an adjudicator of unclear items."""

    labeler: str
    limit: int
    duration_s: float
    role: str = LABELER
    max_leases: int = 2000
    max_in_all: int = 5000
    """Leases in force of the labeler, in all campaigns together."""
    max_share: float = 1.0
    """Of the campaign's items, that the labeler may have leased; ALWAYS_ALLOWED in any case."""
    max_bytes: int = 3 * 2**20
    max_item_bytes: int = 2**20
    """Of an item that travels with its lease; a larger one is read by itself."""


@dataclass(frozen=True)
class LargeItem:
    """An item too large to travel with its lease. num_bytes: of the whole item."""

    rank: int
    row_id: str
    unit: str
    num_bytes: int


@dataclass(frozen=True)
class Lease:
    """expire_time in seconds since the epoch."""

    token: str
    item: "bytes | LargeItem"
    """What the labeler sees, as a serialized Item (item_bytes.py)."""
    expire_time: float
    num_earlier_attempts: int
    votes: tuple["Vote", ...] = ()
    """Of labelers, for adjudicators alone."""


@dataclass(frozen=True)
class Vote:
    """What one labeler decided. label: None for skips and escalations."""

    decision: str
    label: str | None
    comment: str


@dataclass(frozen=True)
class Taken:
    """Leases that one call gave, without what is shown of their items."""

    group_id: str
    role: str
    expire_time: float
    ranks: list[int]
    num_attempts: list[int]
    """Of each item, before this lease."""
    large: list[int]
    """Ranks of the items that are too large to travel with their leases."""

    def to_bytes(self) -> bytes:
        return json.dumps(vars(self), separators=(",", ":")).encode()

    @classmethod
    def from_bytes(cls, stored: bytes) -> "Taken":
        return cls(**json.loads(stored))


def take(
    connection: Connection, campaign: Campaign, request: LeaseRequest, *, now: float
) -> Taken | None:
    """Lease up to request.limit items with a free slot, in the campaign's order.

    None where there is none. Leaves out items that the labeler has a lease on or has decided on.
    Gives fewer where the labeler would have more than it may, or what is shown of the items would
    have more than max_bytes, not counting items above max_item_bytes. Raises WrongState when the
    campaign leases nothing, Exhausted when the labeler has max_leases, or max_in_all.
    """
    if campaign.state != "active":
        raise WrongState(f"campaign {campaign.campaign!r} is {campaign.state}; it leases nothing")
    asked = {
        "campaign": campaign.campaign,
        "labeler": request.labeler,
        "role": request.role,
        "now": now,
    }
    [(num_leased, num_in_all, has_expired)] = sql.LEASING(connection, asked)
    most = _max_leases(campaign, request)
    if num_leased >= most:
        raise Exhausted(
            f"{request.labeler!r} has {num_leased} leases in campaign {campaign.campaign!r}, which "
            f"has {campaign.num_items} items; submit or release some: {most} are allowed"
        )
    if num_in_all >= request.max_in_all:
        raise Exhausted(
            f"{request.labeler!r} has {num_in_all} leases in all campaigns together; submit or "
            f"release some: {request.max_in_all} are allowed"
        )
    if has_expired:
        _free_expired(connection, campaign, request.role, now=now)
    limit = min(request.limit, most - num_leased, request.max_in_all - num_in_all)
    rows = within_max_bytes(_next_rows(connection, campaign, request, limit, now=now), request)
    if not rows:
        return None
    lease = ItemLease(lease_groups.new_group_id(), request.role, now + request.duration_s)
    for group in group_items(connection, campaign, rows):
        _supersede_expired(group, request, now=now)
        group.leases[request.labeler] = lease
        update(connection, campaign, group, now=now, num_new_attempts=1, later=True)
    ranks = [row.rank for row in rows]
    lease_groups.add(
        connection, campaign, ranks, labeler=request.labeler, lease=lease, num_live=len(ranks)
    )
    return Taken(
        lease.group_id,
        lease.role,
        lease.expire_time,
        ranks,
        [row.num_attempts for row in rows],
        [row.rank for row in rows if is_large(row, request)],
    )


def leases_of(
    connection: Connection, campaign: Campaign, taken: Taken, *, labeler: str
) -> list[Lease]:
    """The leases with what the labeler sees of their items."""
    roles = dict.fromkeys(taken.ranks, taken.role)
    shown = shown_items(
        connection,
        campaign,
        small=sorted({*taken.ranks} - {*taken.large}),
        large=taken.large,
        labeler=labeler,
        roles=roles,
    )
    votes = shown_votes(connection, campaign, roles)
    return [
        Lease(
            lease_groups.token(taken.group_id, index),
            shown[rank],
            taken.expire_time,
            num_attempts,
            votes.get(rank, ()),
        )
        for index, (rank, num_attempts) in enumerate(
            zip(taken.ranks, taken.num_attempts, strict=True)
        )
    ]


def is_blind(campaign: Campaign, rank: int, *, labeler: str, role: str) -> bool:
    """Whether this labeler sees the item without suggestions: by chance, and always the same."""
    if role == ADJUDICATOR or not campaign.settings.blind_share:
        return False
    draw = f"{campaign.campaign}/{campaign.create_time}/{rank}/{labeler}".encode()
    number = int.from_bytes(hashlib.blake2b(draw, digest_size=8).digest())
    return number < campaign.settings.blind_share * 2**64


def _max_leases(campaign: Campaign, request: LeaseRequest) -> int:
    share = math.ceil(request.max_share * campaign.num_items)
    return min(request.max_leases, max(share, ALWAYS_ALLOWED))


def _free_expired(connection: Connection, campaign: Campaign, role: str, *, now: float) -> None:
    """Free the slots whose leases have expired. No sweeper to die: whoever asks, sweeps."""
    values = {"campaign": campaign.campaign, "role": role, "now": now, "limit": MAX_GROUPS}
    num_seen = 0
    for expired in sql.EXPIRED_GROUPS(connection, values):
        ranks = json.loads(expired.ranks)
        num_seen += len(ranks)
        if num_seen > MAX_FREED and num_seen > len(ranks):
            break
        items = {"campaign": campaign.campaign, "ranks": ranks}
        rows = sql.LOCK_ROWS_SKIP_LOCKED(connection, items)
        lost = [row for row in rows if _is_lost(row, expired, now=now)]
        for group in group_items(connection, campaign, lost):
            _free(connection, campaign, group, expired, role, now=now)
        if len(rows) == len(ranks):  # otherwise an item is locked; a later call frees it
            key = {"group_id": expired.group_id, "expire_time": expired.expire_time}
            sql.MARK_EXPIRED(connection, key)
            if expired.labeler == lease_groups.NOBODY:
                sql.DELETE_LAST(connection, {**key, "num": 0})


def _is_lost(row: Any, expired: Any, *, now: float) -> bool:
    if expired.labeler == lease_groups.NOBODY:
        return True
    lease = item_leases.read(row.leases, row.expired_leases).get(expired.labeler)
    return lease is not None and lease.group_id == expired.group_id and lease.expire_time <= now


def _free(
    connection: Connection,
    campaign: Campaign,
    group: ItemGroup,
    expired: Any,
    role: str,
    *,
    now: float,
) -> None:
    """The worst items still come first, but one that was lost while nobody else could have it
    is set back: an item that everybody lets expire cannot keep the others waiting."""
    was_delayed = (
        expired.labeler == lease_groups.NOBODY or group.row.not_before >= expired.expire_time
    )
    is_set_back = group.row.state == LEASED[role] and not was_delayed
    setback = SETBACK.get(campaign.settings.item_order, 0) if is_set_back else 0
    if expired.labeler == lease_groups.NOBODY:
        group.not_before = 0.0  # has passed, whatever slower transactions take the time to be
    update(connection, campaign, group, now=now, setback=setback)


def _next_rows(
    connection: Connection, campaign: Campaign, request: LeaseRequest, limit: int, *, now: float
) -> list[Any]:
    """Rows of the items to lease, locked; gold ones among them."""
    values = {
        "campaign": campaign.campaign,
        "labeler": request.labeler,
        "labeler_key": item_leases.labeler_key(request.labeler),
        "limit": limit,
    }
    rows = sql.NEXT_ITEMS[WAITING[request.role]](connection, values)
    if request.role == LABELER:
        rows = with_gold(connection, campaign, rows, labeler=request.labeler, now=now)
    return rows


def within_max_bytes(rows: Sequence[Any], request: LeaseRequest) -> list[Any]:
    """The first rows whose items together have at most max_bytes; at least one."""
    kept: list[Any] = []
    num_bytes = 0
    for row in rows:
        num_bytes += LEASE_BYTES + (0 if is_large(row, request) else row.num_bytes)
        if kept and num_bytes > request.max_bytes:
            break
        kept.append(row)
    return kept


def _supersede_expired(group: ItemGroup, request: LeaseRequest, *, now: float) -> None:
    """Supersede expired leases until the items have a free slot: the labeler's own first."""
    of_role = {
        labeler: lease for labeler, lease in group.leases.items() if lease.role == request.role
    }
    num_over = len(of_role)  # an adjudicator's item has one slot
    if request.role == LABELER:
        num_over += group.row.num_votes + 1 - group.row.votes_needed
    expired = [labeler for labeler, lease in of_role.items() if not lease.in_force(now)]
    expired.sort(key=lambda labeler: (labeler != request.labeler, of_role[labeler].expire_time))
    for labeler in expired[: max(num_over, request.labeler in expired)]:
        del group.leases[labeler]


def shown_items(
    connection: Connection,
    campaign: Campaign,
    *,
    small: Sequence[int],
    large: Sequence[int],
    labeler: str,
    roles: Mapping[int, str],
) -> dict[int, bytes | LargeItem]:
    """What the labeler sees of items by rank. small, large: ranks. roles: by rank."""
    shown: dict[int, bytes | LargeItem] = {}
    values = {"campaign": campaign.campaign, "ranks": list(small)}
    for rank, item_bytes, hint_bytes in sql.ITEM_BYTES(connection, values):
        blind = is_blind(campaign, rank, labeler=labeler, role=roles[rank])
        shown[rank] = item_bytes if blind else item_bytes + hint_bytes
    if large:
        values = {"campaign": campaign.campaign, "ranks": list(large)}
        for item in sql.LARGE_ITEMS(connection, values):
            shown[item.rank] = LargeItem(*item)
    return shown


def shown_votes(
    connection: Connection, campaign: Campaign, roles: Mapping[int, str]
) -> dict[int, tuple[Vote, ...]]:
    """Labelers' votes by rank, of the items that are leased to an adjudicator. roles: by rank."""
    ranks = [rank for rank, role in roles.items() if role == ADJUDICATOR]
    votes: dict[int, tuple[Vote, ...]] = {}
    if ranks:
        values = {"campaign": campaign.campaign, "ranks": ranks}
        for rank, decision, label, comment in sql.VOTES(connection, values):
            votes[rank] = (*votes.get(rank, ()), Vote(decision, label, comment))
    return votes


def is_large(row: Any, request: LeaseRequest) -> bool:
    return int(row.num_bytes) > min(request.max_item_bytes, request.max_bytes)
