"""Campaigns on which somebody works in the background: one worker at a time, whoever comes first.

A lease spares work that would be done twice; what makes it happen once is each step's own
transaction. So a worker that dies, or is slower than its lease, does no harm.
"""

from collections.abc import Sequence

from sqlalchemy import Connection, and_, delete, select

from relabel_service.queue import schema as db
from relabel_service.queue import statements as sql


def waiting(connection: Connection, states: Sequence[str], *, now: float) -> list[tuple[str, str]]:
    """Campaign and state of those in such a state on which nobody works now."""
    lease = db.background_leases.c
    query = (
        select(db.campaigns.c.campaign, db.campaigns.c.state)
        .outerjoin(
            db.background_leases,
            and_(lease.campaign == db.campaigns.c.campaign, lease.expire_time > now),
        )
        .where(db.campaigns.c.state.in_(states), lease.campaign.is_(None))
        .order_by(db.campaigns.c.create_time)
    )
    return [(campaign, state) for campaign, state in connection.execute(query)]


def take(
    connection: Connection, campaign: str, *, worker: str, expire_time: float, now: float
) -> bool:
    """Whether the campaign is the worker's now, until expire_time."""
    values = {"campaign": campaign, "worker": worker, "expire_time": expire_time, "now": now}
    return bool(sql.TAKE_BACKGROUND_LEASE(connection, values))


def give_back(connection: Connection, campaign: str, *, worker: str) -> None:
    """Somebody else may work on it at once."""
    lease = db.background_leases.c
    connection.execute(
        delete(db.background_leases).where(lease.campaign == campaign, lease.worker == worker)
    )
