"""What whoever waits for items needs to know of a campaign, in one look. Takes no locks."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection

from relabel_service.queue import campaigns
from relabel_service.queue import statements as sql
from relabel_service.queue.lease import WAITING


@dataclass(frozen=True)
class Vacancies:
    """A campaign at one moment."""

    state: str
    """The campaign's."""
    roles: frozenset[str]
    """Those for which items may be free; not for every labeler."""
    next_expiry_s: float | None
    """Until the next lease expires, or a delay ends; None where there is none."""
    num_leased: Mapping[str, int]
    """Leases in force, of the labelers that were asked about; those without any are left out."""


def look(
    connection: Connection, campaign: str, *, labelers: Collection[str], now: float
) -> Vacancies:
    """labelers: whose leases are to be counted. Raises NotFound."""
    state = campaigns.get(connection, campaign).state
    roles: set[str] = set()
    expiries_s: list[float] = []
    for role, waiting in WAITING.items():
        values = {"campaign": campaign, "role": role}
        expiries_s += [time - now for (time,) in sql.NEXT_EXPIRY(connection, values)]
        has_expired = bool(expiries_s) and expiries_s[-1] <= 0
        if has_expired or sql.ANY_WAITING[waiting](connection, {"campaign": campaign}):
            roles.add(role)
    num_leased: dict[str, int] = {}
    if labelers:
        asked = {"campaign": campaign, "labelers": list(labelers), "now": now}
        num_leased = {name: int(num) for name, num in sql.COUNT_LEASED(connection, asked)}
    later_s = [expiry_s for expiry_s in expiries_s if expiry_s > 0]
    return Vacancies(state, frozenset(roles), min(later_s, default=None), num_leased)
