"""Responses to earlier requests: a request that is sent again gets the stored one (AIP-155)."""

import zlib

from sqlalchemy import Connection

from relabel_service.errors import InvalidInput
from relabel_service.queue import statements as sql

KEPT_S = 24 * 3600.0  # a request may be sent again for so long
SWEEP_EVERY = 256  # of the requests, one deletes those that are too old


def cached_response(
    connection: Connection, *, labeler: str, request_id: str, fingerprint: str
) -> bytes | None:
    """The stored response, or None. Raises InvalidInput when the content was another."""
    rows = sql.CACHED_RESPONSE(connection, {"labeler": labeler, "request_id": request_id})
    if not rows:
        return None
    [row] = rows
    if row.fingerprint != fingerprint:
        raise InvalidInput.of(
            "request_id", f"{request_id!r} was used for another request; make a new UUID"
        )
    return zlib.decompress(row.cached_response)


def store_response(
    connection: Connection,
    *,
    labeler: str,
    request_id: str,
    fingerprint: str,
    response: bytes,
    now: float,
) -> None:
    values = {
        "labeler": labeler,
        "request_id": request_id,
        "fingerprint": fingerprint,
        "cached_response": zlib.compress(response, level=1),
        "create_time": now,
    }
    sql.STORE_RESPONSE(connection, values)
    if int(fingerprint[:8], 16) % SWEEP_EVERY == 0:
        sql.DELETE_OLD_RESPONSES(connection, {"before": now - KEPT_S})
