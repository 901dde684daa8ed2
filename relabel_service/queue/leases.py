"""Leases: the fenced right to answer for an item.

An item has a slot for each vote it needs. A live lease or a vote fills one; a lease
that expired fills its slot until somebody needs it, and then it is superseded
in the transaction that hands the slot on. A result is accepted only from a
lease that is still live, judged in the transaction that stores it: so each
slot is answered at most once (Kleppmann, "How to do distributed locking", 2016,
on fencing tokens), and a slow labeler whose item nobody else took loses nothing.

Each step is one statement for the whole batch (statements.py). Whoever changes an
item's leases or results first locks its row in `queue`, and stores its standing last.
"""

import hashlib
import json
import random
import secrets
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

from relabel_service.errors import Exhausted, InvalidInput, WrongState
from relabel_service.queue import statements as sql
from relabel_service.queue.campaigns import GOLD, Campaign
from relabel_service.queue.order import LOST_PLACES
from relabel_service.queue.standing import VOTES, Facts, Standing, standing

TOKEN_BYTES = 16
LABELER, ADJUDICATOR = "labeler", "adjudicator"
# From the state in which items wait for a role to that in which all their slots are held.
WAITING = {LABELER: "open", ADJUDICATOR: "escalated"}
TAKING_ANSWERS = ("active", "paused")
UNANSWERED = ("open", "held")  # unless somebody voted or skipped
HELD = {LABELER: "held", ADJUDICATOR: "judging"}
LEFT_OUT_BYTES = 1000  # of a lease whose item is read by itself
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
        """At least what the item takes on the wire, its lease included."""
        texts = [self.content, self.human_label, self.row_id, self.unit, self.reason]
        texts += [label for label, _ in self.suggestions]
        return 200 + 30 * len(self.suggestions) + sum(map(_num_bytes, texts))


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
    max_item_bytes: int = 2**20
    """Of an item that is told with its lease; a larger one is read by itself."""


@dataclass
class _Hand:
    """Locked items of one campaign, and what decides where they stand."""

    rows: dict[int, Any]
    """Of `queue`, by rank, as they were when locked."""
    live: list[Any] = field(default_factory=list)
    """Leases that may still answer, expired or not: token, rank, labeler, role, expire_time."""
    results: list[Any] = field(default_factory=list)
    """rank, role, decision, label."""


@dataclass(frozen=True)
class _Live:
    token: str
    rank: int
    labeler: str
    role: str
    expire_time: float


def take(connection: Connection, campaign: Campaign, wish: Wish, *, now: float) -> list[Lease]:
    """Lease up to wish.limit items with a free slot, in the campaign's order.

    Leaves out items the labeler holds or has answered. Gives fewer where the
    labeler would hold more than max_leases, or what is shown of the items would
    have more than max_bytes, not counting items above max_item_bytes. Raises WrongState when the
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
    chosen = _chosen(
        connection, campaign, wish, limit=min(wish.limit, wish.max_leases - num_held), now=now
    )
    items = _items(connection, campaign, list(chosen))
    taken = [
        Lease(
            secrets.token_urlsafe(TOKEN_BYTES),
            items[rank],
            now + wish.duration_s,
            chosen[rank].num_attempts,
            is_blind(campaign, rank, labeler=wish.labeler, role=wish.role),
        )
        for rank in _fitting(chosen, items, wish)
    ]
    if taken:
        hand = _hand(connection, campaign, {one.item.rank: chosen[one.item.rank] for one in taken})
        _make_room(connection, hand, wish, now=now)
        _give(connection, campaign, hand, taken, wish)
        _settle(connection, campaign, hand, now=now, num_attempts=1)
    return taken


def count_held(connection: Connection, campaign: Campaign, *, labeler: str, now: float) -> int:
    """The labeler's leases in force."""
    values = {"in_campaign": campaign.campaign, "in_labeler": labeler, "in_now": now}
    return int(connection.execute(sql.COUNT_HELD, values).scalar_one())


def is_blind(campaign: Campaign, rank: int, *, labeler: str, role: str) -> bool:
    """Whether this labeler sees the item without suggestions: by chance, and always the same."""
    if role == ADJUDICATOR or not campaign.settings.blind_share:
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
    hand, held = _lock(connection, campaign, tokens, labeler=labeler)
    expire_time = now + duration_s
    if held:
        values = {"in_tokens": list(held), "to_expire_time": expire_time}
        connection.execute(sql.EXTEND, values)
        hand.live = [
            _Live(one.token, one.rank, one.labeler, one.role, expire_time)
            if one.token in held
            else one
            for one in hand.live
        ]
        _settle(connection, campaign, hand, now=now)
    return dict.fromkeys(held, expire_time)


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
    hand, held = _lock(connection, campaign, tokens, labeler=labeler)
    if held:
        _end(connection, hand, held, "released")
        not_before = now + delay_s if delay_s else None
        if not_before is not None:
            ranks = [one.rank for one in held.values()]
            values = {"in_campaign": campaign.campaign, "in_ranks": ranks}
            connection.execute(sql.KEEP_BACK, values | {"to_not_before": not_before})
        _settle(connection, campaign, hand, now=now, not_before=not_before)
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
    tokens = [answer.token for answer in answers]
    hand, held = _lock(connection, campaign, tokens, labeler=labeler)
    if held:
        values = {"in_campaign": campaign.campaign, "in_ranks": list(hand.rows)}
        labels = {row.rank: row for row in connection.execute(sql.LABELS, values)}
        rows = [
            _result(f"results[{place}]", answer, held[answer.token], labels, campaign, now=now)
            for place, answer in enumerate(answers)
            if answer.token in held
        ]
        connection.execute(sql.ACCEPT, rows)
        hand.results += [(row["rank"], row["role"], row["decision"], row["label"]) for row in rows]
        _end(connection, hand, held, "answered")
        _settle(connection, campaign, hand, now=now)
    return ["accepted" if token in held else "stale" for token in tokens]


def _hand(connection: Connection, campaign: Campaign, rows: dict[int, Any]) -> _Hand:
    """Read what decides where the locked `rows` stand. Nothing is read of items never given."""
    hand = _Hand(rows)
    given = [rank for rank, row in rows.items() if row.num_attempts]
    if given:
        values = {"in_campaign": campaign.campaign, "in_ranks": given}
        hand.live = list(connection.execute(sql.LIVE_LEASES, values))
    answered = [
        rank
        for rank in given
        if rows[rank].num_votes or rows[rank].num_skips or rows[rank].state not in UNANSWERED
    ]
    if answered:
        values = {"in_campaign": campaign.campaign, "in_ranks": answered}
        hand.results = [tuple(row) for row in connection.execute(sql.RESULTS, values)]
    return hand


def _lock(
    connection: Connection, campaign: Campaign, tokens: Collection[str], *, labeler: str
) -> tuple[_Hand, dict[str, Any]]:
    """The items of the labeler's tokens, locked, and those of the leases that are still live.

    The leases are read after the lock was granted: a slot handed on meanwhile is seen.
    """
    values = {
        "in_campaign": campaign.campaign,
        "in_tokens": list(tokens),
        "in_labeler": labeler,
    }
    hand = _hand(
        connection, campaign, {row.rank: row for row in connection.execute(sql.LOCK, values)}
    )
    asked = set(tokens)
    mine = (one for one in hand.live if one.labeler == labeler and one.token in asked)
    return hand, {one.token: one for one in mine}


def _settle(
    connection: Connection,
    campaign: Campaign,
    hand: _Hand,
    *,
    now: float,
    num_attempts: int = 0,
    not_before: float | None = None,
) -> None:
    """Store where the items stand now. One statement for all that stand alike: most of a batch."""
    alike: dict[Standing, list[int]] = defaultdict(list)
    for rank, facts in _facts(hand, now=now, not_before=not_before).items():
        alike[standing(facts, campaign.settings, now=now)].append(rank)
    for where, ranks in alike.items():
        values = {f"to_{name}": value for name, value in vars(where).items()}
        values |= {"in_campaign": campaign.campaign, "in_ranks": ranks, "in_attempts": num_attempts}
        connection.execute(sql.SETTLE, values)


def _facts(hand: _Hand, *, now: float, not_before: float | None) -> dict[int, Facts]:
    facts = {
        rank: Facts(row.kind, row.not_before if not_before is None else not_before)
        for rank, row in hand.rows.items()
    }
    for rank, role, decision, label in hand.results:
        one = facts[rank]
        if role == ADJUDICATOR:
            one.is_judged |= decision in VOTES
        elif decision in VOTES:
            one.labels.append(label)
        one.is_escalated |= decision == "escalate"
        one.num_skips += decision == "skip" and role == LABELER
    for lease in hand.live:
        if lease.expire_time > now:
            one = facts[lease.rank]
            times = one.judge_expire_times if lease.role == ADJUDICATOR else one.expire_times
            times.append(lease.expire_time)
    return facts


def _free_expired(connection: Connection, campaign: Campaign, role: str, *, now: float) -> None:
    """Take back the slots whose leases have expired. No sweeper to die: whoever asks, sweeps."""
    values = {
        "in_campaign": campaign.campaign,
        "in_state": HELD[role],
        "in_now": now,
        "in_limit": MAX_FREED,
        "in_lost_places": LOST_PLACES[campaign.settings.item_order],
        "to_state": WAITING[role],
    }
    connection.execute(sql.FREE_EXPIRED, values)


def _chosen(
    connection: Connection, campaign: Campaign, wish: Wish, *, limit: int, now: float
) -> dict[int, Any]:
    """Rows of the items to give, by rank, locked; gold ones among them."""

    def free(state: str, num: int) -> list[Any]:
        values = {
            "in_campaign": campaign.campaign,
            "in_labeler": wish.labeler,
            "in_now": now,
            "in_state": state,
            "in_limit": num,
        }
        return list(connection.execute(sql.FREE, values))

    chosen = free(WAITING[wish.role], limit)
    rate = campaign.settings.gold_rate
    if rate and wish.role == LABELER:
        # Drawn anew for each batch, so that neither number nor places of gold tell anything.
        chance = random.Random(f"{campaign.campaign}/{wish.labeler}/{now}")
        gold = free(GOLD, sum(chance.random() < rate for _ in chosen))
        chosen = chosen[: len(chosen) - len(gold)]
        for one in gold:
            chosen.insert(chance.randint(0, len(chosen)), one)
    return {row.rank: row for row in chosen}


def _fitting(ranks: Iterable[int], items: Mapping[int, QueueItem], wish: Wish) -> list[int]:
    """The first ranks whose items together have at most max_bytes; at least one."""
    kept: list[int] = []
    num_bytes = 0
    for rank in ranks:
        one = items[rank].num_bytes
        num_bytes += one if one <= wish.max_item_bytes else LEFT_OUT_BYTES
        if kept and num_bytes > wish.max_bytes:
            break
        kept.append(rank)
    return kept


def _num_bytes(text: str) -> int:
    """In UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


def _make_room(connection: Connection, hand: _Hand, wish: Wish, *, now: float) -> None:
    """Supersede expired leases until each item's slots hold one more: the labeler's own first."""
    by_rank: dict[int, list[Any]] = defaultdict(list)
    for lease in hand.live:
        if lease.role == wish.role:
            by_rank[lease.rank].append(lease)
    going: dict[str, Any] = {}
    for rank, leases in by_rank.items():
        row = hand.rows[rank]
        num_over = len(leases)  # an adjudicator's item has one slot
        if wish.role == LABELER:
            num_over += row.num_votes + 1 - row.votes_needed
        expired = [lease for lease in leases if lease.expire_time <= now]
        expired.sort(key=lambda one: (one.labeler != wish.labeler, one.expire_time))
        num_own = sum(one.labeler == wish.labeler for one in expired)
        going |= {one.token: one for one in expired[: max(num_over, num_own)]}
    if going:
        _end(connection, hand, going, "superseded")


def _give(
    connection: Connection, campaign: Campaign, hand: _Hand, taken: Sequence[Lease], wish: Wish
) -> None:
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
    connection.execute(sql.GIVE, rows)
    hand.live += [
        _Live(one.token, one.item.rank, wish.labeler, wish.role, one.expire_time) for one in taken
    ]


def _end(connection: Connection, hand: _Hand, tokens: Collection[str], state: str) -> None:
    connection.execute(sql.END, {"in_tokens": list(tokens), "to_state": state})
    hand.live = [one for one in hand.live if one.token not in tokens]


def _items(connection: Connection, campaign: Campaign, ranks: list[int]) -> dict[int, QueueItem]:
    if not ranks:
        return {}
    values = {"in_campaign": campaign.campaign, "in_ranks": ranks}
    return {row.rank: _item(row) for row in connection.execute(sql.ITEMS, values)}


def _result(
    field_name: str,
    answer: Answer,
    lease: Any,
    labels: Mapping[int, Any],
    campaign: Campaign,
    *,
    now: float,
) -> dict[str, Any]:
    """The row of one accepted answer. Raises InvalidInput when it does not suit its item."""
    blind = is_blind(campaign, lease.rank, labeler=lease.labeler, role=lease.role)
    item = labels[lease.rank]
    if answer.decision == "accept" and (blind or item.suggestion is None):
        raise InvalidInput.of(
            f"{field_name}.decision",
            f"item {item.row_id!r} has no suggestion to accept; relabel it",
        )
    label = {"confirm": item.human_label, "accept": item.suggestion}.get(
        answer.decision, answer.label
    )
    return {
        "campaign": campaign.campaign,
        "rank": lease.rank,
        "labeler": lease.labeler,
        "token": answer.token,
        "role": lease.role,
        "blind": blind,
        "decision": answer.decision,
        "label": label,
        "comment": answer.comment,
        "submit_time": now,
    }


def _item(row: Any) -> QueueItem:
    return QueueItem(
        rank=row.rank,
        kind=row.kind,
        row_id=row.row_id,
        unit=row.unit,
        content=row.content,
        human_label=row.human_label,
        suggestions=tuple((label, p) for label, p in json.loads(row.suggestions)),
        suspicion=row.suspicion,
        reason=row.reason,
    )
