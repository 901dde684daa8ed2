"""The queue's databases behind one Protocol: SQLite for one replica, PostgreSQL for several.

A write transaction has its caller and its campaign to itself as far as it needs
(see Store.write_transaction), and one clock tells the time to all replicas. Whatever a
database raises when it cannot be reached becomes Unavailable: the request may
be sent again with the same request_id.
"""

import fcntl
import hashlib
import logging
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Any, Protocol

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import (
    ArgumentError,
    InterfaceError,
    NoSuchModuleError,
    OperationalError,
)

from relabel_service.errors import InvalidInput, Unavailable, WrongState
from relabel_service.queue import schema as db
from relabel_service.queue.database_errors import database_errors
from relabel_service.queue.driver import Statement, begin_later, flush
from relabel_service.queue.group_commit import GroupCommit
from relabel_service.queue.migrations import migrate
from relabel_service.queue.probing import Probing

POOL_SIZE = 32
POOL_WAIT_S = 10.0
RETRY_S = 2.0
# A silent partition or failover is noticed within about 30 s: quiet lines are probed, and sent
# data that nobody acknowledges ends the connection (libpq's parameters; seconds, milliseconds).
REACH = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": 30_000,
}
# Of each transaction, set within it: PgBouncer in transaction pooling keeps no session's settings,
# and refuses those of a connection (1.18).
TIMEOUTS = {
    "statement_timeout": "60s",
    "lock_timeout": "30s",
    "idle_in_transaction_session_timeout": "60s",
}
SET_TIMEOUTS = ", ".join(f"set_config('{name}', :{name}, true)" for name in TIMEOUTS)

BEGIN_READING = Statement(f"SELECT {SET_TIMEOUTS}, extract(epoch FROM clock_timestamp())")
BEGIN_WRITING = {
    alone: Statement(
        f"SELECT {SET_TIMEOUTS}, pg_advisory_xact_lock(:caller), "
        f"pg_advisory_xact_lock{'' if alone else '_shared'}(:campaign), "
        "extract(epoch FROM clock_timestamp())"
    )
    for alone in (False, True)
}

# The same without waiting: the locks that are free.
BEGIN_SHARED = Statement(f"""
    SELECT {SET_TIMEOUTS}, pg_try_advisory_xact_lock_shared(:campaign),
        ARRAY(SELECT key FROM unnest(CAST(:callers AS bigint[])) AS key
            WHERE pg_try_advisory_xact_lock(key)),
        extract(epoch FROM clock_timestamp())
""")

INCREMENTAL = 2  # SQLite's auto_vacuum: free pages go back when asked for
ANALYZED_ROWS = 1000  # of each index, so that a million items are looked at in a moment
VACUUM_PAGES = 2000  # of one transaction: 8 MB

logger = logging.getLogger("ray.serve")

IS_PROBE = db.idempotency_keys.c.labeler == ""
PROBE = db.idempotency_keys.insert().values(
    labeler="", request_id="", fingerprint="", cached_response=bytes(1 << 14), create_time=0.0
)

Clock = Callable[[], float]
Moment = tuple[Connection, float]  # an open transaction, and its time in seconds since the epoch


class Store(Protocol):
    """A queue database at the newest schema. Every method raises Unavailable."""

    @property
    def max_replicas(self) -> int | None:
        """How many processes may open it at once; None: any number."""

    def read_transaction(self) -> AbstractContextManager[Moment]:
        """A transaction that sees one state of the database and changes nothing."""

    def write_transaction(
        self, *, caller: str = "", campaign: str = "", alone: bool = False
    ) -> AbstractContextManager[Moment]:
        """A transaction that no other one of the same caller overlaps.

        With `alone`, no other one of the campaign does either. It is durable
        when the block ends, or leaves nothing when the block raises.
        """

    def shared_transaction(
        self, *, callers: Sequence[str], campaign: str
    ) -> AbstractContextManager[tuple[Connection, float, Collection[str]]]:
        """One write transaction for several callers; last, those of them that it is for.

        It waits for no other transaction: a caller, or a campaign, that another one has to
        itself is left out.
        """

    def ping(self) -> None:
        """Return where the database answers: and takes writes, if its disk was full."""

    def analyze(self) -> None:
        """Tell the query planner about the tables, as after a bulk load."""

    def give_back(self) -> bool:
        """Give free room back to the file system, a step at a time; whether there is more."""

    def close(self) -> None:
        """Close the connections that no transaction uses."""


class _Room:
    """Whether the database's disk was full when it was last written."""

    def __init__(self) -> None:
        self.is_full = False

    def on_full(self) -> None:
        self.is_full = True

    def check(self, store: Store) -> None:
        """Raises Unavailable while a write still finds no room."""
        if self.is_full:
            with store.write_transaction() as (connection, _):
                connection.execute(PROBE)
                connection.execute(db.idempotency_keys.delete().where(IS_PROBE))
            self.is_full = False


class SqliteStore:
    """One writer at a time, synchronous=FULL: a commit is on the disk before a call returns,
    so that OK survives SIGKILL and power loss (sqlite.org/pragma.html#pragma_synchronous)."""

    max_replicas = 1
    is_server = False

    def __init__(self, url: str, clock: Clock | None = None) -> None:
        self._clock = clock or time.time
        self._room = _Room()
        self._lock = _lock_file(url)
        self._engine = create_engine(
            url,
            pool_size=POOL_SIZE,
            max_overflow=0,
            pool_timeout=POOL_WAIT_S,
            hide_parameters=True,
            connect_args={"check_same_thread": False},
        )
        event.listen(self._engine, "connect", _durable)
        event.listen(self._engine, "begin", _begin)
        self._reader = self._engine.execution_options(sqlite_reads=True)
        self._writers = GroupCommit(self._engine)  # SQLite's own waiting sleeps in steps
        _migrate(self)
        self._make_shrinkable()

    def _make_shrinkable(self) -> None:
        """Files of earlier releases keep their free pages: such a one is written anew, once."""
        with database_errors("sqlite"), self._engine.connect() as connection:
            raw: Any = connection.connection.dbapi_connection
            if raw.execute("PRAGMA auto_vacuum").fetchone()[0] == INCREMENTAL:
                return
            raw.execute(f"PRAGMA auto_vacuum={INCREMENTAL}")
            try:
                raw.execute("VACUUM")
            except sqlite3.OperationalError as error:
                logger.warning(
                    "the queue's file does not shrink when campaigns are deleted (%s): it takes "
                    "as much free disk as the file has; make room, and start again",
                    error,
                )

    @contextmanager
    def read_transaction(self) -> Iterator[Moment]:
        with database_errors("sqlite"), self._reader.begin() as connection:
            yield connection, self._clock()

    @contextmanager
    def write_transaction(
        self, *, caller: str = "", campaign: str = "", alone: bool = False
    ) -> Iterator[Moment]:
        with (
            database_errors("sqlite", self._room.on_full),
            self._writers.write_transaction() as connection,
        ):
            yield connection, self._clock()

    @contextmanager
    def shared_transaction(
        self, *, callers: Sequence[str], campaign: str
    ) -> Iterator[tuple[Connection, float, Collection[str]]]:
        with self.write_transaction() as (connection, now):  # the only one
            yield connection, now, callers

    def ping(self) -> None:
        with self.read_transaction() as (connection, _):
            connection.execute(text("SELECT 1"))
        self._room.check(self)

    def analyze(self) -> None:
        # Of what an import fills alone: a table that has one row by now is taken for one that
        # still has, and read from end to end, however many come (SQLite 3.40).
        with self.write_transaction() as (connection, _):
            connection.execute(text(f"PRAGMA analysis_limit={ANALYZED_ROWS}"))
            for table in ("queue", "items"):
                connection.execute(text(f"ANALYZE {table}"))

    def give_back(self) -> bool:
        with self.read_transaction() as (connection, _):
            num_free = int(connection.execute(text("PRAGMA freelist_count")).scalar_one())
        if not num_free:
            return False
        with self.write_transaction() as (connection, _):
            raw: Any = connection.connection.dbapi_connection
            for _ in range(min(num_free, VACUUM_PAGES)):
                raw.execute("PRAGMA incremental_vacuum(1)")  # one step, whatever number it is given
        if num_free > VACUUM_PAGES:
            return True
        with self._engine.connect() as connection:  # the file shrinks when the log is in it
            raw = connection.connection.dbapi_connection
            raw.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        return False

    def close(self) -> None:
        self._engine.dispose()
        self._lock.close()


class PostgresStore:
    """Any number of writers. Queries lock rows; labelers and campaigns are locked by name here."""

    max_replicas = None
    is_server = True

    def __init__(self, url: str, clock: Clock | None = None) -> None:
        self._clock = clock
        self._room = _Room()
        self._engine: Engine = create_engine(
            url,
            pool_size=POOL_SIZE,
            max_overflow=0,
            pool_timeout=POOL_WAIT_S,
            hide_parameters=True,
            connect_args=connect_args(url),
        )
        Probing(self._engine)
        # Health is asked on a connection of its own, however busy the others are.
        self._pinger = create_engine(
            url, pool_size=1, max_overflow=0, connect_args=connect_args(url)
        )
        self._reader = self._engine.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )
        _migrate(self)

    @contextmanager
    def read_transaction(self) -> Iterator[Moment]:
        with database_errors("postgresql"), self._reader.begin() as connection:
            [[*_, time]] = BEGIN_READING(connection, TIMEOUTS)
            yield connection, self._time(time)

    @contextmanager
    def write_transaction(
        self, *, caller: str = "", campaign: str = "", alone: bool = False
    ) -> Iterator[Moment]:
        # READ COMMITTED on purpose: each statement after the locks sees what was committed
        # before they were granted. The database's clock, since hosts' clocks differ.
        names = {"caller": _key("caller", caller), "campaign": _key("campaign", campaign)}
        with (
            database_errors("postgresql", self._room.on_full),
            self._engine.begin() as connection,
        ):
            [[*_, time]] = BEGIN_WRITING[alone](connection, TIMEOUTS | names)
            begin_later(connection)
            yield connection, self._time(time)
            flush(connection)

    @contextmanager
    def shared_transaction(
        self, *, callers: Sequence[str], campaign: str
    ) -> Iterator[tuple[Connection, float, Collection[str]]]:
        by_key = {_key("caller", caller): caller for caller in callers}
        names = {"callers": list(by_key), "campaign": _key("campaign", campaign)}
        with (
            database_errors("postgresql", self._room.on_full),
            self._engine.begin() as connection,
        ):
            [[*_, has_campaign, locked, time]] = BEGIN_SHARED(connection, TIMEOUTS | names)
            begin_later(connection)
            yield connection, self._time(time), [by_key[key] for key in locked if has_campaign]
            flush(connection)

    def ping(self) -> None:
        with database_errors("postgresql"), self._pinger.begin() as connection:
            connection.execute(text("SELECT set_config('statement_timeout', '5s', true)"))
            connection.execute(text("SELECT 1 FROM campaigns LIMIT 1"))
        self._room.check(self)

    def analyze(self) -> None:
        with self.write_transaction() as (connection, _):
            connection.execute(text("SET LOCAL statement_timeout = 0"))
            connection.execute(text("ANALYZE queue, items"))

    def give_back(self) -> bool:
        return False  # autovacuum does

    def close(self) -> None:
        self._engine.dispose()
        self._pinger.dispose()

    def _time(self, database_time: Any) -> float:
        return self._clock() if self._clock else float(database_time)


STORES: dict[str, type[SqliteStore] | type[PostgresStore]] = {
    "sqlite": SqliteStore,
    "postgresql": PostgresStore,
}


def connect_args(url: str) -> dict[str, Any]:
    """Of a database server's driver: without prepared statements, which PgBouncer gives to
    whichever session comes next."""
    arguments: dict[str, Any] = dict(REACH)
    if make_url(url).get_driver_name() == "psycopg":
        arguments["prepare_threshold"] = None
    return arguments


def open_store(url: str, *, clock: Clock | None = None) -> Store:
    """Open the queue database at a SQLAlchemy URL, brought to the newest schema.

    clock: seconds since the epoch, in place of the store's own; for tests.
    Makes a SQLite database's folder. Raises InvalidInput for a URL of another kind or of a driver
    that is not installed, Unavailable.
    """
    try:
        return _store_type(url)(url, clock)
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        raise InvalidInput.of(
            "queue_url",
            f"{shown(url)} needs a database driver that is not installed ({error}); "
            "use postgresql+psycopg://USER@HOST/DATABASE",
        ) from error


def open_when_reachable(url: str, *, on_wait: Callable[[str], None]) -> Store:
    """As open_store, but a database server that does not answer is waited for.

    on_wait: called with the reason each time it has not answered.
    """
    while True:
        try:
            return open_store(url)
        except Unavailable as error:
            if not _store_type(url).is_server:
                raise
            on_wait(f"{error}; waiting for it")
            time.sleep(RETRY_S)


def wait_until_reachable(url: str, *, on_wait: Callable[[str], None]) -> None:
    """Return once the database has been opened, and closed again. Raises as open_store does, but
    waits for a server that does not answer."""
    open_when_reachable(url, on_wait=on_wait).close()


def check_replicas(url: str, num_replicas: int) -> None:
    """Raises InvalidInput when the database at `url` cannot serve so many replicas."""
    most = _store_type(url).max_replicas
    if num_replicas < 1 or (most is not None and num_replicas > most):
        allowed = f"from 1 to {most}" if most else "1 or more"
        raise InvalidInput.of(
            "replicas",
            f"{num_replicas} replicas cannot share the queue {shown(url)}, which takes {allowed}; "
            "use a postgresql+psycopg:// queue for several",
        )


def absolute_url(url: str) -> str:
    """The same database for a process with another working folder, as a Serve replica is."""
    prefix = "sqlite:///"
    if not url.startswith(prefix):
        return url
    return prefix + str(Path(url.removeprefix(prefix)).absolute())


def _lock_file(url: str) -> IO[bytes]:
    """Locked while the database is open, so that a second replica is refused.

    Makes the database's folder.
    """
    path = Path(make_url(url).database or "")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)  # items hold personal data; SQLite's other files take the same mode
        lock = path.with_name(path.name + ".lock").open("wb")
    except OSError as error:
        raise Unavailable(
            f"the queue's folder {str(path.parent)!r} cannot be written ({error.strerror}); "
            "make it writable, or name another"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # goes with the process, however it ends
    except OSError:
        lock.close()
        raise WrongState(
            f"another replica has the queue {shown(url)}, and SQLite takes one; stop it, or use "
            "a postgresql+psycopg:// queue for several"
        ) from None
    return lock


def _store_type(url: str) -> type[SqliteStore] | type[PostgresStore]:
    try:
        kind = make_url(url).get_backend_name()
    except ArgumentError:
        kind = ""
    if kind not in STORES:
        raise InvalidInput.of(
            "queue_url",
            f"{shown(url)} is not a queue database; use sqlite:///FILE or "
            "postgresql+psycopg://USER@HOST/DATABASE",
        )
    return STORES[kind]


def shown(url: str) -> str:
    """The URL without its password."""
    try:
        return repr(make_url(url).render_as_string(hide_password=True))
    except ArgumentError:
        return "the queue's URL"


def _migrate(store: SqliteStore | PostgresStore) -> None:
    try:
        migrate(store._engine)
    except (OperationalError, InterfaceError) as error:
        store.close()
        reason = str(error.orig).partition("\n")[0]
        url = store._engine.url.render_as_string()
        raise Unavailable(f"the queue {shown(url)} cannot be opened: {reason}") from error
    except BaseException:
        store.close()
        raise


def _key(kind: str, name: str) -> int:
    """A lock's number. Two names that share one only wait for each other."""
    digest = hashlib.blake2b(f"{kind}/{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, signed=True)


def _durable(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver's own BEGIN would come late and shared
    for pragma in (
        f"auto_vacuum={INCREMENTAL}",  # of a new file; before WAL, which writes its first page
        "journal_mode=WAL",
        "synchronous=FULL",
        "busy_timeout=30000",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    # A writer takes the lock with its first statement: what it reads stays true until it commits.
    reads = connection.get_execution_options().get("sqlite_reads")
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")
