"""The state of an item, which follows from its leases and results.

    open        has a free slot              leased         has none until a lease expires
    escalated   waits for an adjudicator     adjudicating   an adjudicator has a lease on it
    done, skipped                            gold           always free: each labeler sees it once

Pure: item_updates.py reads the facts and stores the state.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from relabel_service.queue.campaigns import GOLD, GOLD_SLOTS, Settings

VOTES = ("confirm", "accept", "relabel")


@dataclass
class ItemFacts:
    """One item's accepted results and its leases in force. Times in seconds since the epoch."""

    kind: str
    not_before: float
    labels: list[str] = field(default_factory=list)
    """Of the labelers' votes; of votes that agree, the earliest one's."""
    num_skips: int = 0
    is_escalated: bool = False
    is_adjudicated: bool = False
    """An adjudicator has decided on a label."""
    expire_times: list[float] = field(default_factory=list)
    """Of the labelers' leases."""
    adjudicator_expire_times: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class ItemState:
    """The columns of `queue` that follow from the facts."""

    state: str
    leased_until: float
    """When the last of the labelers' leases expires; 0 without any."""
    votes_needed: int
    num_votes: int
    num_skips: int


def item_state(facts: ItemFacts, settings: Settings, *, now: float) -> ItemState:
    """The item's state at `now`."""
    num_votes = len(facts.labels)
    leased_until = max(facts.expire_times, default=0.0)
    if facts.kind == GOLD:
        return ItemState(GOLD, leased_until, GOLD_SLOTS, num_votes, facts.num_skips)
    agreed = agree(facts.labels, settings)
    needed = settings.votes_required
    if num_votes >= needed and not agreed:
        needed = min(num_votes + 1, max(settings.max_votes, needed))
    state = _state(facts, settings, agreed=agreed, needed=needed, now=now)
    return ItemState(state, leased_until, needed, num_votes, facts.num_skips)


def agree(labels: Sequence[str], settings: Settings) -> bool:
    """Whether one label has more than half of the votes, and at least min_agreement of them."""
    if not labels:
        return False
    most = max(Counter(labels).values())
    return 2 * most > len(labels) and most >= settings.min_agreement * len(labels)


def _state(facts: ItemFacts, settings: Settings, *, agreed: bool, needed: int, now: float) -> str:
    num_votes = len(facts.labels)
    if facts.is_adjudicated:
        return "done"
    disputed = num_votes >= needed and not agreed
    if facts.is_escalated or disputed:
        return "adjudicating" if facts.adjudicator_expire_times else "escalated"
    if num_votes >= needed:
        return "done"
    if facts.num_skips >= (1 if settings.skip_policy == "never_again" else needed):
        return "skipped"
    is_full = num_votes + len(facts.expire_times) >= needed
    return "leased" if is_full or facts.not_before > now else "open"
