"""Tables and columns in the field's terms: lease groups, sort keys, idempotency keys.

Nothing is lost: leases stay in force with their tokens, and requests that are sent again get
their stored responses.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

WAITING = sa.text("state = 'open' OR state = 'escalated' OR state = 'gold'")
ACTIVE = sa.text("state = 'active'")

COLUMNS = {
    "items": {"item": "item_bytes", "hints": "hint_bytes"},
    "queue": {
        "place": "sort_key",
        "held_until": "leased_until",
        "holders": "leases",
        "lapsed": "expired_leases",
    },
    "lease_groups": {"batch": "group_id"},
    "idempotency_keys": {"response": "cached_response"},
}


def upgrade() -> None:
    for index, table in (
        ("queue_by_place", "queue"),
        ("batches_by_labeler", "batches"),
        ("batches_by_expire_time", "batches"),
        ("requests_by_time", "requests"),
    ):
        op.drop_index(index, table)
    _rename_table("batches", "lease_groups")
    _rename_table("requests", "idempotency_keys")
    for table, columns in COLUMNS.items():
        for before, after in columns.items():
            op.execute(f"ALTER TABLE {table} RENAME COLUMN {before} TO {after}")
    op.execute(
        "UPDATE queue SET state = CASE state WHEN 'held' THEN 'leased' ELSE 'adjudicating' END "
        "WHERE state IN ('held', 'judging')"
    )
    op.execute(
        "UPDATE lease_groups SET state = CASE state WHEN 'running' THEN 'active' ELSE 'expired' END"
    )
    _create_indexes()


def _rename_table(before: str, after: str) -> None:
    op.rename_table(before, after)
    if op.get_bind().dialect.name == "postgresql":
        op.execute(f"ALTER TABLE {after} RENAME CONSTRAINT {before}_pkey TO {after}_pkey")


def _create_indexes() -> None:
    op.create_index(
        "queue_by_sort_key",
        "queue",
        ["campaign", "state", "sort_key", "rank"],
        unique=False,
        sqlite_where=WAITING,
        postgresql_where=WAITING,
    )
    op.create_index(
        "lease_groups_by_labeler",
        "lease_groups",
        ["campaign", "labeler", "expire_time"],
        unique=False,
    )
    op.create_index(
        "lease_groups_by_expire_time",
        "lease_groups",
        ["campaign", "role", "expire_time"],
        unique=False,
        sqlite_where=ACTIVE,
        postgresql_where=ACTIVE,
    )
    op.create_index("idempotency_keys_by_time", "idempotency_keys", ["create_time"], unique=False)
