"""Leases by the batch, each item's holders in its own row, and items stored as labelers get them.

Leases that are held at the time are released: their items are offered again, and whoever held
them is told STALE. What was answered stays.
"""

import json

import sqlalchemy as sa
from alembic import op

from relabel_service.queue import campaigns
from relabel_service.queue.item_bytes import serialize_item

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

STEP = 1000
WAITS = sa.text("state = 'open' OR state = 'escalated' OR state = 'gold'")
RUNNING = sa.text("state = 'running'")
# An item that was held is waiting again.
FREED = """CASE state WHEN 'held' THEN 'open' WHEN 'judging' THEN 'escalated' ELSE state END"""


def upgrade() -> None:
    op.drop_table("leases")
    _items()
    _queue()
    _results()
    op.create_table(
        "batches",
        sa.Column("batch", sa.Text(), nullable=False),
        sa.Column("expire_time", sa.Float(), nullable=False),
        sa.Column("campaign", sa.Text(), nullable=False),
        sa.Column("labeler", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("ranks", sa.Text(), nullable=False),
        sa.Column("num_live", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("batch", "expire_time"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "batches_by_labeler", "batches", ["campaign", "labeler", "expire_time"], unique=False
    )
    op.create_index(
        "batches_by_expire_time",
        "batches",
        ["campaign", "role", "expire_time"],
        unique=False,
        sqlite_where=RUNNING,
        postgresql_where=RUNNING,
    )


def _items() -> None:
    op.rename_table("items", "items_before")
    op.create_table(
        "items",
        sa.Column("campaign", sa.Text(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("row_id", sa.Text(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("human_label", sa.Text(), nullable=False),
        sa.Column("suggestion", sa.Text(), nullable=True),
        sa.Column("gold_label", sa.Text(), nullable=True),
        sa.Column("suspicion", sa.Float(), nullable=False),
        sa.Column("item", sa.LargeBinary(), nullable=False),
        sa.Column("hints", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("campaign", "rank"),
    )
    connection = op.get_bind()
    for campaign in connection.execute(sa.text("SELECT campaign FROM campaigns")).scalars().all():
        _copy_items(connection, campaign)
    op.drop_table("items_before")


def _copy_items(connection: sa.Connection, name: str) -> None:
    stored = connection.execute(
        sa.text("SELECT * FROM campaigns WHERE campaign = :name"), {"name": name}
    )
    campaign = campaigns.from_row(dict(stored.mappings().one()))
    page = sa.text(
        "SELECT * FROM items_before WHERE campaign = :name AND rank > :after "
        "ORDER BY rank LIMIT :step"
    )
    put = sa.text(
        "INSERT INTO items VALUES (:campaign, :rank, :kind, :row_id, :unit, :human_label, "
        ":suggestion, :gold_label, :suspicion, :item, :hints)"
    )
    values = {"name": name, "after": -1, "step": STEP}
    while rows := connection.execute(page, values).mappings().all():
        halves = [
            serialize_item(campaign, {**row, "suggestions": json.loads(row["suggestions"])})
            for row in rows
        ]
        connection.execute(
            put,
            [
                {**row, "item": item, "hints": hints}
                for row, (item, hints) in zip(rows, halves, strict=True)
            ],
        )
        values["after"] = rows[-1]["rank"]


def _queue() -> None:
    op.drop_index("queue_by_free_time", "queue")
    op.drop_index("queue_by_place", "queue")
    op.rename_table("queue", "queue_before")
    op.create_table(
        "queue",
        sa.Column("campaign", sa.Text(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("place", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("held_until", sa.Float(), nullable=False),
        sa.Column("not_before", sa.Float(), nullable=False),
        sa.Column("votes_needed", sa.Integer(), nullable=False),
        sa.Column("num_votes", sa.Integer(), nullable=False),
        sa.Column("num_skips", sa.Integer(), nullable=False),
        sa.Column("num_attempts", sa.Integer(), nullable=False),
        sa.Column("num_bytes", sa.Integer(), nullable=False),
        sa.Column("holders", sa.Text(), nullable=False),
        sa.Column("lapsed", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("campaign", "rank"),
        sqlite_with_rowid=False,
    )
    op.execute(
        f"INSERT INTO queue SELECT queue_before.campaign, queue_before.rank, queue_before.kind, "
        f"place, {FREED}, 0.0, not_before, votes_needed, num_votes, num_skips, num_attempts, "
        "length(items.item) + length(items.hints) + 48, '', '' FROM queue_before JOIN items "
        "ON items.campaign = queue_before.campaign AND items.rank = queue_before.rank"
    )
    op.drop_table("queue_before")
    if op.get_bind().dialect.name == "postgresql":
        # Whoever leases walks over the dead entries of those who leased before.
        op.execute(
            "ALTER TABLE queue SET (autovacuum_vacuum_scale_factor = 0.01, "
            "autovacuum_vacuum_cost_delay = 0, fillfactor = 80)"
        )
    op.create_index(
        "queue_by_place",
        "queue",
        ["campaign", "state", "place", "rank"],
        unique=False,
        sqlite_where=WAITS,
        postgresql_where=WAITS,
    )


def _results() -> None:
    op.rename_table("results", "results_before")
    op.create_table(
        "results",
        sa.Column("campaign", sa.Text(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("labeler", sa.Text(), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("blind", sa.Boolean(), nullable=False),
        sa.Column("decision", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=True),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("submit_time", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("campaign", "rank", "labeler"),
        sqlite_with_rowid=False,
    )
    op.execute("INSERT INTO results SELECT * FROM results_before")
    op.drop_table("results_before")
