"""One commit for several writers that come at the same time.

SQLite has one writer, and a durable commit waits for the disk longer than a batch of
leases takes to compute. So while others wait their turn the transaction stays open for
them, each in a savepoint of its own, and no call returns before the commit that
they share. PostgreSQL does the same inside (commit_siblings).
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Engine, RootTransaction
from sqlalchemy.exc import OperationalError

from relabel_service.errors import Unavailable

GONE = (
    "the queue's sqlite database took a transaction back that several calls shared; look at its "
    "disk, and send the request again, with the same request_id"
)
MAX_WRITERS = 64  # of one commit, so that the first does not wait without end


@dataclass
class _Shared:
    """A transaction that several writers share."""

    connection: Connection
    transaction: RootTransaction
    num_writers: int = 0
    done: threading.Event = field(default_factory=threading.Event)
    error: Exception | None = None


class GroupCommit:
    """Gives writers their turns. Safe to use from many threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._turn = threading.Lock()
        self._count = threading.Lock()
        self._num_waiting = 0
        self._open: _Shared | None = None  # changed only by whose turn it is

    @contextmanager
    def write_transaction(self) -> Iterator[Connection]:
        """A transaction: durable when the block ends, or without trace when it raises."""
        shared = self._enter()
        try:
            with _savepoint(shared.connection):
                yield shared.connection
        finally:
            self._leave(shared)
        shared.done.wait()
        if shared.error is not None:
            raise shared.error

    def _enter(self) -> _Shared:
        with self._count:
            self._num_waiting += 1
        self._turn.acquire()
        with self._count:
            self._num_waiting -= 1
        if self._open is None:
            try:
                connection = self._engine.connect()
                self._open = _Shared(connection, connection.begin())
            except BaseException:
                self._turn.release()
                raise
        return self._open

    def _leave(self, shared: _Shared) -> None:
        """Hand the transaction on to whoever waits; the last one commits."""
        shared.num_writers += 1
        is_gone = _is_gone(shared.connection)
        with self._count:
            is_last = self._num_waiting == 0 or shared.num_writers >= MAX_WRITERS
        if is_last or is_gone:
            self._open = None
            try:
                if is_gone:
                    raise Unavailable(GONE)
                shared.transaction.commit()
            except Exception as error:
                shared.error = error
                shared.connection.invalidate(error)  # whatever it still has open goes with it
            finally:
                shared.connection.close()
                shared.done.set()
        self._turn.release()


@contextmanager
def _savepoint(connection: Connection) -> Iterator[None]:
    """What SQLAlchemy's begin_nested() does, at half its price."""
    connection.exec_driver_sql("SAVEPOINT writer")
    try:
        yield
    except BaseException:
        with suppress(OperationalError):  # where SQLite took everything back, and it with it
            connection.exec_driver_sql("ROLLBACK TO writer")
            connection.exec_driver_sql("RELEASE writer")
        raise
    connection.exec_driver_sql("RELEASE writer")


def _is_gone(connection: Connection) -> bool:
    """SQLite may take a transaction back by itself: full disk, failed read or write, no memory
    (sqlite.org/lang_transaction.html). A commit would then say nothing."""
    if connection.invalidated:
        return True
    driver: Any = connection.connection.dbapi_connection
    return not driver.in_transaction
