"""Campaigns say which of several of one id they are; those that are there already do not."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("campaigns", sa.Column("incarnation", sa.Text))
