"""SQLite's statistics are of items alone: one of a table that had one row had it read from end to
end (SqliteStore.analyze)."""

from alembic import op
from sqlalchemy import inspect

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    connection = op.get_bind()
    if connection.dialect.name == "sqlite" and inspect(connection).has_table("sqlite_stat1"):
        op.execute("DELETE FROM sqlite_stat1 WHERE tbl NOT IN ('queue', 'items')")
