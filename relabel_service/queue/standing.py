"""What an item's leases and results come to: open, held, done, skipped or escalated.

Pure: leases.py reads the facts and stores the standing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

VOTES = ("confirm", "accept", "relabel")


@dataclass(frozen=True)
class Standing:
    """free_time: when a held item has a free slot again, in seconds since the epoch; else 0."""

    state: str
    free_time: float
    num_votes: int
    num_skips: int


def standing(
    decisions: Sequence[str], expire_times: Sequence[float], *, votes_required: int
) -> Standing:
    """Where an item stands, from its results' decisions and the expiry of its leases in force."""
    num_votes = sum(decision in VOTES for decision in decisions)
    num_skips = sum(decision == "skip" for decision in decisions)
    state, free_time = "open", 0.0
    if "escalate" in decisions:
        state = "escalated"
    elif num_votes >= votes_required:
        state = "done"
    elif num_skips >= votes_required:
        state = "skipped"
    elif num_votes + len(expire_times) >= votes_required:
        state, free_time = "held", min(expire_times)
    return Standing(state, free_time, num_votes, num_skips)
