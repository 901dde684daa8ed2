"""Leasing: the next items in their order, to a labeler who may decide on them.

An item has a slot for each vote it needs. A lease or a vote fills one; a lease that
expired fills its slot until somebody needs it, and then it is superseded in the transaction
that leases the slot anew.
"""

import hashlib
import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Connection

from relabel_service.errors import Exhausted, RelabelError, WrongState
from relabel_service.queue import item_leases, lease_groups
from relabel_service.queue import statements as sql
from relabel_service.queue.campaigns import Campaign
from relabel_service.queue.expiry import free_expired
from relabel_service.queue.gold_items import with_gold
from relabel_service.queue.item_leases import ADJUDICATOR, LABELER, ItemLease
from relabel_service.queue.item_updates import ItemGroup, changed, in_groups, stored_results
from relabel_service.queue.together import ALONE, Alone

# The state in which items wait for a role.
WAITING = {LABELER: "open", ADJUDICATOR: "escalated"}

LEASE_BYTES = 400  # of a lease without its item, or with what it takes to read it
ALWAYS_ALLOWED = 20  # leases, however small the campaign is


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


class Lease(NamedTuple):
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
    [outcome] = take_all(connection, campaign, [request], now=now)
    if isinstance(outcome, RelabelError):
        raise outcome
    assert outcome is not ALONE  # which a single request never is told
    return outcome


def take_all(
    connection: Connection, campaign: Campaign, requests: Sequence[LeaseRequest], *, now: float
) -> list[Taken | RelabelError | Alone | None]:
    """As take, for several labelers' requests in one role at once; what take raises is returned.

    No item is given to two of them, so one that could be is left to the next request. ALONE where
    a request found nothing, but might have among items that others took or that nobody looked at.
    """
    if campaign.state != "active":
        state = f"campaign {campaign.campaign!r} is {campaign.state}; it leases nothing"
        return [WrongState(state) for _ in requests]
    if len(requests) > 1 and campaign.settings.gold_rate:
        return [ALONE for _ in requests]  # gold items are for all of them
    outcomes: dict[int, Taken | RelabelError | Alone | None] = {}
    limits: dict[int, int] = {}
    nums, has_expired = _leasing(connection, campaign, requests, now=now)
    for index, request in enumerate(requests):
        most, (num, num_in_all) = _max_leases(campaign, request), nums.get(request.labeler, (0, 0))
        limits[index] = min(request.limit, most - num, request.max_in_all - num_in_all)
        if num >= most:
            outcomes[index] = Exhausted(
                f"{request.labeler!r} has {num} leases in campaign {campaign.campaign!r}, which "
                f"has {campaign.num_items} items; submit or release some: {most} are allowed"
            )
        elif num_in_all >= request.max_in_all:
            outcomes[index] = Exhausted(
                f"{request.labeler!r} has {num_in_all} leases in all campaigns together; submit or "
                f"release some: {request.max_in_all} are allowed"
            )
    asking = [index for index in limits if index not in outcomes]
    if not asking:
        return [outcomes[index] for index in range(len(requests))]
    if has_expired:
        free_expired(connection, campaign, requests[0].role, now=now)
    shares, saw_all = _shares(
        connection, campaign, [(requests[index], limits[index]) for index in asking], now=now
    )
    nothing = None if len(asking) == 1 or (saw_all and not any(shares)) else ALONE
    stored = stored_results(connection, campaign, [row for rows in shares for row in rows])
    changes, groups = [], []
    for index, rows in zip(asking, shares, strict=True):
        request = requests[index]
        if not rows:
            outcomes[index] = nothing
            continue
        taken, lease = _taken(request, rows, now=now)
        outcomes[index] = taken
        for group in in_groups(rows, stored):
            _supersede_expired(group, request, now=now)
            group.leases[request.labeler] = lease
            changes.append(changed(campaign, group, now=now, num_new_attempts=1))
        groups.append(
            lease_groups.added(
                campaign,
                taken.ranks,
                labeler=request.labeler,
                lease=lease,
                num_live=len(taken.ranks),
            )
        )
    sql.update_items_later(connection, changes)
    sql.INSERT_GROUPS.later(connection, groups)
    return [outcomes[index] for index in range(len(requests))]


def _taken(request: LeaseRequest, rows: Sequence[Any], *, now: float) -> tuple[Taken, ItemLease]:
    lease = ItemLease(lease_groups.new_group_id(), request.role, now + request.duration_s)
    taken = Taken(
        lease.group_id,
        lease.role,
        lease.expire_time,
        [row.rank for row in rows],
        [row.num_attempts for row in rows],
        [row.rank for row in rows if is_large(row, request)],
    )
    return taken, lease


def _leasing(
    connection: Connection, campaign: Campaign, requests: Sequence[LeaseRequest], *, now: float
) -> tuple[dict[str, tuple[int, int]], bool]:
    """By labeler, leases in force here and in all campaigns; whether any of the role expired."""
    asked = {
        "campaign": campaign.campaign,
        "labelers": [request.labeler for request in requests],
        "role": requests[0].role,
        "now": now,
    }
    rows = sql.LEASING(connection, asked)
    nums = {row.labeler: (int(row.num_leased or 0), int(row.num_in_all or 0)) for row in rows}
    return nums, bool(rows[0].has_expired)


def leases_of(
    connection: Connection, campaign: Campaign, given: Sequence[tuple[str, Taken]]
) -> list[list[Lease]]:
    """The leases with what the labelers see of their items. given: by labeler."""
    items = read_items(
        connection,
        campaign,
        small={rank for _, taken in given for rank in taken.ranks if rank not in taken.large},
        large={rank for _, taken in given for rank in taken.large},
    )
    roles = {rank: taken.role for _, taken in given for rank in taken.ranks}
    votes = shown_votes(connection, campaign, roles)
    return [
        [
            Lease(
                lease_groups.token(taken.group_id, index),
                items.seen(rank, labeler=labeler, role=taken.role),
                taken.expire_time,
                num_attempts,
                votes.get(rank, ()),
            )
            for index, (rank, num_attempts) in enumerate(
                zip(taken.ranks, taken.num_attempts, strict=True)
            )
        ]
        for labeler, taken in given
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


def _shares(
    connection: Connection,
    campaign: Campaign,
    asking: Sequence[tuple[LeaseRequest, int]],
    *,
    now: float,
) -> tuple[list[list[Any]], bool]:
    """Locked rows of the items that each is to have, at most as many as its limit; gold ones among
    them. And whether all were looked at that wait. asking: requests with their limits."""
    role, labelers = asking[0][0].role, [request.labeler for request, _ in asking]
    values: dict[str, Any] = {
        "campaign": campaign.campaign,
        "limit": sum(limit for _, limit in asking),
    }
    if len(asking) == 1:
        [(request, _)] = asking
        values |= {
            "labeler": request.labeler,
            "labeler_key": item_leases.labeler_key(request.labeler),
        }
        rows = sql.NEXT_ITEMS[WAITING[role]](connection, values)
        if role == LABELER:
            rows = with_gold(connection, campaign, rows, labeler=request.labeler, now=now)
        return [within_max_bytes(rows, request)], len(rows) < values["limit"]
    rows = sql.NEXT_ITEMS_OF_ALL[WAITING[role]](connection, values)
    saw_all = len(rows) < values["limit"]
    attempted = [row.rank for row in rows if row.num_attempts]
    if not attempted:  # so all are free for all
        return _in_turn(rows, asking), saw_all
    asked = {"campaign": campaign.campaign, "ranks": attempted, "labelers": labelers}
    decided = {tuple(pair) for pair in sql.DECIDED(connection, asked)}
    shares = []
    for request, limit in asking:
        free = [
            row
            for row in rows
            if request.labeler not in item_leases.read(row.leases, "")
            and (row.rank, request.labeler) not in decided
        ]
        shares.append(within_max_bytes(free[:limit], request))
        given = {row.rank for row in shares[-1]}
        rows = [row for row in rows if row.rank not in given]
    return shares, saw_all


def _in_turn(rows: Sequence[Any], asking: Sequence[tuple[LeaseRequest, int]]) -> list[list[Any]]:
    shares, num_given = [], 0
    for request, limit in asking:
        shares.append(within_max_bytes(rows[num_given : num_given + limit], request))
        num_given += len(shares[-1])
    return shares


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


@dataclass(frozen=True)
class Items:
    """What labelers see of items."""

    campaign: Campaign
    small: Mapping[int, tuple[bytes, bytes]]
    """By rank, the halves of a serialized Item (item_bytes.py)."""
    large: Mapping[int, LargeItem]

    def seen(self, rank: int, *, labeler: str, role: str) -> bytes | LargeItem:
        """By this labeler."""
        if rank in self.large:
            return self.large[rank]
        item_bytes, hint_bytes = self.small[rank]
        blind = is_blind(self.campaign, rank, labeler=labeler, role=role)
        return item_bytes if blind else item_bytes + hint_bytes


def read_items(
    connection: Connection, campaign: Campaign, *, small: Collection[int], large: Collection[int]
) -> Items:
    """small, large: ranks."""
    values = {"campaign": campaign.campaign, "ranks": sorted(small)}
    halves = {
        rank: (item_bytes, hint_bytes)
        for rank, item_bytes, hint_bytes in sql.ITEM_BYTES(connection, values)
    }
    large_items = {}
    if large:
        values = {"campaign": campaign.campaign, "ranks": sorted(large)}
        large_items = {item.rank: LargeItem(*item) for item in sql.LARGE_ITEMS(connection, values)}
    return Items(campaign, halves, large_items)


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
    num_bytes: int = row.num_bytes
    return num_bytes > request.max_item_bytes or num_bytes > request.max_bytes
