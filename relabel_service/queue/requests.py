"""Requests already answered: sent again, they get the first answer (AIP-155)."""

import zlib

from sqlalchemy import Connection, delete, insert, select

from relabel_service.errors import InvalidInput
from relabel_service.queue import schema as db

KEPT_S = 24 * 3600.0  # a request may be sent again for so long
SWEEP_EVERY = 256  # of the requests, one deletes those that are too old


def first_answer(
    connection: Connection, *, labeler: str, request_id: str, fingerprint: str
) -> bytes | None:
    """The stored response, or None. Raises InvalidInput when the content was another."""
    row = connection.execute(
        select(db.requests.c.fingerprint, db.requests.c.response).where(
            db.requests.c.labeler == labeler, db.requests.c.request_id == request_id
        )
    ).one_or_none()
    if row is None:
        return None
    if row.fingerprint != fingerprint:
        raise InvalidInput.of(
            "request_id", f"{request_id!r} was used for another request; make a new UUID"
        )
    return zlib.decompress(row.response)


def remember(
    connection: Connection,
    *,
    labeler: str,
    request_id: str,
    fingerprint: str,
    response: bytes,
    now: float,
) -> None:
    connection.execute(
        insert(db.requests).values(
            labeler=labeler,
            request_id=request_id,
            fingerprint=fingerprint,
            response=zlib.compress(response, level=1),
            create_time=now,
        )
    )
    if int(fingerprint[:8], 16) % SWEEP_EVERY == 0:
        connection.execute(delete(db.requests).where(db.requests.c.create_time < now - KEPT_S))
