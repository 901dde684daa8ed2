"""What the databases raise, in the error family: whoever calls is told what to do.

All of these pass with time or with an operator's help, so all but a missing table are Unavailable:
the request may be sent again with the same request_id. What is not named here is a fault of this
program and stays as it is, for the log.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy.exc import (
    DBAPIError,
    InterfaceError,
    InternalError,
    OperationalError,
    ProgrammingError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from relabel_service.errors import RelabelError, Unavailable, WrongState

AGAIN = "send the request again, with the same request_id"
NO_ROOM = f"the disk of the queue's database is full; make room there, then {AGAIN}"

# By SQLSTATE (postgresql.org/docs/current/errcodes-appendix.html).
POSTGRESQL: dict[str, str] = {
    "53100": NO_ROOM,
    "53300": f"the queue's database takes no more connections; {AGAIN}",
    "57014": f"the queue's database took too long and was stopped; {AGAIN}",
    "55P03": f"another call holds what this one needs for too long; {AGAIN}",
    "25006": f"the queue's database only reads, as after a failover; {AGAIN}",
    "25P03": f"the queue's database ended a transaction that stood idle; {AGAIN}",
}
SQLITE: dict[int, str] = {sqlite3.SQLITE_FULL: NO_ROOM}


@contextmanager
def database_errors(database: str, on_full: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Within it, errors of the database come out as the family's. database: "sqlite" or so.

    on_full: called when its disk is full.
    """
    try:
        yield
    except SQLAlchemyError as error:
        told = in_family(error, database)
        if told is None:
            raise
        if str(told) == NO_ROOM:
            on_full()
        raise told from error


def in_family(error: SQLAlchemyError, database: str) -> RelabelError | None:
    """The error as whoever calls is told of it; None where it is a fault of this program."""
    if isinstance(error, PoolTimeoutError):
        return Unavailable(
            f"all connections to the queue's {database} database are in use; {AGAIN}"
        )
    if not isinstance(error, DBAPIError):
        return None
    cause = error.orig
    sqlstate, code = getattr(cause, "sqlstate", None), getattr(cause, "sqlite_errorcode", None)
    message = POSTGRESQL.get(sqlstate or "") or SQLITE.get(code or -1)
    if message is not None:
        return Unavailable(message)
    if (isinstance(error, ProgrammingError) and sqlstate == "42P01") or _lacks_table(cause):
        return WrongState(
            f"the queue's {database} database has not the tables it had at the start; restore it, "
            "or start the service anew, which makes them"
        )
    if isinstance(error, OperationalError | InterfaceError | InternalError):
        return Unavailable(
            f"the queue's {database} database did not answer ({type(cause).__name__}); {AGAIN}"
        )
    return None


def _lacks_table(cause: BaseException | None) -> bool:
    return isinstance(cause, sqlite3.OperationalError) and "no such table" in str(cause)
