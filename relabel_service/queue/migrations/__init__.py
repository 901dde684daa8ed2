"""Brings a queue database to the newest schema, one numbered step after another (alembic).

A new step: change schema.py, add versions/NNNN_name.py; a test holds that the
steps together make exactly schema.py.
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import Connection, Engine, text

from relabel_service.errors import WrongState

FOLDER = Path(__file__).parent
LOCK = 0x72656C61  # PostgreSQL: replicas that start together migrate one after another


def configuration(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    config.attributes["connection"] = connection
    return config


def migrate(engine: Engine) -> None:
    """Take the steps that are still to be taken, in one transaction.

    Raises WrongState when the database is of a newer release.
    """
    with engine.begin() as connection:  # SQLite: the write lock, from the start
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        config = configuration(connection)
        newest = ScriptDirectory.from_config(config).get_current_head()
        present = MigrationContext.configure(connection).get_current_revision()
        if present == newest:
            return
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise WrongState(
                f"the queue database is at schema {present!r}, which this release does not know "
                f"({error}); run the release that made it, or a newer one"
            ) from error
