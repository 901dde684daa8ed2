"""Backs a queue database up into one file, while it is served, and restores it into an empty one.

The file is an SQLite database with the queue's tables as they were at one moment, from whichever
kind of database. It holds personal data, as the queue does: only its owner may read it.
"""

import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, MetaData, create_engine, event, func, insert, make_url, select

from relabel_service.errors import InvalidInput, NotFound, WrongState
from relabel_service.queue import campaigns
from relabel_service.queue import schema as db
from relabel_service.queue.campaigns import Campaign
from relabel_service.queue.database_errors import database_errors
from relabel_service.queue.migrations import is_newest
from relabel_service.queue.store import Store, connect_args, open_store, shown

STREAMED = 2000  # rows copied at once
# Of the database that is restored into: what its own steps have written.
NOT_RESTORED = ("compatibility",)
INFO = "relabel_backup"


@dataclass(frozen=True)
class Backup:
    """What a backup holds. time: when it was taken, in seconds since the epoch."""

    time: float
    num_campaigns: int
    num_answers: int


def back_up(queue_url: str, path: Path) -> Backup:
    """Write the queue as it is at one moment, in place of an earlier backup there.

    Raises NotFound when there is no such queue, InvalidInput for a URL of another kind,
    Unavailable.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".backup-") as folder:
        copy = Path(folder) / path.name
        copy.touch(mode=0o600)
        taken_at = time.time()
        if make_url(queue_url).get_backend_name() == "sqlite":
            _copy_sqlite(queue_url, copy)
        else:
            _copy_server(queue_url, copy)
        with closing(sqlite3.connect(copy)) as connection, connection:
            connection.execute("PRAGMA journal_mode=DELETE")  # one file, that is all
            connection.execute(f"CREATE TABLE {INFO} (time FLOAT NOT NULL)")
            connection.execute(f"INSERT INTO {INFO} VALUES (?)", (taken_at,))
        backup = read_info(copy)
        os.replace(copy, path)
    return backup


def read_info(path: Path) -> Backup:
    """Raises NotFound where there is no file, InvalidInput where it is no backup."""
    if not path.is_file():
        raise NotFound(f"no file at {str(path)!r}; give the one that relabel backup has written")
    try:
        with closing(sqlite3.connect(path)) as connection:
            [[taken_at]] = connection.execute(f"SELECT time FROM {INFO}")
            [[num_campaigns]] = connection.execute("SELECT count(*) FROM campaigns")
            [[num_answers]] = connection.execute("SELECT count(*) FROM results")
    except sqlite3.DatabaseError as error:
        raise InvalidInput.of(
            "backup",
            f"{str(path)!r} is not a backup of a queue ({error}); relabel backup makes one",
        ) from error
    return Backup(taken_at, num_campaigns, num_answers)


def restore(path: Path, store: Store) -> bool:
    """Bring a backup into a queue without campaigns, in one transaction; False where its campaigns
    and answers are there already, as after an earlier call.

    Backups of earlier releases are brought to the present schema. Raises NotFound, InvalidInput
    where it is no backup, WrongState where the queue holds other campaigns, or fewer answers, or
    where one of the two is of a later release.
    """
    read_info(path)
    with (
        _opened(path) as source,
        source.read_transaction() as (stored, _),
        store.write_transaction(alone=True) as (connection, _),
    ):
        for one, what in ((stored, "the backup"), (connection, "the queue")):
            if not is_newest(one):
                raise WrongState(
                    f"{what} is of a later release, which has columns that this one "
                    "does not know; restore with that"
                )
        if _holds(connection, stored):
            return False
        for table in db.metadata.sorted_tables:
            if table.name not in NOT_RESTORED:
                rows = stored.execution_options(yield_per=STREAMED).execute(select(table))
                for some in rows.mappings().partitions():
                    connection.execute(insert(table), [dict(row) for row in some])
    store.analyze()
    return True


def all_campaigns(connection: Connection) -> list[Campaign]:
    found: list[Campaign] = []
    while page := campaigns.page(
        connection, after=found[-1].campaign if found else "", limit=STREAMED
    ):
        found += page
    return found


def _holds(connection: Connection, stored: Connection) -> bool:
    """Whether the queue holds all that the backup does; False where it holds nothing at all.

    Raises WrongState where it holds something else.
    """
    present = {one.campaign: one for one in all_campaigns(connection)}
    if not present:
        return False
    for one in all_campaigns(stored):
        other = present.get(one.campaign)
        num = campaigns.num_results(stored, one.campaign)
        if (
            other is None
            or (other.incarnation, other.create_time) != (one.incarnation, one.create_time)
            or campaigns.num_results(connection, one.campaign) < num
        ):
            raise WrongState(
                f"the queue holds {len(present)} campaigns, and not the {num} answers of campaign "
                f"{one.campaign!r} that the backup holds; restore into an empty database"
            )
    return True


@contextmanager
def _opened(path: Path) -> Iterator[Store]:
    """A copy of a backup, at the present schema."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "queue.db"
        shutil.copy(path, copy)
        store = open_store(f"sqlite:///{copy}")
        try:
            yield store
        finally:
            store.close()


def _copy_sqlite(queue_url: str, copy: Path) -> None:
    path = Path(make_url(queue_url).database or "")
    if not path.is_file():
        raise NotFound(f"no queue at {shown(queue_url)}; name the one that is served")
    # SQLite's own online backup: of one moment, whoever writes meanwhile.
    with (
        closing(sqlite3.connect(path)) as source,
        closing(sqlite3.connect(copy)) as target,
    ):
        source.execute("PRAGMA busy_timeout=30000")
        source.backup(target)


def _copy_server(queue_url: str, copy: Path) -> None:
    """All tables of the database, whatever release made them, in one read transaction."""
    source = create_engine(queue_url, hide_parameters=True, connect_args=connect_args(queue_url))
    target = create_engine(f"sqlite:///{copy}", hide_parameters=True)
    tables = MetaData()
    event.listen(tables, "column_reflect", _generic)
    reading = source.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    try:
        with database_errors("postgresql"), reading.begin() as stored, target.begin() as written:
            tables.reflect(stored)
            if db.campaigns.name not in tables.tables:
                raise NotFound(f"no queue in {shown(queue_url)}; name the one that is served")
            tables.create_all(written)
            for table in tables.sorted_tables:
                rows = stored.execution_options(yield_per=STREAMED).execute(select(table))
                for some in rows.mappings().partitions():
                    written.execute(insert(table), [dict(row) for row in some])
                num = stored.execute(select(func.count()).select_from(table)).scalar_one()
                copied = written.execute(select(func.count()).select_from(table)).scalar_one()
                assert num == copied, f"{copied} of {num} rows of {table.name}"
    finally:
        source.dispose()
        target.dispose()


def _generic(_inspector: object, _table: object, column: dict[str, object]) -> None:
    """A column's type as SQLite has it, too."""
    column["type"] = column["type"].as_generic()  # type: ignore[attr-defined]
