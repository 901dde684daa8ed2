"""What admins did: written down before it is done, so that nothing is done that is not in it."""

import secrets
from collections.abc import Collection
from dataclasses import asdict, dataclass

from sqlalchemy import Connection, and_, delete, insert, or_, select, update

from relabel_service.queue import schema as db

KEPT_S = 400 * 24 * 3600.0  # a year, and time to look back at it


@dataclass(frozen=True)
class AdminAction:
    """One call. Times in seconds since the epoch; outcome is empty until it is over."""

    action: str
    time: float
    who: str
    method: str
    campaign: str
    request_id: str
    request: str
    outcome: str = ""
    end_time: float | None = None


def new_id() -> str:
    return secrets.token_hex(16)


def begin(connection: Connection, action: AdminAction) -> None:
    connection.execute(insert(db.admin_actions).values(asdict(action)))


def end(connection: Connection, action: str, *, outcome: str, now: float) -> None:
    row = db.admin_actions.c
    connection.execute(
        update(db.admin_actions).where(row.action == action).values(outcome=outcome, end_time=now)
    )


def page(
    connection: Connection,
    *,
    campaign: str,
    among: Collection[str] | None,
    since: float,
    who: str,
    before: tuple[float, str] | None,
    limit: int,
) -> list[AdminAction]:
    """The newest first. campaign, who: empty for all; among: campaigns, None for all.

    before: time and action of the last one of the page before this.
    """
    row = db.admin_actions.c
    query = select(db.admin_actions).where(row.time >= since)
    if campaign:
        query = query.where(row.campaign == campaign)
    if among is not None:
        query = query.where(row.campaign.in_(among))
    if who:
        query = query.where(row.who == who)
    if before is not None:
        time, action = before
        query = query.where(or_(row.time < time, and_(row.time == time, row.action < action)))
    query = query.order_by(row.time.desc(), row.action.desc()).limit(limit)
    return [AdminAction(**found._asdict()) for found in connection.execute(query)]


def remove_old(connection: Connection, *, now: float, limit: int) -> int:
    """Remove up to `limit` of those that were kept for long enough; how many there were."""
    row = db.admin_actions.c
    old = select(row.action).where(row.time < now - KEPT_S).limit(limit)
    return connection.execute(delete(db.admin_actions).where(row.action.in_(old))).rowcount
