"""Removes what nobody can need any more, some rows at a time: the queue does not grow for ever."""

from sqlalchemy import Connection

from relabel_service.queue import admin_actions, idempotency_keys
from relabel_service.queue import statements as sql

LATE_S = 7 * 24 * 3600.0  # so long after its lease expired, a result may come whose slot is free
ROWS = 1000  # of one transaction


def step(connection: Connection, *, now: float) -> bool:
    """Remove up to ROWS rows of each kind; whether there may be more."""
    values = {"before": now - LATE_S, "limit": ROWS}
    num_groups = len(sql.DELETE_EXPIRED_GROUPS(connection, values))
    num_keys = idempotency_keys.remove_old(connection, now=now, limit=ROWS)
    num_actions = admin_actions.remove_old(connection, now=now, limit=ROWS)
    return ROWS in (num_groups, num_keys, num_actions)
