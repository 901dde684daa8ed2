"""Who works on a campaign in the background, and of which campaign a remembered request was.

Only adds: the release before works on the same database meanwhile.
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "background_leases",
        sa.Column("campaign", sa.Text(), nullable=False),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("expire_time", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("campaign"),
    )
    op.add_column("idempotency_keys", sa.Column("campaign", sa.Text))
