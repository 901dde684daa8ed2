"""Campaigns say whether suggestions would tell gold or audit items apart."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("campaigns", sa.Column("hides_suggestions", sa.Boolean))
