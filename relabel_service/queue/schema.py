"""The queue database: its tables, and connections that keep what they confirm.

SQLite in WAL mode with synchronous=FULL: a commit is on the disk before it is
answered, so OK survives SIGKILL and power loss (sqlite.org/pragma.html).
"""

from typing import Any

from sqlalchemy import (
    Column,
    Engine,
    Float,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    create_engine,
    event,
)
from sqlalchemy.pool import NullPool

BUSY_TIMEOUT_S = 30.0

metadata = MetaData()

campaigns = Table(
    "campaigns",
    metadata,
    Column("campaign", Text, primary_key=True),
    Column("task", Text, nullable=False),
    Column("findings_uri", Text, nullable=False),
    Column("run_id", Text, nullable=False),
    Column("classes", Text, nullable=False),  # JSON list
    Column("votes_required", Integer, nullable=False),
    Column("lease_duration_s", Float, nullable=False),
    Column("state", Text, nullable=False),  # active, finalizing, finalized
    Column("create_time", Float, nullable=False),  # seconds since the epoch, as all times here
    Column("finalize_time", Float),
    Column("results_uri", Text),
    Column("revision", Integer, nullable=False),  # the etag; one more with each change
    Column("num_items", Integer, nullable=False),
)

items = Table(
    "items",
    metadata,
    Column("campaign", Text),
    Column("rank", Integer),  # 0 is the worst; names the item within its campaign
    Column("row_id", Text, nullable=False),
    Column("unit", Text, nullable=False),
    Column("content", Text, nullable=False),
    Column("human_label", Text, nullable=False),
    Column("suggestions", Text, nullable=False),  # JSON [[label, probability], ...]
    Column("suspicion", Float, nullable=False),
    Column("reason", Text, nullable=False),
    Column("state", Text, nullable=False),  # open, done, skipped, escalated
    Column("num_votes", Integer, nullable=False),
    Column("num_skips", Integer, nullable=False),
    Column("num_attempts", Integer, nullable=False),  # leases ever given
    PrimaryKeyConstraint("campaign", "rank"),
    ForeignKeyConstraint(["campaign"], ["campaigns.campaign"]),
    Index("items_by_state", "campaign", "state", "rank"),
)

leases = Table(
    "leases",
    metadata,
    Column("token", Text, primary_key=True),
    Column("campaign", Text, nullable=False),
    Column("rank", Integer, nullable=False),
    Column("labeler", Text, nullable=False),
    Column("expire_time", Float, nullable=False),
    # live (expired or not), superseded, released, answered: only live may still answer
    Column("state", Text, nullable=False),
    ForeignKeyConstraint(["campaign", "rank"], ["items.campaign", "items.rank"]),
    Index("leases_by_item", "campaign", "rank", "state"),
)

results = Table(
    "results",
    metadata,
    Column("campaign", Text),
    Column("rank", Integer),
    Column("labeler", Text),
    Column("token", Text, nullable=False, unique=True),
    Column("decision", Text, nullable=False),  # confirm, accept, relabel, skip, escalate
    Column("label", Text),  # what the decision comes to; null for skip and escalate
    Column("comment", Text, nullable=False),
    Column("submit_time", Float, nullable=False),
    PrimaryKeyConstraint("campaign", "rank", "labeler"),  # never the same labeler twice
    ForeignKeyConstraint(["campaign", "rank"], ["items.campaign", "items.rank"]),
)

# First answers, to be given again when a request is sent again (AIP-155).
requests = Table(
    "requests",
    metadata,
    Column("labeler", Text),
    Column("request_id", Text),
    Column("fingerprint", Text, nullable=False),
    Column("response", LargeBinary, nullable=False),
    Column("create_time", Float, nullable=False),
    PrimaryKeyConstraint("labeler", "request_id"),
)


def open_queue(url: str) -> Engine:
    """Connect to the queue database at a SQLAlchemy URL and create what is missing."""
    engine = create_engine(url, poolclass=NullPool, connect_args={"timeout": BUSY_TIMEOUT_S})
    event.listen(engine, "connect", _durable)
    event.listen(engine, "begin", _begin_writing)
    metadata.create_all(engine)
    return engine


def _durable(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver's own BEGIN would come late and shared
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_writing(connection: Any) -> None:
    # The write lock from the first statement: what a transaction reads stays true until it commits.
    connection.exec_driver_sql("BEGIN IMMEDIATE")
