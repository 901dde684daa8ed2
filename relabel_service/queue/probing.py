"""Pooled connections are probed before use where they may be dead, rather than each time.

That is when nobody used one for some time, or when another one broke since. A probe each time
(SQLAlchemy's pool_pre_ping) is one more round trip for every call.
"""

import time
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.exc import DisconnectionError

IDLE_S = 5.0


class Probing:
    """Listens to one engine's pool. Safe to use from several threads."""

    def __init__(self, engine: Engine) -> None:
        self._broke_at = float("-inf")
        event.listen(engine, "checkin", self._used)
        event.listen(engine, "checkout", self._probe)
        event.listen(engine, "invalidate", self._broke)

    def _used(self, _connection: object, record: Any) -> None:
        record.info["used_at"] = time.monotonic()

    def _broke(self, *_: object) -> None:
        self._broke_at = time.monotonic()

    def _probe(self, connection: Any, record: Any, _proxy: object) -> None:
        """Raises DisconnectionError where nobody answers; then the pool connects anew."""
        now = time.monotonic()
        used_at = record.info.get("used_at", now)
        if now - used_at < IDLE_S and used_at > self._broke_at:
            return
        try:
            connection.execute("SELECT 1")
            connection.rollback()
        except Exception as error:
            raise DisconnectionError(str(error)) from error
