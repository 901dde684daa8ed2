"""Brings a queue database to the newest schema, one numbered step after another (alembic).

A new step: change schema.py, add versions/NNNN_name.py; a test holds that the
steps together make exactly schema.py.

Steps expand before they contract: a step after the last release adds tables, columns and indexes
that the last release's code can do without, so that both run on one database while replicas are
replaced one by one. What takes something away waits for the release after, and says so with
OLDEST: the schema whose code is the oldest that may still run.
"""

import functools
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import Connection, Engine, inspect, text

from relabel_service.errors import WrongState

FOLDER = Path(__file__).parent
LOCK = 0x72656C61  # PostgreSQL: replicas that start together migrate one after another
OLDEST = "0006"


def configuration(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    config.attributes["connection"] = connection
    return config


def migrate(engine: Engine) -> None:
    """Take the steps that are still to be taken, in one transaction.

    A database of a newer release is left as it is, where that release has said that code of this
    one may run on it. Raises WrongState where it has not.
    """
    with engine.begin() as connection:  # SQLite: the write lock, from the start
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        present = MigrationContext.configure(connection).get_current_revision()
        if present == _scripts().get_current_head():
            return
        known = {script.revision for script in _scripts().walk_revisions()}
        if present is not None and present not in known and _oldest(connection) in known:
            return
        try:
            command.upgrade(configuration(connection), "head")
        except CommandError as error:
            raise WrongState(
                f"the queue database is at schema {present!r}, which this release does not know "
                f"({error}); run the release that made it, or a newer one"
            ) from error
        connection.execute(text("DELETE FROM compatibility"))
        connection.execute(text("INSERT INTO compatibility VALUES (:oldest)"), {"oldest": OLDEST})


def is_newest(connection: Connection) -> bool:
    """Whether the database is at this release's schema, rather than at a later one."""
    present = MigrationContext.configure(connection).get_current_revision()
    return present == _scripts().get_current_head()


@functools.cache
def _scripts() -> ScriptDirectory:
    """Every step, which reading takes longer than looking at a database that has them all."""
    return ScriptDirectory(str(FOLDER))


def _oldest(connection: Connection) -> str | None:
    """The oldest schema whose code may run on the database, as its release has said."""
    if not inspect(connection).has_table("compatibility"):
        return None
    return connection.execute(text("SELECT oldest FROM compatibility")).scalar()
