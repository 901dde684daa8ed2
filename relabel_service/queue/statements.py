"""The SQL of labelers' calls, every statement by name: state changes read in one sitting.

Written for the driver itself, once for each kind of database: SQLAlchemy takes longer to
build and bind a statement than SQLite to run it. A list is one parameter, however long.
"""

import json
import re
from collections import namedtuple
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

LATER = "run later"  # of a connection's info: statements and their values


class Statement:
    """One statement on either kind of database. `:name` is a parameter, `IN :name` a list.

    Run on the driver's own cursor, which takes a third of the time that SQLAlchemy's takes.
    Errors come out as SQLAlchemy's all the same.
    """

    def __init__(self, template: str) -> None:
        self._sqlite, self._postgresql = _for_sqlite(template), _for_postgresql(template)
        self._returns_rows = bool(re.search(r"^\s*SELECT|RETURNING", template))
        self._row: Callable[[Iterable[Any]], Any] | None = None

    def __call__(self, connection: Connection, values: Mapping[str, Any]) -> list[Any]:
        """The rows that the statement returns, as named tuples; empty where it returns none."""
        with _cursor(connection) as (cursor, is_sqlite):
            if is_sqlite:
                cursor.execute(self._sqlite, _lists_as_json(values))
            else:
                cursor.execute(self._postgresql, values)
            if not self._returns_rows:
                return []
            if self._row is None:
                names = [column[0] for column in cursor.description]
                row: Any = namedtuple("Row", names, rename=True)  # type: ignore[misc]
                self._row = row._make
            return list(map(self._row, cursor.fetchall()))

    def later(self, connection: Connection, values: Mapping[str, Any]) -> None:
        """Run it before the transaction ends, together with others: flush() does. At once on
        SQLite, where a statement costs no round trip."""
        if connection.dialect.name == "sqlite":
            self(connection, values)
        else:
            connection.info.setdefault(LATER, []).append((self, values))

    def each(self, connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
        """Run once for each row; for statements that return no rows and take no lists."""
        with _cursor(connection) as (cursor, is_sqlite):
            cursor.executemany(self._sqlite if is_sqlite else self._postgresql, rows)


def begin_later(connection: Connection) -> None:
    """Nothing is to be run later, whatever the transaction before this one left."""
    connection.info[LATER] = []


def flush(connection: Connection) -> None:
    """Run what was to be run later. On PostgreSQL in one statement, of which each part sees the
    rows as they were before: two parts must not write the same row."""
    pending = connection.info.pop(LATER, [])
    if pending:
        values = {
            f"{name}_{number}": value
            for number, (_, given) in enumerate(pending)
            for name, value in given.items()
        }
        together = _together(tuple(statement._postgresql for statement, _ in pending))
        with _cursor(connection) as (cursor, _):
            cursor.execute(together, values)


@lru_cache(maxsize=256)
def _together(texts: Sequence[str]) -> str:
    numbered = (re.sub(r"%\((\w+)\)s", rf"%(\1_{n})s", text) for n, text in enumerate(texts))
    parts = (f"part_{number} AS ({text})" for number, text in enumerate(numbered))
    return f"WITH {', '.join(parts)} SELECT 1"


@contextmanager
def _cursor(connection: Connection) -> Iterator[tuple[Any, bool]]:
    """The driver's, and whether that is SQLite's."""
    driver, dialect = connection.connection, connection.dialect
    cursor = driver.cursor()
    try:
        yield cursor, dialect.name == "sqlite"
    except dialect.loaded_dbapi.Error as error:
        is_gone = dialect.is_disconnect(error, driver, cursor)
        if is_gone:
            connection.invalidate(error)
        raise DBAPIError.instance(
            None, None, error, dialect.loaded_dbapi.Error,
            hide_parameters=True, connection_invalidated=is_gone, dialect=dialect,
        ) from error  # fmt: skip
    finally:
        cursor.close()


def _lists_as_json(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: json.dumps(value) if isinstance(value, list) else value
        for name, value in values.items()
    }


def _for_sqlite(template: str) -> str:
    """SQLite has one writer, which needs to lock no row."""
    unlocked = re.sub(r"FOR UPDATE.*", "", template)
    return re.sub(r"IN (:\w+)", r"IN (SELECT value FROM json_each(\1))", unlocked)


def _for_postgresql(template: str) -> str:
    with_arrays = re.sub(r"IN (:\w+)", r"= ANY(\1)", template.replace("instr(", "strpos("))
    return re.sub(r":(\w+)", r"%(\1)s", with_arrays)


# Idempotency keys.

# With the campaign that the request is about: one row, whose columns are null where there is none.
OPENING = Statement("""
    SELECT idempotency_keys.fingerprint, cached_response,
        campaigns.campaign, task, findings_uri, run_id, classes, settings, state,
        campaigns.create_time, finalize_time, results_uri, revision, num_items, num_imported,
        findings_version, incarnation, hides_suggestions
    FROM (SELECT 1) AS one
    LEFT JOIN idempotency_keys ON labeler = :labeler AND request_id = :request_id
    LEFT JOIN campaigns ON campaigns.campaign = :campaign
""")

STORE_RESPONSE = Statement("""
    INSERT INTO idempotency_keys (
        labeler, request_id, fingerprint, cached_response, create_time, campaign
    ) VALUES (
        :labeler, :request_id, :fingerprint, :cached_response, :create_time, :campaign
    )
""")

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

# The labels that a decision may stand for are columns of `items`, which never change.
LOCK_ROWS = Statement(f"""
    SELECT {_ROW}, row_id, human_label, suggestion, gold_label
    FROM queue JOIN items USING (campaign, rank)
    WHERE campaign = :campaign AND rank IN :ranks
    ORDER BY rank
    FOR UPDATE OF queue
""")


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


def _next_items(state: str) -> Statement:
    """Items with a free slot for the labeler, in their order, locked.

    labeler_key: how `leases` names the labeler. The state is a literal, since a partial index
    serves only statements whose text implies its condition.
    """
    return Statement(f"""
        SELECT {_ROW}, sort_key FROM queue
        WHERE campaign = :campaign AND state = '{state}' AND {_IS_FREE}
        ORDER BY sort_key, rank LIMIT :limit
        FOR UPDATE OF queue SKIP LOCKED
    """)


NEXT_ITEMS = {state: _next_items(state) for state in ("open", "escalated")}

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

UPDATE_ITEMS = Statement("""
    UPDATE queue SET
        state = :state, leased_until = :leased_until, not_before = :not_before,
        votes_needed = :votes_needed, num_votes = :num_votes, num_skips = :num_skips,
        num_attempts = num_attempts + :num_new_attempts, sort_key = sort_key + :setback,
        leases = :leases, expired_leases = :expired_leases
    WHERE campaign = :campaign AND rank IN :ranks
""")

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

# All of an item's results with their labels as given, in the order in which they were.
GIVEN_LABELS = Statement("""
    SELECT rank, labeler, label, agreed_label FROM results
    WHERE campaign = :campaign AND rank IN :ranks
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

REPLACE_RESULT = Statement("""
    UPDATE results SET decision = :decision, label = :label, agreed_label = :agreed_label,
        comment = :comment, submit_time = :submit_time, seconds_spent = :seconds_spent
    WHERE campaign = :campaign AND rank = :rank AND labeler = :labeler
""")

SET_AGREED_LABEL = Statement("""
    UPDATE results SET agreed_label = :agreed_label
    WHERE campaign = :campaign AND rank = :rank AND labeler = :labeler
""")

INSERT_RESULT = Statement("""
    INSERT INTO results (
        campaign, rank, labeler, token, role, blind, decision, label, agreed_label, comment,
        submit_time, seconds_spent
    ) VALUES (
        :campaign, :rank, :labeler, :token, :role, :blind, :decision, :label, :agreed_label,
        :comment, :submit_time, :seconds_spent
    )
""")

# The same for many at once: PostgreSQL plans each of executemany's anew.
INSERT_RESULTS = Statement("""
    INSERT INTO results (
        campaign, rank, labeler, token, role, blind, decision, label, agreed_label, comment,
        submit_time, seconds_spent
    )
    SELECT campaign, rank, labeler, token, role, blind, decision, label, agreed_label, comment,
        submit_time, seconds_spent
    FROM json_to_recordset(CAST(:rows AS json)) AS row(
        campaign text, rank integer, labeler text, token text, role text, blind boolean,
        decision text, label text, agreed_label text, comment text, submit_time double precision,
        seconds_spent double precision
    )
""")


def insert_results(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """rows: columns of `results` by name."""
    if connection.dialect.name == "sqlite":
        INSERT_RESULT.each(connection, rows)
    else:
        INSERT_RESULTS.later(connection, {"rows": json.dumps(rows)})


# Lease groups.

LEASING = Statement("""
    SELECT
        (
            SELECT coalesce(sum(num_live), 0) FROM lease_groups
            WHERE campaign = :campaign AND labeler = :labeler AND expire_time > :now
        ) AS num_leased,
        (
            SELECT coalesce(sum(num_live), 0) FROM lease_groups
            WHERE labeler = :labeler AND expire_time > :now
        ) AS num_in_all,
        EXISTS (
            SELECT 1 FROM lease_groups
            WHERE campaign = :campaign AND role = :role AND state = 'active'
            AND expire_time <= :now
        ) AS has_expired
""")

COUNT_LEASED = Statement("""
    SELECT coalesce(sum(num_live), 0) FROM lease_groups
    WHERE campaign = :campaign AND labeler = :labeler AND expire_time > :now
""")

COUNT_LEASED_BY = Statement("""
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

# The items of all groups of a labeler, whatever became of the leases.
LEASED_RANKS = Statement("""
    SELECT DISTINCT ranks FROM lease_groups WHERE campaign = :campaign AND labeler = :labeler
""")

GROUPS_OF_LABELER = Statement("""
    SELECT DISTINCT group_id, ranks FROM lease_groups
    WHERE campaign = :campaign AND labeler = :labeler
""")

LEASE_GROUPS = Statement("""
    SELECT DISTINCT group_id, campaign, labeler, ranks FROM lease_groups
    WHERE group_id IN :group_ids
""")

INSERT_GROUP = Statement("""
    INSERT INTO lease_groups (
        group_id, expire_time, campaign, labeler, role, ranks, num_live, state
    ) VALUES (
        :group_id, :expire_time, :campaign, :labeler, :role, :ranks, :num_live, 'active'
    )
""")

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

SHRINK_GROUP = Statement("""
    UPDATE lease_groups SET num_live = num_live - :num
    WHERE group_id = :group_id AND expire_time = :expire_time AND num_live > :num
""")

DELETE_LAST = Statement("""
    DELETE FROM lease_groups
    WHERE group_id = :group_id AND expire_time = :expire_time AND num_live <= :num
    RETURNING 1
""")

MARK_EXPIRED = Statement("""
    UPDATE lease_groups SET state = 'expired'
    WHERE group_id = :group_id AND expire_time = :expire_time
""")
