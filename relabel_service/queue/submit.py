"""Leases in force: the fenced right to answer for an item, extended, given back or used.

A result is accepted only from a lease that nobody superseded, judged in the transaction that
stores it: so each slot is answered at most once (Kleppmann, "How to do distributed locking",
2016, on fencing tokens), and a slow labeler whose item nobody else took loses nothing.

Whoever changes an item's leases or results first locks its row in `queue`, and stores where
it stands last. Each step is one statement for the whole batch (statements.py).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection

from relabel_service.errors import InvalidInput
from relabel_service.queue import item_leases, lease_groups
from relabel_service.queue import statements as sql
from relabel_service.queue.campaigns import Campaign
from relabel_service.queue.item_leases import Hold
from relabel_service.queue.item_updates import alike, settle
from relabel_service.queue.lease import is_blind

TAKING_ANSWERS = ("active", "paused")


@dataclass(frozen=True)
class Answer:
    """One submitted result. label is given with the decision relabel and only then."""

    token: str
    decision: str
    label: str | None
    comment: str


@dataclass(frozen=True)
class _Locked:
    """Items of a labeler's tokens, locked, and what those tokens may still do."""

    rows: dict[int, Any]
    """Those whose lease is still live, by rank."""
    ranks: dict[str, int]
    """Of the tokens whose leases are live."""
    holds: dict[int, Hold]
    """The labeler's live leases by rank."""


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
    locked = _lock(connection, campaign, tokens, labeler=labeler)
    expire_time = now + duration_s
    for group in alike(connection, campaign, locked.rows.values()):
        group.holds[labeler] = replace(
            group.holds[labeler], expire_time=expire_time, is_lapsed=False
        )
        settle(connection, campaign, group, now=now)
    if locked.rows:
        lease_groups.extend(connection, locked.holds.values(), expire_time=expire_time)
    return dict.fromkeys(locked.ranks, expire_time)


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
    locked = _lock(connection, campaign, tokens, labeler=labeler)
    for group in alike(connection, campaign, locked.rows.values()):
        del group.holds[labeler]
        if delay_s:
            group.not_before = now + delay_s
        settle(connection, campaign, group, now=now)
    if locked.rows:
        lease_groups.spend(connection, locked.holds.values())
        if delay_s:
            lease_groups.keep_back(
                connection, campaign, list(locked.holds), not_before=now + delay_s
            )
    return len(locked.ranks)


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
    locked = _lock(connection, campaign, [one.token for one in answers], labeler=labeler)
    if locked.rows:
        accepted = _accepted(campaign, answers, locked, labeler=labeler, now=now)
        told = {row["rank"]: (row["role"], row["decision"], row["label"]) for row in accepted}
        groups = alike(connection, campaign, locked.rows.values(), added=told)
        sql.ACCEPT.each(connection, accepted)
        for group in groups:
            del group.holds[labeler]
            settle(connection, campaign, group, now=now)
        lease_groups.spend(connection, locked.holds.values())
    return ["accepted" if one.token in locked.ranks else "stale" for one in answers]


def _lock(
    connection: Connection, campaign: Campaign, tokens: Collection[str], *, labeler: str
) -> _Locked:
    """The lock is granted before it is read who holds what: a slot handed on meanwhile is seen."""
    given = lease_groups.given(connection, campaign, tokens, labeler=labeler)
    if not given:
        return _Locked({}, {}, {})
    asked = {pair: token for token, pair in given.items()}
    values = {"campaign": campaign.campaign, "ranks": sorted({rank for rank, _ in asked})}
    locked = _Locked({}, {}, {})
    for row in sql.LOCK_ROWS(connection, values):
        hold = item_leases.read(row.holders, row.lapsed).get(labeler)
        token = asked.get((row.rank, hold.batch)) if hold else None
        if hold and token:
            locked.rows[row.rank] = row
            locked.ranks[token], locked.holds[row.rank] = row.rank, hold
    return locked


def _accepted(
    campaign: Campaign,
    answers: Sequence[Answer],
    locked: _Locked,
    *,
    labeler: str,
    now: float,
) -> list[dict[str, Any]]:
    """The rows of the answers whose leases are live."""
    rows = []
    for place, answer in enumerate(answers):
        rank = locked.ranks.get(answer.token)
        if rank is None:
            continue
        role = locked.holds[rank].role
        blind = is_blind(campaign, rank, labeler=labeler, role=role)
        rows.append(
            {
                "campaign": campaign.campaign,
                "rank": rank,
                "labeler": labeler,
                "token": answer.token,
                "role": role,
                "blind": blind,
                "decision": answer.decision,
                "label": _label(place, answer, locked.rows[rank], blind=blind),
                "comment": answer.comment,
                "submit_time": now,
            }
        )
    return rows


def _label(place: int, answer: Answer, item: Any, *, blind: bool) -> str | None:
    """What the decision comes to. Raises InvalidInput when it does not suit the item."""
    if answer.decision == "confirm":
        return str(item.human_label)
    if answer.decision != "accept":
        return answer.label
    if blind or item.suggestion is None:
        raise InvalidInput.of(
            f"results[{place}].decision",
            f"item {item.row_id!r} has no suggestion to accept; relabel it",
        )
    return str(item.suggestion)
