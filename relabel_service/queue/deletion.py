"""Removing a campaign and all that belongs to it, in small transactions that may be repeated.

Contents hold personal data. The campaign's row goes last: while it is there, somebody goes on.
"""

from sqlalchemy import Connection, Table, delete, select, tuple_

from relabel_service.errors import WrongState
from relabel_service.queue import campaigns
from relabel_service.queue import schema as db
from relabel_service.queue.campaigns import Campaign

DELETING = "deleting"
ROWS = 500  # of one transaction; rows may be as large as pictures
DAY_S = 24 * 3600.0
TABLES = (
    db.items,
    db.queue,
    db.results,
    db.withdrawn_results,
    db.lease_groups,
    db.idempotency_keys,
    db.operations,
)


def begin(
    connection: Connection, campaign: str, *, force: bool, revision: int | None = None
) -> Campaign:
    """From now on the campaign does nothing but vanish. Begun again it changes nothing.

    Raises NotFound, Conflict when the revision is another, and WrongState where answers are
    unpublished, unless forced.
    """
    present = campaigns.get(connection, campaign)
    if present.state == DELETING:
        return present
    num_results = campaigns.num_results(connection, campaign)
    if present.state != "finalized" and num_results and not force:
        raise WrongState(
            f"campaign {campaign!r} is {present.state} and has {num_results} answers that are not "
            "published; finalize it first, or force the deletion to lose them"
        )
    return campaigns.move(
        connection, campaign, to=DELETING, among=[present.state], revision=revision
    )


def begin_overdue(connection: Connection, *, days: float, now: float) -> list[str]:
    """Begin with campaigns that were finalized so long ago; their ids."""
    row = db.campaigns.c
    query = select(row.campaign).where(
        row.state == "finalized", row.finalize_time <= now - days * DAY_S
    )
    overdue = list(connection.execute(query).scalars())
    for campaign in overdue:
        begin(connection, campaign, force=False)
    return overdue


def step(connection: Connection, campaign: str) -> bool:
    """Remove up to ROWS rows; whether there may be more. finish() removes what came meanwhile."""
    return any(_remove(connection, table, campaign) for table in TABLES)


def finish(connection: Connection, campaign: str) -> None:
    """Remove what is left, and the campaign itself: in a transaction alone with it."""
    for table in (*TABLES, db.background_leases, db.campaigns):
        connection.execute(delete(table).where(table.c.campaign == campaign))


def _remove(connection: Connection, table: Table, campaign: str) -> int:
    key = list(table.primary_key.columns)
    rows = select(*key).where(table.c.campaign == campaign).limit(ROWS)
    return connection.execute(delete(table).where(tuple_(*key).in_(rows))).rowcount
