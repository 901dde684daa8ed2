"""Leases: the fenced right to answer for an item.

An item has votes_required slots. A live lease or a vote fills one; a lease
that expired fills its slot until somebody needs it, and then it is superseded
in the transaction that hands the slot on. A result is accepted only from a
lease that is still live, judged in the transaction that stores it: so each
slot is answered at most once (Kleppmann, "How to do distributed locking", 2016,
on fencing tokens), and a slow labeler whose item nobody else took loses nothing.
"""

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, exists, func, insert, select, update

from relabel_service.errors import InvalidInput, WrongState
from relabel_service.queue import schema as db
from relabel_service.queue.campaigns import Campaign

TOKEN_BYTES = 16
VOTES = ("confirm", "accept", "relabel")


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
    duration_s: float,
    now: float,
) -> list[Lease]:
    """Lease up to `limit` of the worst items with a free slot, worst first.

    Leaves out items the labeler holds or has answered. Raises WrongState when
    the campaign is closed.
    """
    if campaign.state != "active":
        raise WrongState(f"campaign {campaign.campaign!r} is {campaign.state}; it leases no more")
    rows = connection.execute(_free(campaign, labeler=labeler, now=now).limit(limit)).all()
    taken = [_lease(row._mapping, expire_time=now + duration_s) for row in rows]
    for lease in taken:
        _make_room(connection, campaign, lease.item.rank, labeler=labeler, now=now)
    if taken:
        ranks = [lease.item.rank for lease in taken]
        connection.execute(
            insert(db.leases),
            [
                {
                    "token": lease.token,
                    "campaign": campaign.campaign,
                    "rank": lease.item.rank,
                    "labeler": labeler,
                    "expire_time": lease.expire_time,
                    "state": "live",
                }
                for lease in taken
            ],
        )
        connection.execute(
            update(db.items)
            .where(db.items.c.campaign == campaign.campaign, db.items.c.rank.in_(ranks))
            .values(num_attempts=db.items.c.num_attempts + 1)
        )
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
    held = _held(connection, campaign, tokens, labeler=labeler)
    connection.execute(
        update(db.leases).where(db.leases.c.token.in_(held)).values(expire_time=now + duration_s)
    )
    return dict.fromkeys(held, now + duration_s)


def release(
    connection: Connection, campaign: Campaign, tokens: Sequence[str], *, labeler: str
) -> int:
    """Give items back unanswered; how many leases were still live and the labeler's."""
    held = _held(connection, campaign, tokens, labeler=labeler)
    _end(connection, held, "released")
    return len(held)


def submit(
    connection: Connection,
    campaign: Campaign,
    answers: Sequence[Answer],
    *,
    labeler: str,
    now: float,
) -> list[str]:
    """Store each answer whose lease is live; per answer "accepted", "stale" or "closed"."""
    if campaign.state != "active":
        return ["closed"] * len(answers)
    held = _held(connection, campaign, [answer.token for answer in answers], labeler=labeler)
    return [
        _accept(connection, campaign, answer, held[answer.token], labeler=labeler, now=now)
        if answer.token in held
        else "stale"
        for answer in answers
    ]


def _free(campaign: Campaign, *, labeler: str, now: float) -> Any:
    """Open items with a slot for this labeler."""
    item = db.items.c
    on_item = and_(db.leases.c.campaign == item.campaign, db.leases.c.rank == item.rank)
    in_force = and_(on_item, db.leases.c.state == "live", db.leases.c.expire_time > now)
    num_held = select(func.count()).select_from(db.leases).where(in_force).scalar_subquery()
    answered = and_(
        db.results.c.campaign == item.campaign,
        db.results.c.rank == item.rank,
        db.results.c.labeler == labeler,
    )
    return (
        select(db.items)
        .where(item.campaign == campaign.campaign, item.state == "open")
        .where(item.num_votes + num_held < campaign.votes_required)
        .where(~exists().where(in_force, db.leases.c.labeler == labeler))
        .where(~exists().where(answered))
        .order_by(item.rank)
    )


def _make_room(
    connection: Connection, campaign: Campaign, rank: int, *, labeler: str, now: float
) -> None:
    """Supersede expired leases until the item's slots hold one more: the labeler's own first."""
    lease = db.leases.c
    live = connection.execute(
        select(lease.token, lease.labeler, lease.expire_time)
        .where(lease.campaign == campaign.campaign, lease.rank == rank, lease.state == "live")
        .order_by(lease.labeler != labeler, lease.expire_time)
    ).all()
    num_votes = connection.execute(
        select(db.items.c.num_votes).where(
            db.items.c.campaign == campaign.campaign, db.items.c.rank == rank
        )
    ).scalar_one()
    num_over = num_votes + len(live) + 1 - campaign.votes_required
    expired = [row for row in live if row.expire_time <= now]
    own = sum(row.labeler == labeler for row in expired)
    _end(connection, [row.token for row in expired[: max(num_over, own)]], "superseded")


def _held(
    connection: Connection, campaign: Campaign, tokens: Sequence[str], *, labeler: str
) -> dict[str, int]:
    """Rank of the item of each token that is live and the labeler's."""
    lease = db.leases.c
    query = select(lease.token, lease.rank).where(
        lease.token.in_(tokens),
        lease.campaign == campaign.campaign,
        lease.labeler == labeler,
        lease.state == "live",
    )
    return dict(connection.execute(query).all())


def _accept(
    connection: Connection,
    campaign: Campaign,
    answer: Answer,
    rank: int,
    *,
    labeler: str,
    now: float,
) -> str:
    item = connection.execute(
        select(db.items).where(db.items.c.campaign == campaign.campaign, db.items.c.rank == rank)
    ).one()
    connection.execute(
        insert(db.results).values(
            campaign=campaign.campaign,
            rank=rank,
            labeler=labeler,
            token=answer.token,
            decision=answer.decision,
            label=_decided_label(answer, item._mapping),
            comment=answer.comment,
            submit_time=now,
        )
    )
    _end(connection, [answer.token], "answered")
    escalated = item.state == "escalated" or answer.decision == "escalate"
    num_votes = item.num_votes + (answer.decision in VOTES)
    num_skips = item.num_skips + (answer.decision == "skip")
    connection.execute(
        update(db.items)
        .where(db.items.c.campaign == campaign.campaign, db.items.c.rank == rank)
        .values(
            num_votes=num_votes,
            num_skips=num_skips,
            state="escalated"
            if escalated
            else _state(num_votes, num_skips, campaign.votes_required),
        )
    )
    return "accepted"


def _state(num_votes: int, num_skips: int, votes_required: int) -> str:
    if num_votes >= votes_required:
        return "done"
    return "skipped" if num_skips >= votes_required else "open"


def _decided_label(answer: Answer, item: Any) -> str | None:
    if answer.decision == "confirm":
        return str(item["human_label"])
    if answer.decision == "accept":
        suggestions = json.loads(item["suggestions"])
        if not suggestions:
            raise InvalidInput.of(
                "results.decision", f"item {item['rank']} has no suggestion to accept; relabel it"
            )
        return str(suggestions[0][0])
    return answer.label


def _end(connection: Connection, tokens: Any, state: str) -> None:
    connection.execute(
        update(db.leases).where(db.leases.c.token.in_(list(tokens))).values(state=state)
    )


def _lease(row: Any, *, expire_time: float) -> Lease:
    item = QueueItem(
        rank=row["rank"],
        row_id=row["row_id"],
        unit=row["unit"],
        content=row["content"],
        human_label=row["human_label"],
        suggestions=tuple((label, p) for label, p in json.loads(row["suggestions"])),
        suspicion=row["suspicion"],
        reason=row["reason"],
    )
    return Lease(secrets.token_urlsafe(TOKEN_BYTES), item, expire_time, row["num_attempts"])
