"""Results are found by their tokens, so that whoever gave one can correct it."""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("results_by_token", "results", ["token"])
