"""Leases of a labeler over all campaigns are counted by an index."""

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("lease_groups_in_all", "lease_groups", ["labeler", "expire_time"])
