"""The SQL of labelers' calls, every statement by name: state changes read in one sitting.

Written for the driver itself, once for each kind of database (driver.py).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from relabel_service.queue.driver import ForEach, Insertion, Statement

# Idempotency keys.

# With the campaign that the requests are about in the first one's row; columns are null where
# there is none. LATERAL: an index is used, where PostgreSQL takes any number of rows for a hundred.
_OPENED = """
    fingerprint, cached_response,
    campaigns.campaign, task, findings_uri, run_id, classes, settings, state,
    campaigns.create_time, finalize_time, results_uri, revision, num_items, num_imported,
    findings_version, incarnation, hides_suggestions
"""
OPENING = ForEach(
    "labeler text, request_id text, campaign text, is_first boolean",
    f"""
    SELECT row.labeler, row.request_id, {_OPENED}
    FROM ROWS
    LEFT JOIN LATERAL (
        SELECT fingerprint, cached_response FROM idempotency_keys AS keys
        WHERE keys.labeler = row.labeler AND keys.request_id = row.request_id LIMIT 1
    ) AS earlier ON true
    LEFT JOIN campaigns ON campaigns.campaign = row.campaign AND row.is_first
    """,
    one=f"""
    SELECT :labeler AS labeler, :request_id AS request_id, {_OPENED}
    FROM (SELECT 1) AS one
    LEFT JOIN idempotency_keys ON labeler = :labeler AND request_id = :request_id
    LEFT JOIN campaigns ON campaigns.campaign = :campaign AND :is_first
    """,
)

STORE_RESPONSES = Insertion(
    "idempotency_keys",
    "labeler text, request_id text, fingerprint text, cached_response bytea, "
    "create_time double precision, campaign text",
)

DELETE_OLD_RESPONSES = Statement("""
    DELETE FROM idempotency_keys WHERE (labeler, request_id) IN (
        SELECT labeler, request_id FROM idempotency_keys
        WHERE create_time < :before ORDER BY create_time LIMIT :limit
    ) RETURNING 1
""")

# The newest that together have max_bytes stay.
DELETE_RESPONSES_BEYOND = Statement("""
    DELETE FROM idempotency_keys WHERE labeler = :labeler AND create_time < (
        SELECT min(create_time) FROM (
            SELECT create_time, sum(length(cached_response) + :row_bytes)
                OVER (ORDER BY create_time DESC, request_id) AS num_bytes
            FROM idempotency_keys WHERE labeler = :labeler
        ) AS newest WHERE num_bytes <= :max_bytes
    )
""")

# Background work.

TAKE_BACKGROUND_LEASE = Statement("""
    INSERT INTO background_leases (campaign, worker, expire_time)
    VALUES (:campaign, :worker, :expire_time)
    ON CONFLICT (campaign) DO UPDATE
    SET worker = excluded.worker, expire_time = excluded.expire_time
    WHERE background_leases.expire_time <= :now
    RETURNING campaign
""")

DELETE_EXPIRED_GROUPS = Statement("""
    DELETE FROM lease_groups WHERE (group_id, expire_time) IN (
        SELECT group_id, expire_time FROM lease_groups
        WHERE state = 'expired' AND expire_time < :before LIMIT :limit
    ) RETURNING 1
""")

# Campaigns.

CAMPAIGN = Statement("""
    SELECT campaign, task, findings_uri, run_id, classes, settings, state, create_time,
        finalize_time, results_uri, revision, num_items, num_imported, findings_version,
        incarnation, hides_suggestions
    FROM campaigns WHERE campaign = :campaign
""")

# Items: what item_updates.py reads of a row. Rows that are equal from `kind` on are in one state.
_ROW = """rank, num_bytes, num_attempts,
    queue.kind, state, not_before, votes_needed, num_votes, num_skips, leases, expired_leases"""

# Who waits for an item never waits for a group, and the other way round: no deadlock.
LOCK_ROWS_SKIP_LOCKED = Statement(f"""
    SELECT {_ROW} FROM queue WHERE campaign = :campaign AND rank IN :ranks
    FOR UPDATE SKIP LOCKED
""")

# The labels that a decision may stand for are columns of `items`, which never change. Both tables
# are asked for the ranks, or PostgreSQL may read the second one from end to end.
_TO_ANSWER = f"""
    SELECT {_ROW}, human_label, suggestion, gold_label
    FROM queue JOIN items USING (campaign, rank)
    WHERE queue.campaign = :campaign AND queue.rank IN :ranks
    AND items.campaign = :campaign AND items.rank IN :ranks
    ORDER BY rank
"""
LOCK_ROWS = Statement(f"{_TO_ANSWER} FOR UPDATE OF queue")
LOCK_ROWS_TO_ANSWER = Statement(f"{_TO_ANSWER} FOR UPDATE OF queue SKIP LOCKED")

# The labeler has no lease on the item, and has not decided on it.
_IS_FREE = """(
    num_attempts = 0 OR (
        instr(leases, :labeler_key) = 0 AND NOT EXISTS (
            SELECT 1 FROM results
            WHERE results.campaign = queue.campaign AND results.rank = queue.rank
            AND results.labeler = :labeler
        )
    )
)"""


_FOR_ALL = "true"


def _next_items(state: str, condition: str = _IS_FREE) -> Statement:
    """Items with a free slot for the labeler, in their order, locked.

    labeler_key: how `leases` names the labeler. The state is a literal, since a partial index
    serves only statements whose text implies its condition.
    """
    return Statement(f"""
        SELECT {_ROW}, sort_key FROM queue
        WHERE campaign = :campaign AND state = '{state}' AND {condition}
        ORDER BY sort_key, rank LIMIT :limit
        FOR UPDATE OF queue SKIP LOCKED
    """)


NEXT_ITEMS = {state: _next_items(state) for state in ("open", "escalated")}

# The same for several labelers together; to some of them an item may not be free.
NEXT_ITEMS_OF_ALL = {state: _next_items(state, _FOR_ALL) for state in ("open", "escalated")}

# Which of the labelers have decided on which of the items.
DECIDED = Statement("""
    SELECT rank, labeler FROM results
    WHERE campaign = :campaign AND rank IN :ranks AND labeler IN :labelers
""")

GOLD_KEYS = Statement("""
    SELECT rank, sort_key FROM queue WHERE campaign = :campaign AND state = 'gold'
    ORDER BY sort_key, rank
""")

GOLD_ITEMS = Statement(f"""
    SELECT {_ROW}, sort_key FROM queue
    WHERE campaign = :campaign AND rank IN :ranks AND not_before <= :now AND {_IS_FREE}
    FOR UPDATE OF queue SKIP LOCKED
""")

ANY_WAITING = {
    state: Statement(f"""
        SELECT 1 FROM queue WHERE campaign = :campaign AND state = '{state}' LIMIT 1
    """)
    for state in ("open", "escalated")
}

# Of items whose state is the same, all at once. campaigns, all_ranks: of the rows together; with
# them PostgreSQL looks the items up, and does not read a table of 100,000 from end to end.
UPDATE_ITEMS = ForEach(
    """
    campaign text, ranks integer[], state text, leased_until double precision,
    not_before double precision, votes_needed integer, num_votes integer, num_skips integer,
    num_new_attempts integer, setback bigint, leases text, expired_leases text
    """,
    """
    UPDATE queue SET
        state = row.state, leased_until = row.leased_until, not_before = row.not_before,
        votes_needed = row.votes_needed, num_votes = row.num_votes, num_skips = row.num_skips,
        num_attempts = num_attempts + row.num_new_attempts, sort_key = sort_key + row.setback,
        leases = row.leases, expired_leases = row.expired_leases
    FROM ROWS CROSS JOIN LATERAL unnest(row.ranks) AS changed(rank)
    WHERE queue.campaign = row.campaign AND queue.rank = changed.rank
    AND queue.campaign IN :campaigns AND queue.rank IN :all_ranks
    """,
    one="""
    UPDATE queue SET
        state = :state, leased_until = :leased_until, not_before = :not_before,
        votes_needed = :votes_needed, num_votes = :num_votes, num_skips = :num_skips,
        num_attempts = num_attempts + :num_new_attempts, sort_key = sort_key + :setback,
        leases = :leases, expired_leases = :expired_leases
    WHERE campaign = :campaign AND rank IN :ranks
    """,
)

ITEM_LEASES = Statement("""
    SELECT rank, num_bytes, num_attempts, leases, expired_leases FROM queue
    WHERE campaign = :campaign AND rank IN :ranks
""")

ALL_LEASES = Statement("""
    SELECT rank, leases, expired_leases FROM queue
    WHERE campaign = :campaign AND (leases <> '' OR expired_leases <> '')
""")

ITEM_BYTES = Statement("""
    SELECT rank, item_bytes, hint_bytes FROM items WHERE campaign = :campaign AND rank IN :ranks
""")

# What is shown of items that are too large to travel with their leases.
LARGE_ITEMS = Statement("""
    SELECT rank, row_id, unit, num_bytes FROM items JOIN queue USING (campaign, rank)
    WHERE campaign = :campaign AND rank IN :ranks
""")

# Results.

RESULTS = Statement("""
    SELECT rank, role, decision, coalesce(agreed_label, label) FROM results
    WHERE campaign = :campaign AND rank IN :ranks
    ORDER BY submit_time
""")

# The labels of items as they were given, in the order in which they were.
GIVEN_LABELS = Statement("""
    SELECT rank, labeler, label, agreed_label FROM results
    WHERE campaign = :campaign AND rank IN :ranks AND label IS NOT NULL
    ORDER BY submit_time, labeler
""")

# What adjudicators see.
VOTES = Statement("""
    SELECT rank, decision, label, comment FROM results
    WHERE campaign = :campaign AND rank IN :ranks AND role = 'labeler'
    ORDER BY submit_time
""")

RESULTS_BY_TOKEN = Statement("""
    SELECT token, rank, role FROM results
    WHERE campaign = :campaign AND labeler = :labeler AND token IN :tokens
""")

_RESULT = (
    "campaign text, rank integer, labeler text, token text, role text, blind boolean, "
    "decision text, label text, agreed_label text, comment text, submit_time double precision, "
    "seconds_spent double precision"
)
INSERT_RESULTS = Insertion("results", _RESULT)

# campaign, ranks: of the rows, so that PostgreSQL looks the results up, however many there are.
REPLACE_RESULTS = ForEach(
    _RESULT,
    """
    UPDATE results SET decision = row.decision, label = row.label,
        agreed_label = row.agreed_label, comment = row.comment, submit_time = row.submit_time,
        seconds_spent = row.seconds_spent
    FROM ROWS WHERE results.campaign = :campaign AND results.rank IN :ranks
    AND results.rank = row.rank AND results.labeler = row.labeler
    """,
    one="""
    UPDATE results SET decision = :decision, label = :label, agreed_label = :agreed_label,
        comment = :comment, submit_time = :submit_time, seconds_spent = :seconds_spent
    WHERE campaign = :campaign AND rank = :rank AND labeler = :labeler
    """,
)

SET_AGREED_LABELS = ForEach(
    "campaign text, rank integer, labeler text, agreed_label text",
    """
    UPDATE results SET agreed_label = row.agreed_label
    FROM ROWS WHERE results.campaign = :campaign AND results.rank IN :ranks
    AND results.rank = row.rank AND results.labeler = row.labeler
    """,
    one="""
    UPDATE results SET agreed_label = :agreed_label
    WHERE campaign = :campaign AND rank = :rank AND labeler = :labeler
    """,
)

# Lease groups.

# A row for each of the labelers that has leases in force; one without a labeler where none has.
LEASING = Statement("""
    SELECT labeler, num_leased, num_in_all, EXISTS (
        SELECT 1 FROM lease_groups
        WHERE campaign = :campaign AND role = :role AND state = 'active' AND expire_time <= :now
    ) AS has_expired
    FROM (SELECT 1) AS one LEFT JOIN (
        SELECT labeler, sum(num_live) AS num_in_all,
            sum(CASE WHEN campaign = :campaign THEN num_live ELSE 0 END) AS num_leased
        FROM lease_groups WHERE labeler IN :labelers AND expire_time > :now
        GROUP BY labeler
    ) AS counts ON true
""")

# Labelers without leases in force are left out.
COUNT_LEASED = Statement("""
    SELECT labeler, sum(num_live) FROM lease_groups
    WHERE campaign = :campaign AND labeler IN :labelers AND expire_time > :now
    GROUP BY labeler
""")

NEXT_EXPIRY = Statement("""
    SELECT expire_time FROM lease_groups
    WHERE campaign = :campaign AND role = :role AND state = 'active'
    ORDER BY expire_time LIMIT 1
""")

EXPIRED_GROUPS = Statement("""
    SELECT group_id, expire_time, labeler, ranks FROM lease_groups
    WHERE campaign = :campaign AND role = :role AND state = 'active' AND expire_time <= :now
    ORDER BY expire_time LIMIT :limit
    FOR UPDATE SKIP LOCKED
""")

# With their items, whatever became of the leases.
GROUPS_OF_LABELER = Statement("""
    SELECT DISTINCT group_id, ranks FROM lease_groups
    WHERE campaign = :campaign AND labeler = :labeler
""")

LEASE_GROUPS = Statement("""
    SELECT DISTINCT group_id, campaign, labeler, ranks FROM lease_groups
    WHERE group_id IN :group_ids
""")

INSERT_GROUPS = Insertion(
    "lease_groups",
    "group_id text, expire_time double precision, campaign text, labeler text, role text, "
    "ranks text, num_live integer, state text",
)

# Extended leases move to a row of the same group with another expiry.
EXTEND_GROUP = Statement("""
    INSERT INTO lease_groups (
        group_id, expire_time, campaign, labeler, role, ranks, num_live, state
    )
    SELECT group_id, :to_expire_time, campaign, labeler, role, ranks, :num, 'active'
    FROM lease_groups WHERE group_id = :group_id AND expire_time = :expire_time
    ON CONFLICT (group_id, expire_time) DO UPDATE
    SET num_live = lease_groups.num_live + excluded.num_live, state = 'active'
""")

# Of two that are run on the same rows each group is changed by one. group_ids: of the rows.
_GONE = "group_id text, expire_time double precision, num integer"
SHRINK_GROUPS = ForEach(
    _GONE,
    """
    UPDATE lease_groups SET num_live = num_live - row.num FROM ROWS
    WHERE lease_groups.group_id = row.group_id AND lease_groups.expire_time = row.expire_time
    AND lease_groups.group_id IN :group_ids
    AND num_live > row.num
    """,
    one="""
    UPDATE lease_groups SET num_live = num_live - :num
    WHERE group_id = :group_id AND expire_time = :expire_time AND num_live > :num
    """,
)
DELETE_LAST = ForEach(
    _GONE,
    """
    DELETE FROM lease_groups USING ROWS
    WHERE lease_groups.group_id = row.group_id AND lease_groups.expire_time = row.expire_time
    AND lease_groups.group_id IN :group_ids
    AND num_live <= row.num
    """,
    one="""
    DELETE FROM lease_groups
    WHERE group_id = :group_id AND expire_time = :expire_time AND num_live <= :num
    """,
)

MARK_EXPIRED = Statement("""
    UPDATE lease_groups SET state = 'expired'
    WHERE group_id = :group_id AND expire_time = :expire_time
""")


def update_items(connection: Connection, changes: Sequence[Mapping[str, Any]]) -> None:
    """At once. changes: rows of UPDATE_ITEMS."""
    UPDATE_ITEMS(connection, changes, **_of_all(changes))


def update_items_later(connection: Connection, changes: Sequence[Mapping[str, Any]]) -> None:
    """With what else the transaction writes in the end; nothing in it reads the rows again."""
    UPDATE_ITEMS.later(connection, changes, **_of_all(changes))


def _of_all(changes: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    return {
        "campaigns": list({change["campaign"] for change in changes}),
        "all_ranks": sorted({rank for change in changes for rank in change["ranks"]}),
    }
