"""What concurrent labelers saw, recorded, and the promises checked against it afterwards.

The checker knows nothing of the queue: it compares the responses that callers got with what
the campaign published (as Jepsen does; Kingsbury, "Jepsen: NATS 2.12.1", 2025).
"""

import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from relabel_service import Client, relabel
from relabel_service.errors import RelabelError, WrongState
from relabel_service.v1 import labels_pb2, leases_pb2

ACCEPTED = leases_pb2.RESULT_STATUS_ACCEPTED
Vote = tuple[int, str, str]  # rank, labeler, label


@dataclass(frozen=True)
class LeaseSpan:
    """One lease, surely in force from `start` to `end`. Times in seconds since the epoch."""

    rank: int
    labeler: str
    start: float
    end: float


@dataclass
class History:
    """Appended to by many threads."""

    spans: list[LeaseSpan] = field(default_factory=list)
    accepted: list[Vote] = field(default_factory=list)
    unknown: list[Vote] = field(default_factory=list)
    """Sent, and the call failed: stored or not."""
    num_failures: int = 0

    def faults(self, results: Iterable[Mapping[str, Any]], *, votes_required: int) -> list[str]:
        """Broken promises, in words. results: rows of tables.RESULTS."""
        stored = [(row["rank"], row["labeler"], row["label"]) for row in results]
        faults = [f"stored twice: {vote}" for vote, num in Counter(stored).items() if num > 1]
        faults += [f"lost: {vote}" for vote in set(self.accepted) - set(stored)]
        sent = {*self.accepted, *self.unknown}
        faults += [f"never sent: {vote}" for vote in set(stored) - sent]
        votes = Counter(rank for rank, _, _ in stored)
        faults += [f"{num} votes on {rank}" for rank, num in votes.items() if num > votes_required]
        pairs = Counter((rank, labeler) for rank, labeler, _ in stored)
        faults += [f"twice the same labeler: {pair}" for pair, num in pairs.items() if num > 1]
        return faults + self._double_leases(votes_required)

    def _double_leases(self, votes_required: int) -> list[str]:
        """More leases on an item at one time than it has slots."""
        faults = []
        by_rank: dict[int, list[LeaseSpan]] = defaultdict(list)
        for span in self.spans:
            by_rank[span.rank].append(span)
        for rank, spans in by_rank.items():
            ends = sorted([(span.start, 1) for span in spans] + [(span.end, -1) for span in spans])
            num = most = 0
            for _, change in ends:
                num += change
                most = max(most, num)
            if most > votes_required:
                faults.append(f"{most} leases at once on {rank}")
        return faults


@dataclass(frozen=True)
class Habits:
    """How a labeler behaves. Shares in [0, 1]; the others are submitted."""

    batch: int = 5
    lease_s: float = 1.0
    abandons: float = 0.1
    releases: float = 0.1


def work(
    client: Client,
    campaign: str,
    labeler: str,
    history: History,
    *,
    habits: Habits,
    seed: int,
    is_over: Callable[[], bool],
) -> None:
    """Lease and submit, abandon or release until nothing is left after is_over()."""
    chance = random.Random(seed)
    lost: dict[int, float] = {}
    while True:
        over = is_over()  # asked first: items lost before the end are still waited for
        try:
            leases = client.lease(
                campaign,
                max_items=habits.batch,
                duration_s=habits.lease_s,
                wait_s=2 * habits.lease_s,
            )
        except WrongState:
            return
        except RelabelError:
            history.num_failures += 1
            continue
        if not leases and over:
            return
        _answer(client, campaign, labeler, leases, history, habits=habits, chance=chance, lost=lost)


def _answer(
    client: Client,
    campaign: str,
    labeler: str,
    leases: list[leases_pb2.Lease],
    history: History,
    *,
    habits: Habits,
    chance: random.Random,
    lost: dict[int, float],
) -> None:
    received = time.time()
    answered, released = [], []
    for lease in leases:
        draw = chance.random()
        if draw < habits.abandons:
            history.spans.append(_span(lease, labeler, received, lease_end(lease)))
        elif draw < habits.abandons + habits.releases:
            released.append(lease)
        else:
            answered.append((lease, chance.choice(["ham", "spam"])))
    if released:
        _ended(history, labeler, released, received)
        try:
            client.release(campaign, [lease.token for lease in released])
        except RelabelError:
            history.num_failures += 1
    if answered:
        _ended(history, labeler, [lease for lease, _ in answered], received)
        _submit(client, campaign, labeler, answered, history)


def _submit(
    client: Client,
    campaign: str,
    labeler: str,
    answered: list[tuple[leases_pb2.Lease, str]],
    history: History,
) -> None:
    votes = [(lease.item.rank, labeler, label) for lease, label in answered]
    results = [
        relabel(lease, labels_pb2.Label(class_label=labels_pb2.ClassLabel(class_name=label)))
        for lease, label in answered
    ]
    try:
        outcomes = client.submit(campaign, results)
    except RelabelError:
        history.num_failures += 1
        history.unknown += votes
        return
    accepted = [outcome.status == ACCEPTED for outcome in outcomes]
    history.accepted += [vote for vote, is_in in zip(votes, accepted, strict=True) if is_in]


def _ended(history: History, labeler: str, leases: list[leases_pb2.Lease], received: float) -> None:
    """They are given up from now on, or were before, when they expired."""
    now = time.time()
    for lease in leases:
        history.spans.append(_span(lease, labeler, received, min(now, lease_end(lease))))


def _span(lease: leases_pb2.Lease, labeler: str, start: float, end: float) -> LeaseSpan:
    return LeaseSpan(lease.item.rank, labeler, start, max(start, end))


def lease_end(lease: leases_pb2.Lease) -> float:
    return lease.expire_time.seconds + lease.expire_time.nanos / 1e9


def run_labelers(
    address: str,
    campaign: str,
    history: History,
    *,
    num: int,
    habits: Habits,
    is_over: Callable[[], bool],
    deadline_s: float = 5.0,
) -> list[threading.Thread]:
    """Start `num` labelers, each a thread with a client of its own."""

    def run(number: int) -> None:
        labeler = f"labeler-{number}"
        with Client(address, labeler=labeler, deadline_s=deadline_s) as client:
            work(client, campaign, labeler, history, habits=habits, seed=number, is_over=is_over)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(num)]
    for thread in threads:
        thread.start()
    return threads
