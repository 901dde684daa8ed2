"""Outcomes of earlier requests: a request that is sent again gets the same response (AIP-155).

Contents of items are not kept here: a response is put together from its outcome and the queue.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from relabel_service.errors import InvalidInput
from relabel_service.queue import campaigns
from relabel_service.queue import statements as sql
from relabel_service.queue.campaigns import Campaign

KEPT_S = 24 * 3600.0  # a request may be sent again for so long
MAX_BYTES = 4 * 2**20  # of one caller's requests: beyond, the oldest are forgotten
ROW_BYTES = 200  # of one, about, without its outcome
SWEEP_EVERY = 256  # of the requests, one forgets those that are too old or too many
SWEPT = 1000  # rows that are deleted at once


@dataclass(frozen=True)
class Key:
    """Of one request. fingerprint: of its contents."""

    labeler: str
    request_id: str
    fingerprint: str


def open_requests(
    connection: Connection, keys: Sequence[Key], *, campaign: str
) -> tuple[list[bytes | InvalidInput | None], Campaign | None]:
    """The outcomes of those that were sent before, and their campaign where it exists.

    InvalidInput where the request sent before was another one.
    """
    rows = sql.OPENING(
        connection,
        [
            {
                "labeler": key.labeler,
                "request_id": key.request_id,
                "campaign": campaign,
                "is_first": number == 0,
            }
            for number, key in enumerate(keys)
        ],
    )
    found = {(row[0], row[1]): row for row in rows}
    outcomes: list[bytes | InvalidInput | None] = []
    for key in keys:
        _, _, fingerprint, stored, *_ = found[key.labeler, key.request_id]
        if stored is not None and fingerprint != key.fingerprint:
            outcomes.append(
                InvalidInput.of(
                    "request_id",
                    f"{key.request_id!r} was used for another request; make a new UUID",
                )
            )
        else:
            outcomes.append(None if stored is None else zlib.decompress(stored))
    _, _, _, _, *columns = found[keys[0].labeler, keys[0].request_id]
    return outcomes, campaigns.from_columns(columns) if columns[0] is not None else None


def store_outcomes(
    connection: Connection,
    outcomes: Sequence[tuple[Key, bytes]],
    *,
    campaign: str,
    now: float,
) -> None:
    rows = [
        {
            "labeler": key.labeler,
            "request_id": key.request_id,
            "fingerprint": key.fingerprint,
            "cached_response": zlib.compress(outcome, level=1),
            "create_time": now,
            "campaign": campaign,
        }
        for key, outcome in outcomes
    ]
    sql.STORE_RESPONSES.later(connection, rows)
    for key, _ in outcomes:
        if int(key.fingerprint[:8], 16) % SWEEP_EVERY == 0:
            remove_old(connection, now=now, limit=SWEPT)
            most = {"labeler": key.labeler, "max_bytes": MAX_BYTES, "row_bytes": ROW_BYTES}
            sql.DELETE_RESPONSES_BEYOND(connection, most)


def remove_old(connection: Connection, *, now: float, limit: int) -> int:
    """Forget requests of long ago; how many."""
    values = {"before": now - KEPT_S, "limit": limit}
    return len(sql.DELETE_OLD_RESPONSES(connection, values))
