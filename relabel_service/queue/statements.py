"""The SQL of labelers' calls, every statement by name: state changes read in one sitting.

Written for the driver itself, once for each kind of database: SQLAlchemy takes longer to
build and bind a statement than SQLite to run it. A list is one parameter, however long.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection


class Statement:
    """One statement on either kind of database. `:name` is a parameter, `IN :name` a list."""

    def __init__(self, template: str) -> None:
        self._sqlite, self._postgresql = _for_sqlite(template), _for_postgresql(template)

    def __call__(self, connection: Connection, values: Mapping[str, Any]) -> list[Any]:
        """Its rows, where it returns some."""
        if connection.dialect.name == "sqlite":
            found = connection.exec_driver_sql(self._sqlite, _listed(values))
        else:
            found = connection.exec_driver_sql(self._postgresql, dict(values))
        return list(found.fetchall()) if found.returns_rows else []

    def each(self, connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
        """Once for each row; a statement that returns none, with parameters that are no lists."""
        text = self._sqlite if connection.dialect.name == "sqlite" else self._postgresql
        connection.exec_driver_sql(text, rows)


def _listed(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: json.dumps(value) if isinstance(value, list) else value
        for name, value in values.items()
    }


def _for_sqlite(template: str) -> str:
    """It has one writer, which needs to lock no row."""
    unlocked = re.sub(r"FOR UPDATE.*", "", template)
    return re.sub(r"IN (:\w+)", r"IN (SELECT value FROM json_each(\1))", unlocked)


def _for_postgresql(template: str) -> str:
    listed = re.sub(r"IN (:\w+)", r"= ANY(\1)", template.replace("instr(", "strpos("))
    return re.sub(r":(\w+)", r"%(\1)s", listed)


FIRST_ANSWER = Statement("""
    SELECT fingerprint, response FROM requests
    WHERE labeler = :labeler AND request_id = :request_id
""")

REMEMBER = Statement("""
    INSERT INTO requests (labeler, request_id, fingerprint, response, create_time)
    VALUES (:labeler, :request_id, :fingerprint, :response, :create_time)
""")

FORGET_REQUESTS = Statement("""
    DELETE FROM requests WHERE create_time < :before
""")

CAMPAIGN = Statement("""
    SELECT campaign, task, findings_uri, run_id, classes, settings, state, create_time,
        finalize_time, results_uri, revision, num_items, num_imported, findings_version
    FROM campaigns WHERE campaign = :campaign
""")

# What rows.py knows of an item. Those that are equal from `kind` on stand alike.
_ROW = """rank, num_bytes, num_attempts,
    queue.kind, state, not_before, votes_needed, num_votes, num_skips, holders, lapsed"""

COUNT_HELD = Statement("""
    SELECT coalesce(sum(num_live), 0) FROM batches
    WHERE campaign = :campaign AND labeler = :labeler AND expire_time > :now
""")

DUE = Statement("""
    SELECT batch, expire_time, labeler, ranks FROM batches
    WHERE campaign = :campaign AND role = :role AND state = 'running' AND expire_time <= :now
    ORDER BY expire_time LIMIT :limit
    FOR UPDATE SKIP LOCKED
""")

# Who waits for an item never waits for a batch, and the other way round: no deadlock.
UNLOCKED_ROWS = Statement(f"""
    SELECT {_ROW} FROM queue WHERE campaign = :campaign AND rank IN :ranks
    FOR UPDATE SKIP LOCKED
""")

# With what an answer may come to: by an item's own columns, which never change.
LOCK_ROWS = Statement(f"""
    SELECT {_ROW}, row_id, human_label, suggestion FROM queue JOIN items USING (campaign, rank)
    WHERE campaign = :campaign AND rank IN :ranks
    ORDER BY rank
    FOR UPDATE OF queue
""")


def _free(state: str) -> Statement:
    """Items with a free slot for the labeler, in their places, locked.

    holder: how `holders` names the labeler. The state is a literal, since a partial index
    serves only statements whose text implies its condition.
    """
    return Statement(f"""
        SELECT {_ROW} FROM queue
        WHERE campaign = :campaign AND state = '{state}' AND (
            num_attempts = 0 OR (
                instr(holders, :holder) = 0 AND NOT EXISTS (
                    SELECT 1 FROM results
                    WHERE results.campaign = queue.campaign AND results.rank = queue.rank
                    AND results.labeler = :labeler
                )
            )
        )
        ORDER BY place, rank LIMIT :limit
        FOR UPDATE OF queue SKIP LOCKED
    """)


FREE = {state: _free(state) for state in ("open", "escalated", "gold")}

SETTLE = Statement("""
    UPDATE queue SET
        state = :state, held_until = :held_until, not_before = :not_before,
        votes_needed = :votes_needed, num_votes = :num_votes, num_skips = :num_skips,
        num_attempts = num_attempts + :attempts, place = place + :places,
        holders = :holders, lapsed = :lapsed
    WHERE campaign = :campaign AND rank IN :ranks
""")

RESULTS = Statement("""
    SELECT rank, role, decision, label FROM results
    WHERE campaign = :campaign AND rank IN :ranks
""")

# What is told of items that are read by themselves.
LEFT_OUT = Statement("""
    SELECT rank, row_id, unit, num_bytes FROM items JOIN queue USING (campaign, rank)
    WHERE campaign = :campaign AND rank IN :ranks
""")

# The items of all batches of a labeler, whatever became of the leases.
HELD_RANKS = Statement("""
    SELECT DISTINCT ranks FROM batches WHERE campaign = :campaign AND labeler = :labeler
""")

HOLDS = Statement("""
    SELECT rank, holders, lapsed FROM queue WHERE campaign = :campaign AND rank IN :ranks
""")

PARTS = Statement("""
    SELECT rank, item, hints FROM items WHERE campaign = :campaign AND rank IN :ranks
""")

ACCEPT = Statement("""
    INSERT INTO results (
        campaign, rank, labeler, token, role, blind, decision, label, comment, submit_time
    ) VALUES (
        :campaign, :rank, :labeler, :token, :role, :blind, :decision, :label, :comment, :submit_time
    )
""")

BATCHES = Statement("""
    SELECT DISTINCT batch, campaign, labeler, ranks FROM batches WHERE batch IN :batches
""")

GIVE = Statement("""
    INSERT INTO batches (batch, expire_time, campaign, labeler, role, ranks, num_live, state)
    VALUES (:batch, :expire_time, :campaign, :labeler, :role, :ranks, :num_live, 'running')
""")

# Leases that were extended: as many of the batch with another expiry.
EXTEND = Statement("""
    INSERT INTO batches (batch, expire_time, campaign, labeler, role, ranks, num_live, state)
    SELECT batch, :to_expire_time, campaign, labeler, role, ranks, :num, 'running' FROM batches
    WHERE batch = :batch AND expire_time = :expire_time
    ON CONFLICT (batch, expire_time) DO UPDATE
    SET num_live = batches.num_live + excluded.num_live, state = 'running'
""")

SPEND = Statement("""
    UPDATE batches SET num_live = num_live - :num
    WHERE batch = :batch AND expire_time = :expire_time
""")

FORGET = Statement("""
    DELETE FROM batches WHERE batch IN :batches AND num_live <= 0
""")

FREED = Statement("""
    UPDATE batches SET state = 'over' WHERE batch = :batch AND expire_time = :expire_time
""")
