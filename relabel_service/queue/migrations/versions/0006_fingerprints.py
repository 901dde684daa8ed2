"""Items say which content people saw, in 128 bits; items that are there already do not."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("items", sa.Column("fingerprint", sa.Text))
