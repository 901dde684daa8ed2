"""One response for one request, however often it is sent (AIP-155)."""

import hashlib
from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection

from relabel_service.queue import idempotency_keys
from relabel_service.queue.store import Store
from relabel_service.server.auth import Caller


def idempotent(
    store: Store,
    request: Any,
    caller: Caller,
    campaign: str,
    respond: Callable[[Connection, float], bytes | None],
) -> bytes:
    """A serialized response: computed within a transaction, or the one stored earlier.

    None from `respond` is an empty response that is not stored.
    """
    fingerprint = hashlib.sha256(
        f"{type(request).__name__}:".encode() + request.SerializeToString(deterministic=True)
    ).hexdigest()
    key = {
        "labeler": caller.name,
        "request_id": request.request_id,
        "fingerprint": fingerprint,
    }
    with store.write_transaction(caller=caller.name, campaign=campaign) as (connection, now):
        stored = idempotency_keys.cached_response(connection, **key)
        if stored is not None:
            return stored
        response = respond(connection, now)
        if response is None:
            return b""
        idempotency_keys.store_response(connection, **key, response=response, now=now)
        return response
