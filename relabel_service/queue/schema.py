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
    # importing, active, paused, closed, finalizing, finalized, deleting
    Column("state", Text, nullable=False),
    Column("create_time", Float, nullable=False),
    Column("finalize_time", Float),
    Column("results_uri", Text),
    Column("revision", Integer, nullable=False),  # the etag; one more with each change
    Column("num_items", Integer, nullable=False),  # gold ones are not counted
    Column("num_imported", Integer, nullable=False),  # findings read so far
    Column("findings_version", BigInteger, nullable=False),  # of the Delta table
    # Drawn when the campaign is made, as its id may come again; null before there were any.
    Column("incarnation", Text),
    Column("hides_suggestions", Boolean),  # null before items were alike in that
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
    # As labelers get it: two halves of a serialized Item (item_bytes.py).
    Column("item_bytes", LargeBinary, nullable=False),
    Column("hint_bytes", LargeBinary, nullable=False),  # left out where a labeler labels blind
    Column("fingerprint", Text),  # of the content; null for items of an earlier release
    PrimaryKeyConstraint("campaign", "rank"),
)

# The state of each item, which follows from its leases and results (item_state.py). It is
# kept so that the next items are found by an index, however many there are.
queue = Table(
    "queue",
    metadata,
    Column("campaign", Text),
    Column("rank", Integer),
    Column("kind", Text, nullable=False),
    Column("sort_key", BigInteger, nullable=False),  # the lowest is leased first (ordering.py)
    Column("state", Text, nullable=False),  # see item_state.py
    Column("leased_until", Float, nullable=False),  # by labelers, as of the last write
    Column("not_before", Float, nullable=False),  # a release with delay keeps it back until then
    Column("votes_needed", Integer, nullable=False),
    Column("num_votes", Integer, nullable=False),
    Column("num_skips", Integer, nullable=False),
    Column("num_attempts", Integer, nullable=False),  # leases ever given
    Column("num_bytes", Integer, nullable=False),  # of what is shown of the item
    # The leases that may still submit (item_leases.py): in force, and expired but not superseded.
    Column("leases", Text, nullable=False),
    Column("expired_leases", Text, nullable=False),
    PrimaryKeyConstraint("campaign", "rank"),
    sqlite_with_rowid=False,
)

# Only waiting items are indexed, so that leasing an item and submitting its result change the
# index once.
# Terms as queries write them: SQLite uses a partial index where one of its terms is asked for.
WAITING = text("state = 'open' OR state = 'escalated' OR state = 'gold'")

Index(
    "queue_by_sort_key",
    queue.c.campaign,
    queue.c.state,
    queue.c.sort_key,
    queue.c.rank,
    sqlite_where=WAITING,
    postgresql_where=WAITING,
)

# The leases of one call, which expire together; those that were extended alone follow with
# their own expire_time. A group is one labeler's, so only one transaction at a time counts here.
lease_groups = Table(
    "lease_groups",
    metadata,
    Column("group_id", Text),  # random; a lease's token is this and its index in ranks
    Column("expire_time", Float),
    Column("campaign", Text, nullable=False),
    Column("labeler", Text, nullable=False),  # empty: items that were released with delay
    Column("role", Text, nullable=False),  # labeler or adjudicator: in which the items were leased
    Column("ranks", Text, nullable=False),  # JSON list
    Column("num_live", Integer, nullable=False),  # neither submitted nor released
    # active, or expired: then the items' slots were freed
    Column("state", Text, nullable=False),
    PrimaryKeyConstraint("group_id", "expire_time"),
    sqlite_with_rowid=False,
)

ACTIVE = text("state = 'active'")

Index(
    "lease_groups_by_labeler",
    lease_groups.c.campaign,
    lease_groups.c.labeler,
    lease_groups.c.expire_time,
)
# Those in force in all campaigns: the newest.
Index("lease_groups_in_all", lease_groups.c.labeler, lease_groups.c.expire_time)
Index(
    "lease_groups_by_expire_time",
    lease_groups.c.campaign,
    lease_groups.c.role,
    lease_groups.c.expire_time,
    sqlite_where=ACTIVE,
    postgresql_where=ACTIVE,
)

results = Table(
    "results",
    metadata,
    Column("campaign", Text),
    Column("rank", Integer),
    Column("labeler", Text),
    Column("token", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("blind", Boolean, nullable=False),  # labelled without seeing the suggestions
    Column("decision", Text, nullable=False),  # confirm, accept, relabel, skip, escalate
    Column("label", Text),  # what the decision comes to; null for skip and escalate
    # The earliest label on the item that this one agrees with (Task.agree); null where that is
    # this one. On a gold item, the gold label where they agree.
    Column("agreed_label", Text),
    Column("comment", Text, nullable=False),
    Column("submit_time", Float, nullable=False),
    Column("seconds_spent", Float),  # by the labeler; null where that is not known
    PrimaryKeyConstraint("campaign", "rank", "labeler"),  # never the same labeler twice
    sqlite_with_rowid=False,
)

# What a labeler corrects is found by its token; tokens of one batch lie side by side.
Index("results_by_token", results.c.token)

# Results that an admin has withdrawn: the item was reopened, or its skips were. All columns of
# `results`, and who did so when.
withdrawn_results = Table(
    "withdrawn_results",
    metadata,
    *(Column(column.name, column.type, nullable=column.nullable) for column in results.columns),
    Column("withdraw_time", Float),
    Column("withdrawn_by", Text, nullable=False),
    PrimaryKeyConstraint("campaign", "rank", "labeler", "withdraw_time"),
)

# Responses, returned again when a request is sent again (AIP-155).
idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("labeler", Text),
    Column("request_id", Text),
    Column("fingerprint", Text, nullable=False),
    Column("cached_response", LargeBinary, nullable=False),  # zlib
    Column("create_time", Float, nullable=False),
    Column("campaign", Text),  # null in rows of an earlier release
    PrimaryKeyConstraint("labeler", "request_id"),
    Index("idempotency_keys_by_time", "create_time"),
)

# The oldest schema whose code may run on this database (migrations/). One row.
compatibility = Table("compatibility", metadata, Column("oldest", Text, primary_key=True))

# How far an import or publishing is, and why it stopped (progress.py).
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

# Who imports or deletes a campaign in the background, until when (background_leases.py).
background_leases = Table(
    "background_leases",
    metadata,
    Column("campaign", Text, primary_key=True),
    Column("worker", Text, nullable=False),  # random; another one for each time
    Column("expire_time", Float, nullable=False),
)

# What admins did (admin_actions.py). They stay when the campaign is deleted.
admin_actions = Table(
    "admin_actions",
    metadata,
    Column("action", Text, primary_key=True),  # random
    Column("time", Float, nullable=False),  # when it began
    Column("who", Text, nullable=False),
    Column("method", Text, nullable=False),
    Column("campaign", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("request", Text, nullable=False),  # JSON
    Column("outcome", Text, nullable=False),  # empty until it is over
    Column("end_time", Float),
    Index("admin_actions_by_time", "time", "action"),
)
