"""The leases on one item that may still submit, as its row in `queue` keeps them.

Two JSON objects by labeler: `leases`, in force when the row was last written, and
`expired_leases`: those fill their slots until somebody needs them. A lease that was stored as
expired stays expired unless it is extended: a transaction that was slow since it read the time
must not take a lease to be in force whose slot another transaction has already freed.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

LABELER, ADJUDICATOR = "labeler", "adjudicator"
_ROLES = (LABELER, ADJUDICATOR)


@dataclass(frozen=True)
class ItemLease:
    """One labeler's lease on one item. expire_time in seconds since the epoch."""

    group_id: str
    role: str
    expire_time: float
    is_expired: bool = False
    """As stored; what the clock says comes on top (in_force)."""

    def in_force(self, now: float) -> bool:
        return not self.is_expired and self.expire_time > now


def labeler_key(labeler: str) -> str:
    """How the JSON objects name the labeler; no other text within them reads so."""
    return json.dumps(labeler) + ":"


@lru_cache(maxsize=4096)
def read(leases: str, expired_leases: str) -> Mapping[str, ItemLease]:
    """By labeler. Items of one group share their text, so most are parsed once."""
    by_labeler = {}
    for text, is_expired in ((expired_leases, True), (leases, False)):
        stored: dict[str, tuple[str, int, float]] = json.loads(text) if text else {}
        for labeler, (group_id, role, expire_time) in stored.items():
            by_labeler[labeler] = ItemLease(group_id, _ROLES[role], expire_time, is_expired)
    return MappingProxyType(by_labeler)


def write(leases: Mapping[str, ItemLease], *, now: float) -> tuple[str, str]:
    """The columns `leases` and `expired_leases`."""
    in_force = {labeler: lease for labeler, lease in leases.items() if lease.in_force(now)}
    expired = {labeler: lease for labeler, lease in leases.items() if not lease.in_force(now)}
    return _text(in_force), _text(expired)


def _text(leases: Mapping[str, ItemLease]) -> str:
    if not leases:
        return ""
    stored = {
        labeler: (lease.group_id, _ROLES.index(lease.role), lease.expire_time)
        for labeler, lease in leases.items()
    }
    return json.dumps(stored, separators=(",", ":"))
