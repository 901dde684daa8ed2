"""The database says which earlier releases may run on it, while replicas are replaced."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table("compatibility", sa.Column("oldest", sa.Text, primary_key=True))
