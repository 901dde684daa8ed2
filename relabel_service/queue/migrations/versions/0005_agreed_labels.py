"""Votes that agree without being equal: results say with which earlier label they agree.

Results that are there already agree where they are equal, as they were counted.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("results", sa.Column("agreed_label", sa.Text))
