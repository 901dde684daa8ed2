"""The leases on one item that may still answer, as its row in `queue` keeps them.

Two JSON objects by labeler: `holders`, in force when the row was last written, and `lapsed`,
which had expired: those fill their slots until somebody needs them. What has lapsed stays so
unless it is extended: a transaction that was slow since it read the time must not take a
lease to be in force whose slot another one has already freed.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

LABELER, ADJUDICATOR = "labeler", "adjudicator"
_ROLES = (LABELER, ADJUDICATOR)


@dataclass(frozen=True)
class Hold:
    """One labeler's lease on one item. expire_time in seconds since the epoch."""

    batch: str
    role: str
    expire_time: float
    is_lapsed: bool = False

    def in_force(self, now: float) -> bool:
        return not self.is_lapsed and self.expire_time > now


def holder(labeler: str) -> str:
    """How a JSON object names the labeler: within it nothing else reads so."""
    return json.dumps(labeler) + ":"


@lru_cache(maxsize=4096)
def read(holders: str, lapsed: str) -> Mapping[str, Hold]:
    """By labeler. Items of one batch share their text, so most are read once."""
    found = {}
    for text, is_lapsed in ((lapsed, True), (holders, False)):
        kept: dict[str, tuple[str, int, float]] = json.loads(text) if text else {}
        for labeler, (batch, role, expire_time) in kept.items():
            found[labeler] = Hold(batch, _ROLES[role], expire_time, is_lapsed)
    return MappingProxyType(found)


def write(holds: Mapping[str, Hold], *, now: float) -> tuple[str, str]:
    """holders and lapsed."""
    in_force = {name: one for name, one in holds.items() if one.in_force(now)}
    lapsed = {name: one for name, one in holds.items() if not one.in_force(now)}
    return _text(in_force), _text(lapsed)


def _text(holds: Mapping[str, Hold]) -> str:
    if not holds:
        return ""
    kept = {
        labeler: (one.batch, _ROLES.index(one.role), one.expire_time)
        for labeler, one in holds.items()
    }
    return json.dumps(kept, separators=(",", ":"))
