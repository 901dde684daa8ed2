"""What has come of each campaign's import, or of publishing it: progress, and the last failure.

One row a campaign, for the two never overlap: the campaign's state says which it is. It is
kept in transactions of its own, so that a failure is told after the work was rolled back.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from relabel_service.errors import RelabelError, reason_of
from relabel_service.queue import schema as db

MAX_MESSAGE = 2000  # characters


@dataclass(frozen=True)
class Operation:
    """update_time in seconds since the epoch. reason and message are empty while all is well."""

    campaign: str
    num_done: int
    """Answers published so far; an import's own count is the campaign's num_imported."""
    num_total: int
    reason: str
    message: str
    update_time: float


def of(connection: Connection, campaigns: Iterable[str]) -> Mapping[str, Operation]:
    """By campaign; without those that nothing is told of."""
    rows = connection.execute(
        select(db.operations).where(db.operations.c.campaign.in_(list(campaigns)))
    )
    return {row.campaign: Operation(**row._mapping) for row in rows}


def goes_on(
    connection: Connection, campaign: str, *, num_done: int = 0, num_total: int = 0, now: float
) -> None:
    """All is well again, and so much is done."""
    _keep(connection, Operation(campaign, num_done, num_total, "", "", now))


def failed(connection: Connection, campaign: str, error: RelabelError, *, now: float) -> None:
    """What was done before stays told."""
    known = of(connection, [campaign]).get(campaign)
    num_done, num_total = (known.num_done, known.num_total) if known else (0, 0)
    told = str(error).replace("\x00", "")[:MAX_MESSAGE]
    _keep(connection, Operation(campaign, num_done, num_total, reason_of(type(error)), told, now))


def ended(connection: Connection, campaign: str) -> None:
    """There is nothing to tell but the campaign's state."""
    connection.execute(delete(db.operations).where(db.operations.c.campaign == campaign))


def _keep(connection: Connection, operation: Operation) -> None:
    values: dict[str, Any] = asdict(operation)
    kept = connection.execute(
        update(db.operations).where(db.operations.c.campaign == operation.campaign).values(**values)
    )
    if not kept.rowcount:
        connection.execute(insert(db.operations).values(**values))
