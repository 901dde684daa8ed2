"""Leases: the fenced right to answer for an item.

An item has votes_required slots. A live lease or a vote fills one; a lease
that expired fills its slot until somebody needs it, and then it is superseded
in the transaction that hands the slot on. A result is accepted only from a
lease that is still live, judged in the transaction that stores it: so each
slot is answered at most once (Kleppmann, "How to do distributed locking", 2016,
on fencing tokens), and a slow labeler whose item nobody else took loses nothing.

Each step is one statement for the whole batch. Whoever changes an item's leases
or results first locks its row in `queue`, and stores its standing last.
"""

import json
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
from relabel_service.queue.campaigns import Campaign
from relabel_service.queue.standing import Standing, standing

TOKEN_BYTES = 16
# An item whose lease was lost goes so many places back: the worst items still come
# first, but one that every labeler lets expire cannot keep the others waiting.
LOST_PLACES = 1000
MAX_FREED = 1000  # expired items taken back by one call; later calls take the rest


@dataclass(frozen=True)
class QueueItem:
    """One row in doubt. Labels and content are the task's text forms."""

    rank: int
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


@dataclass(frozen=True)
class Answer:
    """One submitted result. label is given with the decision relabel and only then."""

    token: str
    decision: str
    label: str | None
    comment: str


def take(
    connection: Connection,
    campaign: Campaign,
    *,
    labeler: str,
    limit: int,
    max_leases: int,
    max_bytes: int,
    duration_s: float,
    now: float,
) -> list[Lease]:
    """Lease up to `limit` items with a free slot, worst first.

    Leaves out items the labeler holds or has answered. Gives fewer where the
    labeler would hold more than max_leases, or what is shown of the items would
    have more than max_bytes; one item always passes. Raises WrongState when the
    campaign is closed, Exhausted when the labeler holds max_leases.
    """
    if campaign.state != "active":
        raise WrongState(f"campaign {campaign.campaign!r} is {campaign.state}; it leases no more")
    num_held = _num_held(connection, campaign, labeler=labeler, now=now)
    if num_held >= max_leases:
        raise Exhausted(
            f"{labeler!r} holds {num_held} items of campaign {campaign.campaign!r}; "
            f"submit or release some: {max_leases} are allowed"
        )
    _free_expired(connection, campaign, now=now)
    query = _free(campaign, labeler=labeler, now=now).limit(min(limit, max_leases - num_held))
    free = {row.rank: row.num_attempts for row in connection.execute(query)}
    items = _items(connection, campaign, free)
    attempts = {rank: free[rank] for rank in _fitting(free, items, max_bytes)}
    expire_time = now + duration_s
    taken = [
        Lease(secrets.token_urlsafe(TOKEN_BYTES), items[rank], expire_time, num_earlier)
        for rank, num_earlier in attempts.items()
    ]
    if taken:
        _make_room(connection, campaign, list(attempts), labeler=labeler, now=now)
        _give(connection, campaign, taken, labeler=labeler)
        settle(connection, campaign, attempts, now=now, num_attempts=1)
    return taken


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
    if campaign.state != "active":
        return {}
    held = _lock_held(connection, campaign, tokens, labeler=labeler)
    connection.execute(
        update(db.leases).where(db.leases.c.token.in_(held)).values(expire_time=now + duration_s)
    )
    settle(connection, campaign, held.values(), now=now)
    return dict.fromkeys(held, now + duration_s)


def release(
    connection: Connection, campaign: Campaign, tokens: Sequence[str], *, labeler: str, now: float
) -> int:
    """Give items back unanswered; how many leases were still live and the labeler's."""
    held = _lock_held(connection, campaign, tokens, labeler=labeler)
    _end(connection, held, "released")
    settle(connection, campaign, held.values(), now=now)
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
    if campaign.state != "active":
        return ["closed"] * len(answers)
    held = _lock_held(connection, campaign, [answer.token for answer in answers], labeler=labeler)
    items = _items(connection, campaign, held.values())
    rows = [
        {
            "campaign": campaign.campaign,
            "rank": held[answer.token],
            "labeler": labeler,
            "token": answer.token,
            "decision": answer.decision,
            "label": _decided_label(f"results[{place}]", answer, items[held[answer.token]]),
            "comment": answer.comment,
            "submit_time": now,
        }
        for place, answer in enumerate(answers)
        if answer.token in held
    ]
    if rows:
        connection.execute(insert(db.results), rows)
        _end(connection, held, "answered")
        settle(connection, campaign, held.values(), now=now)
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
    ranks = list(ranks)
    decisions = _by_rank(connection, _of(db.results, campaign, ranks, db.results.c.decision))
    expire_times = _by_rank(
        connection,
        _of(db.leases, campaign, ranks, db.leases.c.expire_time).where(
            db.LIVE, db.leases.c.expire_time > now
        ),
    )
    alike: dict[Standing, list[int]] = defaultdict(list)  # most of a batch: one statement
    for rank in ranks:
        where = standing(
            decisions[rank], expire_times[rank], votes_required=campaign.settings.votes_required
        )
        alike[where].append(rank)
    for where, those in alike.items():
        connection.execute(
            update(db.queue)
            .where(db.queue.c.campaign == campaign.campaign, db.queue.c.rank.in_(those))
            .values(num_attempts=db.queue.c.num_attempts + num_attempts, **vars(where))
        )


def _free_expired(connection: Connection, campaign: Campaign, *, now: float) -> None:
    """Take back the slots whose leases have expired. No sweeper to die: whoever asks, sweeps."""
    row = db.queue.c
    due = (
        select(row.rank)
        .where(row.campaign == campaign.campaign, row.state == "held", row.free_time <= now)
        .order_by(row.free_time)
        .limit(MAX_FREED)
        .with_for_update(skip_locked=True)
        .cte("due")  # evaluated once, which a subquery that locks need not be
    )
    connection.execute(
        update(db.queue)
        .where(row.campaign == campaign.campaign, row.rank.in_(select(due.c.rank)))
        .values(state="open", free_time=0.0, place=row.place + LOST_PLACES)
    )


def _free(campaign: Campaign, *, labeler: str, now: float) -> Select[Any]:
    """Items with a free slot for this labeler, in their places, locked."""
    row, lease, result = db.queue.c, db.leases.c, db.results.c
    held = exists().where(
        and_(lease.campaign == row.campaign, lease.rank == row.rank),
        and_(lease.labeler == labeler, db.LIVE, lease.expire_time > now),
    )
    answered = exists().where(
        and_(result.campaign == row.campaign, result.rank == row.rank, result.labeler == labeler)
    )
    return (
        select(row.rank, row.num_attempts)
        .where(row.campaign == campaign.campaign, row.state == "open", ~held, ~answered)
        .order_by(row.place, row.rank)
        .with_for_update(skip_locked=True, of=db.queue)
    )


def _num_held(connection: Connection, campaign: Campaign, *, labeler: str, now: float) -> int:
    lease = db.leases.c
    query = (
        select(func.count())
        .select_from(db.leases)
        .where(lease.campaign == campaign.campaign, lease.labeler == labeler)
        .where(db.LIVE, lease.expire_time > now)
    )
    return int(connection.execute(query).scalar_one())


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
    connection: Connection, campaign: Campaign, ranks: Sequence[int], *, labeler: str, now: float
) -> None:
    """Supersede expired leases until each item's slots hold one more: the labeler's own first."""
    lease = db.leases.c
    expired, own = lease.expire_time <= now, lease.labeler == labeler
    first_to_go = (case((expired, 0), else_=1), case((own, 0), else_=1), lease.expire_time)
    live = (
        _of(db.leases, campaign, ranks, lease.token)
        .add_columns(
            case((and_(expired, own), 1), else_=0).label("own"),
            case((expired, 1), else_=0).label("expired"),
            func.row_number().over(partition_by=lease.rank, order_by=first_to_go).label("turn"),
            func.count().over(partition_by=lease.rank).label("num_live"),
        )
        .where(db.LIVE)
        .subquery()
    )
    num_over = db.queue.c.num_votes + live.c.num_live + 1 - campaign.settings.votes_required
    going = (
        select(live.c.token)
        .join(db.queue, db.queue.c.rank == live.c.rank)
        .where(db.queue.c.campaign == campaign.campaign, live.c.expired == 1)
        .where(or_(live.c.own == 1, live.c.turn <= num_over))
    )
    connection.execute(update(db.leases).where(lease.token.in_(going)).values(state="superseded"))


def _give(
    connection: Connection, campaign: Campaign, taken: Sequence[Lease], *, labeler: str
) -> None:
    rows = [
        {
            "token": lease.token,
            "campaign": campaign.campaign,
            "rank": lease.item.rank,
            "labeler": labeler,
            "expire_time": lease.expire_time,
            "state": "live",
        }
        for lease in taken
    ]
    connection.execute(insert(db.leases), rows)


def _lock_held(
    connection: Connection, campaign: Campaign, tokens: Sequence[str], *, labeler: str
) -> dict[str, int]:
    """Rank of the item of each token that is live and the labeler's, those items locked."""
    row, lease = db.queue.c, db.leases.c
    mine = select(lease.token, lease.rank).where(
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
    return {row.token: row.rank for row in connection.execute(mine.where(db.LIVE))}


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


def _by_rank(connection: Connection, query: Select[Any]) -> Mapping[int, list[Any]]:
    found: dict[int, list[Any]] = defaultdict(list)
    for rank, value in connection.execute(query):
        found[rank].append(value)
    return found


def _decided_label(field: str, answer: Answer, item: QueueItem) -> str | None:
    if answer.decision == "confirm":
        return item.human_label
    if answer.decision == "accept":
        if not item.suggestions:
            raise InvalidInput.of(
                f"{field}.decision", f"item {item.rank} has no suggestion to accept; relabel it"
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
        row_id=row["row_id"],
        unit=row["unit"],
        content=row["content"],
        human_label=row["human_label"],
        suggestions=tuple((label, p) for label, p in json.loads(row["suggestions"])),
        suspicion=row["suspicion"],
        reason=row["reason"],
    )
