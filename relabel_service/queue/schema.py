"""The queue database's tables. migrations/ brings a database to this schema.

No foreign keys: a check on each insert would lock the parent's row, and every
write goes through this package. Times are seconds since the epoch.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    text,
)

metadata = MetaData()

campaigns = Table(
    "campaigns",
    metadata,
    Column("campaign", Text, primary_key=True),
    Column("task", Text, nullable=False),
    Column("findings_uri", Text, nullable=False),
    Column("run_id", Text, nullable=False),
    Column("classes", Text, nullable=False),  # JSON list
    Column("settings", Text, nullable=False),  # JSON of campaigns.Settings
    # importing, active, paused, closed, finalizing, finalized
    Column("state", Text, nullable=False),
    Column("create_time", Float, nullable=False),
    Column("finalize_time", Float),
    Column("results_uri", Text),
    Column("revision", Integer, nullable=False),  # the etag; one more with each change
    Column("num_items", Integer, nullable=False),  # gold ones are not counted
    Column("num_imported", Integer, nullable=False),  # findings read so far
    Column("findings_version", BigInteger, nullable=False),  # of the Delta table
)

# What is shown of an item. Never changes, so the wide rows are written once.
items = Table(
    "items",
    metadata,
    Column("campaign", Text),
    # The finding's, 0 the worst; audit and gold items follow. Names the item in its campaign.
    Column("rank", Integer),
    Column("kind", Text, nullable=False),  # finding, audit, gold
    Column("row_id", Text, nullable=False),
    Column("unit", Text, nullable=False),
    Column("human_label", Text, nullable=False),
    Column("suggestion", Text),  # the model's first
    Column("gold_label", Text),  # what is right, where it is known
    Column("suspicion", Float, nullable=False),
    # As labelers get it: two halves of a serialized Item (item_parts.py).
    Column("item", LargeBinary, nullable=False),
    Column("hints", LargeBinary, nullable=False),  # left out of blind answers
    PrimaryKeyConstraint("campaign", "rank"),
)

# Where each item stands: what its leases and results come to (standing.py), kept
# so that the next items are found by an index, however many there are.
queue = Table(
    "queue",
    metadata,
    Column("campaign", Text),
    Column("rank", Integer),
    Column("kind", Text, nullable=False),
    Column("place", BigInteger, nullable=False),  # lowest is handed out first
    Column("state", Text, nullable=False),  # see standing.py
    Column("held_until", Float, nullable=False),  # by labelers, as when last written
    Column("not_before", Float, nullable=False),  # when a release with delay lets it go
    Column("votes_needed", Integer, nullable=False),
    Column("num_votes", Integer, nullable=False),
    Column("num_skips", Integer, nullable=False),
    Column("num_attempts", Integer, nullable=False),  # leases ever given
    Column("num_bytes", Integer, nullable=False),  # of what is shown of the item
    # The leases that may still answer (holds.py): in force, and expired but not superseded.
    Column("holders", Text, nullable=False),
    Column("lapsed", Text, nullable=False),
    PrimaryKeyConstraint("campaign", "rank"),
    sqlite_with_rowid=False,
)

# Only waiting items are ordered, so that taking and answering one changes the index once.
# Terms as queries write them: SQLite uses a partial index where one of its terms is asked for.
WAITS = text("state = 'open' OR state = 'escalated' OR state = 'gold'")

Index(
    "queue_by_place",
    queue.c.campaign,
    queue.c.state,
    queue.c.place,
    queue.c.rank,
    sqlite_where=WAITS,
    postgresql_where=WAITS,
)

# The leases of one call, which expire together; those that were extended alone follow with
# their own expire_time. One labeler's, so that only one transaction at a time counts here.
batches = Table(
    "batches",
    metadata,
    Column("batch", Text),  # random; a lease's token is this and its place in ranks
    Column("expire_time", Float),
    Column("campaign", Text, nullable=False),
    Column("labeler", Text, nullable=False),  # empty: items that were given back with delay
    Column("role", Text, nullable=False),  # labeler or adjudicator: in which the items were taken
    Column("ranks", Text, nullable=False),  # JSON list
    Column("num_live", Integer, nullable=False),  # neither answered nor given back
    # running, or over: it has expired, and the items' slots were freed
    Column("state", Text, nullable=False),
    PrimaryKeyConstraint("batch", "expire_time"),
    sqlite_with_rowid=False,
)

RUNNING = text("state = 'running'")

Index("batches_by_labeler", batches.c.campaign, batches.c.labeler, batches.c.expire_time)
Index(
    "batches_by_expire_time",
    batches.c.campaign,
    batches.c.role,
    batches.c.expire_time,
    sqlite_where=RUNNING,
    postgresql_where=RUNNING,
)

results = Table(
    "results",
    metadata,
    Column("campaign", Text),
    Column("rank", Integer),
    Column("labeler", Text),
    Column("token", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("blind", Boolean, nullable=False),  # answered without seeing the suggestions
    Column("decision", Text, nullable=False),  # confirm, accept, relabel, skip, escalate
    Column("label", Text),  # what the decision comes to; null for skip and escalate
    Column("comment", Text, nullable=False),
    Column("submit_time", Float, nullable=False),
    PrimaryKeyConstraint("campaign", "rank", "labeler"),  # never the same labeler twice
    sqlite_with_rowid=False,
)

# First answers, to be given again when a request is sent again (AIP-155).
requests = Table(
    "requests",
    metadata,
    Column("labeler", Text),
    Column("request_id", Text),
    Column("fingerprint", Text, nullable=False),
    Column("response", LargeBinary, nullable=False),  # zlib
    Column("create_time", Float, nullable=False),
    PrimaryKeyConstraint("labeler", "request_id"),
    Index("requests_by_time", "create_time"),
)

# How far an import or publishing is, and why it stopped (operations.py).
operations = Table(
    "operations",
    metadata,
    Column("campaign", Text, primary_key=True),
    Column("num_done", BigInteger, nullable=False),
    Column("num_total", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),  # as ErrorInfo's; empty while all is well
    Column("message", Text, nullable=False),
    Column("update_time", Float, nullable=False),
)
