"""How far each campaign's import or publishing is, and its last failure.

One row a campaign, for the two never overlap: the campaign's state says which it is. It is
kept in transactions of its own, so that a failure is known after the work was rolled back.
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
    """Results published so far; an import's own count is the campaign's num_imported."""
    num_total: int
    reason: str
    message: str
    update_time: float


def operations(connection: Connection, campaigns: Iterable[str]) -> Mapping[str, Operation]:
    """By campaign; those without an operation are left out."""
    rows = connection.execute(
        select(db.operations).where(db.operations.c.campaign.in_(list(campaigns)))
    )
    return {row.campaign: Operation(**row._mapping) for row in rows}


def record_progress(
    connection: Connection, campaign: str, *, num_done: int = 0, num_total: int = 0, now: float
) -> None:
    """All is well again, and num_done is done."""
    _store(connection, Operation(campaign, num_done, num_total, "", "", now))


def record_failure(
    connection: Connection, campaign: str, error: RelabelError, *, now: float
) -> None:
    """Keeps the counts of what was done before."""
    before = operations(connection, [campaign]).get(campaign)
    num_done, num_total = (before.num_done, before.num_total) if before else (0, 0)
    message = str(error).replace("\x00", "")[:MAX_MESSAGE]
    _store(
        connection, Operation(campaign, num_done, num_total, reason_of(type(error)), message, now)
    )


def clear(connection: Connection, campaign: str) -> None:
    """The campaign's state says all there is."""
    connection.execute(delete(db.operations).where(db.operations.c.campaign == campaign))


def _store(connection: Connection, operation: Operation) -> None:
    values: dict[str, Any] = asdict(operation)
    updated = connection.execute(
        update(db.operations).where(db.operations.c.campaign == operation.campaign).values(**values)
    )
    if not updated.rowcount:
        connection.execute(insert(db.operations).values(**values))
