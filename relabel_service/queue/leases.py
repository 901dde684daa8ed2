"""Leases: the fenced right to answer for an item.

An item has a slot for each vote it needs. A live lease or a vote fills one; a lease
that expired fills its slot until somebody needs it, and then it is superseded
in the transaction that hands the slot on. A result is accepted only from a
lease that is still live, judged in the transaction that stores it: so each
slot is answered at most once (Kleppmann, "How to do distributed locking", 2016,
on fencing tokens), and a slow labeler whose item nobody else took loses nothing.

Each step is one statement for the whole batch. Whoever changes an item's leases
or results first locks its row in `queue`, and stores its standing last.
"""

import hashlib
import json
import random
import secrets
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    Connection,
    Select,
    and_,
    case,
    exists,
    func,
    insert,
    or_,
    select,
    update,
)

from relabel_service.errors import Exhausted, InvalidInput, WrongState
from relabel_service.queue import schema as db
from relabel_service.queue.campaigns import GOLD, Campaign
from relabel_service.queue.order import LOST_PLACES
from relabel_service.queue.standing import VOTES, Facts, Standing, standing

TOKEN_BYTES = 16
LABELER, ADJUDICATOR = "labeler", "adjudicator"
# From the state in which items wait for a role to that in which all their slots are held.
WAITING = {LABELER: "open", ADJUDICATOR: "escalated"}
TAKING_ANSWERS = ("active", "paused")
HELD = {LABELER: "held", ADJUDICATOR: "judging"}
MAX_FREED = 1000  # expired items taken back by one call; later calls take the rest


@dataclass(frozen=True)
class QueueItem:
    """One row in doubt. Labels and content are the task's text forms."""

    rank: int
    kind: str
    row_id: str
    unit: str
    content: str
    human_label: str
    suggestions: tuple[tuple[str, float], ...]
    suspicion: float
    reason: str

    @property
    def num_bytes(self) -> int:
        """About what the item takes on the wire."""
        labels = len(self.human_label) + sum(len(label) for label, _ in self.suggestions)
        return len(self.content.encode()) + labels + len(self.row_id) + len(self.reason) + 100


@dataclass(frozen=True)
class Lease:
    """expire_time in seconds since the epoch."""

    token: str
    item: QueueItem
    expire_time: float
    num_earlier_attempts: int
    blind: bool
    """The suggestions are not shown."""


@dataclass(frozen=True)
class Answer:
    """One submitted result. label is given with the decision relabel and only then."""

    token: str
    decision: str
    label: str | None
    comment: str


@dataclass(frozen=True)
class Wish:
    """What a labeler asks for. role: as a labeler, or as an adjudicator of unclear items."""

    labeler: str
    limit: int
    duration_s: float
    role: str = LABELER
    max_leases: int = 2000
    max_bytes: int = 3 * 2**20


def take(connection: Connection, campaign: Campaign, wish: Wish, *, now: float) -> list[Lease]:
    """Lease up to wish.limit items with a free slot, in the campaign's order.

    Leaves out items the labeler holds or has answered. Gives fewer where the
    labeler would hold more than max_leases, or what is shown of the items would
    have more than max_bytes; one item always passes. Raises WrongState when the
    campaign gives out nothing, Exhausted when the labeler holds max_leases.
    """
    if campaign.state != "active":
        raise WrongState(f"campaign {campaign.campaign!r} is {campaign.state}; it leases nothing")
    num_held = count_held(connection, campaign, labeler=wish.labeler, now=now)
    if num_held >= wish.max_leases:
        raise Exhausted(
            f"{wish.labeler!r} holds {num_held} items of campaign {campaign.campaign!r}; "
            f"submit or release some: {wish.max_leases} are allowed"
        )
    _free_expired(connection, campaign, wish.role, now=now)
    limit = min(wish.limit, wish.max_leases - num_held)
    attempts = _chosen(connection, campaign, wish, limit=limit, now=now)
    items = _items(connection, campaign, attempts)
    taken = [
        Lease(
            secrets.token_urlsafe(TOKEN_BYTES),
            items[rank],
            now + wish.duration_s,
            attempts[rank],
            is_blind(campaign, rank, labeler=wish.labeler, role=wish.role),
        )
        for rank in _fitting(attempts, items, wish.max_bytes)
    ]
    if taken:
        ranks = [lease.item.rank for lease in taken]
        _make_room(connection, campaign, ranks, wish, now=now)
        _give(connection, campaign, taken, wish)
        settle(connection, campaign, ranks, now=now, num_attempts=1)
    return taken


def count_held(connection: Connection, campaign: Campaign, *, labeler: str, now: float) -> int:
    """The labeler's leases in force."""
    lease = db.leases.c
    query = (
        select(func.count())
        .select_from(db.leases)
        .where(lease.campaign == campaign.campaign, lease.labeler == labeler)
        .where(db.LIVE, lease.expire_time > now)
    )
    return int(connection.execute(query).scalar_one())


def is_blind(campaign: Campaign, rank: int, *, labeler: str, role: str) -> bool:
    """Whether this labeler sees the item without suggestions: by chance, and always the same."""
    if role == ADJUDICATOR:
        return False
    draw = f"{campaign.campaign}/{campaign.create_time}/{rank}/{labeler}".encode()
    number = int.from_bytes(hashlib.blake2b(draw, digest_size=8).digest())
    return number < campaign.settings.blind_share * 2**64


def extend(
    connection: Connection,
    campaign: Campaign,
    tokens: Sequence[str],
    *,
    labeler: str,
    duration_s: float,
    now: float,
) -> dict[str, float]:
    """New expiry of each lease that is still live and the labeler's; the others are left out."""
    if campaign.state not in TAKING_ANSWERS:
        return {}
    held = _lock_held(connection, campaign, tokens, labeler=labeler)
    connection.execute(
        update(db.leases).where(db.leases.c.token.in_(held)).values(expire_time=now + duration_s)
    )
    settle(connection, campaign, _ranks(held), now=now)
    return dict.fromkeys(held, now + duration_s)


def release(
    connection: Connection,
    campaign: Campaign,
    tokens: Sequence[str],
    *,
    labeler: str,
    delay_s: float = 0.0,
    now: float,
) -> int:
    """Give items back unanswered; how many leases were still live and the labeler's.

    The items are offered again when delay_s has passed.
    """
    held = _lock_held(connection, campaign, tokens, labeler=labeler)
    _end(connection, held, "released")
    if delay_s:
        connection.execute(
            update(db.queue)
            .where(db.queue.c.campaign == campaign.campaign, db.queue.c.rank.in_(_ranks(held)))
            .values(not_before=now + delay_s)
        )
    settle(connection, campaign, _ranks(held), now=now)
    return len(held)


def submit(
    connection: Connection,
    campaign: Campaign,
    answers: Sequence[Answer],
    *,
    labeler: str,
    now: float,
) -> list[str]:
    """Store the answers whose leases are live; "accepted", "stale" or "closed" for each.

    Raises InvalidInput when an answer does not suit its item.
    """
    if campaign.state not in TAKING_ANSWERS:
        return ["closed"] * len(answers)
    held = _lock_held(connection, campaign, [answer.token for answer in answers], labeler=labeler)
    items = _items(connection, campaign, _ranks(held))
    rows = []
    for place, answer in enumerate(answers):
        if answer.token not in held:
            continue
        rank, role = held[answer.token]
        blind = is_blind(campaign, rank, labeler=labeler, role=role)
        label = _decided_label(f"results[{place}]", answer, items[rank], blind=blind)
        rows.append(
            {
                "campaign": campaign.campaign,
                "rank": rank,
                "labeler": labeler,
                "token": answer.token,
                "role": role,
                "blind": blind,
                "decision": answer.decision,
                "label": label,
                "comment": answer.comment,
                "submit_time": now,
            }
        )
    if rows:
        connection.execute(insert(db.results), rows)
        _end(connection, held, "answered")
        settle(connection, campaign, _ranks(held), now=now)
    return ["accepted" if answer.token in held else "stale" for answer in answers]


def settle(
    connection: Connection,
    campaign: Campaign,
    ranks: Iterable[int],
    *,
    now: float,
    num_attempts: int = 0,
) -> None:
    """Store where items stand after a change of their leases or results, whose rows are locked."""
    alike: dict[Standing, list[int]] = defaultdict(list)  # most of a batch: one statement
    for rank, facts in _facts(connection, campaign, list(ranks), now=now).items():
        alike[standing(facts, campaign.settings, now=now)].append(rank)
    for where, those in alike.items():
        connection.execute(
            update(db.queue)
            .where(db.queue.c.campaign == campaign.campaign, db.queue.c.rank.in_(those))
            .values(num_attempts=db.queue.c.num_attempts + num_attempts, **vars(where))
        )


def _facts(
    connection: Connection, campaign: Campaign, ranks: Sequence[int], *, now: float
) -> dict[int, Facts]:
    row, result, lease = db.queue.c, db.results.c, db.leases.c
    facts = {
        rank: Facts(kind, not_before)
        for rank, kind, not_before in connection.execute(
            _of(db.queue, campaign, ranks, row.kind, row.not_before)
        )
    }
    answers = _of(db.results, campaign, ranks, result.role, result.decision, result.label)
    for rank, role, decision, label in connection.execute(answers):
        one = facts[rank]
        if role == ADJUDICATOR:
            one.is_judged |= decision in VOTES
        elif decision in VOTES:
            one.labels.append(label)
        one.is_escalated |= decision == "escalate"
        one.num_skips += decision == "skip" and role == LABELER
    in_force = _of(db.leases, campaign, ranks, lease.role, lease.expire_time)
    for rank, role, time in connection.execute(in_force.where(db.LIVE, lease.expire_time > now)):
        one = facts[rank]
        (one.judge_expire_times if role == ADJUDICATOR else one.expire_times).append(time)
    return facts


def _free_expired(connection: Connection, campaign: Campaign, role: str, *, now: float) -> None:
    """Take back the slots whose leases have expired. No sweeper to die: whoever asks, sweeps."""
    row = db.queue.c
    due = (
        select(row.rank)
        .where(row.campaign == campaign.campaign, row.state == HELD[role], row.free_time <= now)
        .order_by(row.free_time)
        .limit(MAX_FREED)
        .with_for_update(skip_locked=True)
        .cte("due")  # evaluated once, which a subquery that locks need not be
    )
    # Lost, unless it was only kept back: the worst items still come first, but one that
    # every labeler lets expire cannot keep the others waiting.
    lost = case(
        (row.free_time > row.not_before, LOST_PLACES[campaign.settings.item_order]), else_=0
    )
    connection.execute(
        update(db.queue)
        .where(row.campaign == campaign.campaign, row.rank.in_(select(due.c.rank)))
        .values(state=WAITING[role], free_time=0.0, place=row.place + lost)
    )


def _chosen(
    connection: Connection, campaign: Campaign, wish: Wish, *, limit: int, now: float
) -> dict[int, int]:
    """Items to give, with how often they were given before, locked; gold ones among them."""
    waiting = _free(campaign, wish, WAITING[wish.role], now=now).limit(limit)
    chosen = [(row.rank, row.num_attempts) for row in connection.execute(waiting)]
    rate = campaign.settings.gold_rate
    if rate and wish.role == LABELER:
        # Drawn anew for each batch, so that neither number nor places of gold tell anything.
        chance = random.Random(f"{campaign.campaign}/{wish.labeler}/{now}")
        num_gold = sum(chance.random() < rate for _ in chosen)
        query = _free(campaign, wish, GOLD, now=now).limit(num_gold)
        gold = [(row.rank, row.num_attempts) for row in connection.execute(query)]
        chosen = chosen[: len(chosen) - len(gold)]
        for one in gold:
            chosen.insert(chance.randint(0, len(chosen)), one)
    return dict(chosen)


def _free(campaign: Campaign, wish: Wish, state: str, *, now: float) -> Select[Any]:
    """Items with a free slot for this labeler, in their places, locked."""
    row, lease, result = db.queue.c, db.leases.c, db.results.c
    held = exists().where(
        and_(lease.campaign == row.campaign, lease.rank == row.rank),
        and_(lease.labeler == wish.labeler, db.LIVE, lease.expire_time > now),
    )
    answered = exists().where(
        and_(result.campaign == row.campaign, result.rank == row.rank),
        result.labeler == wish.labeler,
    )
    return (
        select(row.rank, row.num_attempts)
        .where(row.campaign == campaign.campaign, row.state == state, ~held, ~answered)
        .order_by(row.place, row.rank)
        .with_for_update(skip_locked=True, of=db.queue)
    )


def _fitting(ranks: Iterable[int], items: Mapping[int, QueueItem], max_bytes: int) -> list[int]:
    """The first ranks whose items together have at most max_bytes; at least one."""
    kept: list[int] = []
    num_bytes = 0
    for rank in ranks:
        num_bytes += items[rank].num_bytes
        if kept and num_bytes > max_bytes:
            break
        kept.append(rank)
    return kept


def _make_room(
    connection: Connection, campaign: Campaign, ranks: Sequence[int], wish: Wish, *, now: float
) -> None:
    """Supersede expired leases until each item's slots hold one more: the labeler's own first."""
    lease = db.leases.c
    expired, own = lease.expire_time <= now, lease.labeler == wish.labeler
    first_to_go = (case((expired, 0), else_=1), case((own, 0), else_=1), lease.expire_time)
    live = (
        _of(db.leases, campaign, ranks, lease.token)
        .add_columns(
            case((and_(expired, own), 1), else_=0).label("own"),
            case((expired, 1), else_=0).label("expired"),
            func.row_number().over(partition_by=lease.rank, order_by=first_to_go).label("turn"),
            func.count().over(partition_by=lease.rank).label("num_live"),
        )
        .where(db.LIVE, lease.role == wish.role)
        .subquery()
    )
    num_over: Any = live.c.num_live  # an adjudicator's item has one slot
    if wish.role == LABELER:
        num_over = db.queue.c.num_votes + live.c.num_live + 1 - db.queue.c.votes_needed
    going = (
        select(live.c.token)
        .join(db.queue, db.queue.c.rank == live.c.rank)
        .where(db.queue.c.campaign == campaign.campaign, live.c.expired == 1)
        .where(or_(live.c.own == 1, live.c.turn <= num_over))
    )
    connection.execute(update(db.leases).where(lease.token.in_(going)).values(state="superseded"))


def _give(connection: Connection, campaign: Campaign, taken: Sequence[Lease], wish: Wish) -> None:
    rows = [
        {
            "token": lease.token,
            "campaign": campaign.campaign,
            "rank": lease.item.rank,
            "labeler": wish.labeler,
            "role": wish.role,
            "expire_time": lease.expire_time,
            "state": "live",
        }
        for lease in taken
    ]
    connection.execute(insert(db.leases), rows)


def _lock_held(
    connection: Connection, campaign: Campaign, tokens: Sequence[str], *, labeler: str
) -> dict[str, tuple[int, str]]:
    """Rank and role of each token that is live and the labeler's, their items locked."""
    row, lease = db.queue.c, db.leases.c
    mine = select(lease.token, lease.rank, lease.role).where(
        lease.token.in_(tokens), lease.campaign == campaign.campaign, lease.labeler == labeler
    )
    ranks = select(mine.subquery().c.rank)
    connection.execute(
        select(row.rank)
        .where(row.campaign == campaign.campaign, row.rank.in_(ranks))
        .order_by(row.rank)  # everybody in the same order: no deadlock
        .with_for_update()
    ).all()
    # Read after the lock was granted: a slot handed on meanwhile is seen.
    found = connection.execute(mine.where(db.LIVE))
    return {row.token: (row.rank, row.role) for row in found}


def _ranks(held: Mapping[str, tuple[int, str]]) -> list[int]:
    return [rank for rank, _ in held.values()]


def _items(
    connection: Connection, campaign: Campaign, ranks: Iterable[int]
) -> dict[int, QueueItem]:
    query = select(db.items).where(
        db.items.c.campaign == campaign.campaign, db.items.c.rank.in_(list(ranks))
    )
    return {row.rank: _item(row._mapping) for row in connection.execute(query)}


def _of(table: Any, campaign: Campaign, ranks: Sequence[int], *columns: Any) -> Select[Any]:
    return select(table.c.rank, *columns).where(
        table.c.campaign == campaign.campaign, table.c.rank.in_(ranks)
    )


def _decided_label(field: str, answer: Answer, item: QueueItem, *, blind: bool) -> str | None:
    if answer.decision == "confirm":
        return item.human_label
    if answer.decision == "accept":
        if blind or not item.suggestions:
            raise InvalidInput.of(
                f"{field}.decision", f"item {item.row_id!r} has no suggestion to accept; relabel it"
            )
        return item.suggestions[0][0]
    return answer.label


def _end(connection: Connection, tokens: Iterable[str], state: str) -> None:
    connection.execute(
        update(db.leases).where(db.leases.c.token.in_(list(tokens))).values(state=state)
    )


def _item(row: Any) -> QueueItem:
    return QueueItem(
        rank=row["rank"],
        kind=row["kind"],
        row_id=row["row_id"],
        unit=row["unit"],
        content=row["content"],
        human_label=row["human_label"],
        suggestions=tuple((label, p) for label, p in json.loads(row["suggestions"])),
        suspicion=row["suspicion"],
        reason=row["reason"],
    )
