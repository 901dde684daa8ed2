"""Answers that an admin has withdrawn, which their items no longer count.

Only adds: the release before, which withdraws none, publishes without those that this one has.
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "withdrawn_results",
        sa.Column("campaign", sa.Text(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("labeler", sa.Text(), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("blind", sa.Boolean(), nullable=False),
        sa.Column("decision", sa.Text(), nullable=False),
        sa.Column("label", sa.Text()),
        sa.Column("agreed_label", sa.Text()),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("submit_time", sa.Float(), nullable=False),
        sa.Column("seconds_spent", sa.Float()),
        sa.Column("withdraw_time", sa.Float(), nullable=False),
        sa.Column("withdrawn_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("campaign", "rank", "labeler", "withdraw_time"),
    )
