"""Outcomes of earlier requests: a request that is sent again gets the same response (AIP-155).

Contents of items are not kept here: a response is put together from its outcome and the queue.
"""

import zlib
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
class Opened:
    """What a request finds: its outcome, where it was sent before, and its campaign."""

    outcome: bytes | None
    campaign: Campaign | None


def open_request(
    connection: Connection, *, labeler: str, request_id: str, fingerprint: str, campaign: str
) -> Opened:
    """Raises InvalidInput when the request sent before was another one."""
    values = {"labeler": labeler, "request_id": request_id, "campaign": campaign}
    [(stored_fingerprint, stored, *row)] = sql.OPENING(connection, values)
    if stored is not None and stored_fingerprint != fingerprint:
        raise InvalidInput.of(
            "request_id", f"{request_id!r} was used for another request; make a new UUID"
        )
    outcome = None if stored is None else zlib.decompress(stored)
    return Opened(outcome, campaigns.from_columns(row) if row[0] is not None else None)


def store_outcome(
    connection: Connection,
    *,
    labeler: str,
    request_id: str,
    fingerprint: str,
    outcome: bytes,
    campaign: str,
    now: float,
) -> None:
    values = {
        "labeler": labeler,
        "request_id": request_id,
        "fingerprint": fingerprint,
        "cached_response": zlib.compress(outcome, level=1),
        "create_time": now,
        "campaign": campaign,
    }
    sql.STORE_RESPONSE.later(connection, values)
    if int(fingerprint[:8], 16) % SWEEP_EVERY == 0:
        remove_old(connection, now=now, limit=SWEPT)
        most = {"labeler": labeler, "max_bytes": MAX_BYTES, "row_bytes": ROW_BYTES}
        sql.DELETE_RESPONSES_BEYOND(connection, most)


def remove_old(connection: Connection, *, now: float, limit: int) -> int:
    """Forget requests of long ago; how many."""
    values = {"before": now - KEPT_S, "limit": limit}
    return len(sql.DELETE_OLD_RESPONSES(connection, values))
