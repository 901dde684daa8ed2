"""One answer for one request, however often it is sent (AIP-155)."""

import hashlib
from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection

from relabel_service.queue import idempotency_keys
from relabel_service.queue.store import Store
from relabel_service.server.auth import Caller


def once(
    store: Store,
    request: Any,
    caller: Caller,
    campaign: str,
    answer: Callable[[Connection, float], bytes | None],
) -> bytes:
    """Answer within a transaction, or give the first answer again; a serialized response.

    None from `answer` is an empty response that does not count as the first answer.
    """
    fingerprint = hashlib.sha256(
        f"{type(request).__name__}:".encode() + request.SerializeToString(deterministic=True)
    ).hexdigest()
    mark = {
        "labeler": caller.name,
        "request_id": request.request_id,
        "fingerprint": fingerprint,
    }
    with store.writing(caller=caller.name, campaign=campaign) as (connection, now):
        stored = idempotency_keys.first_answer(connection, **mark)
        if stored is not None:
            return stored
        response = answer(connection, now)
        if response is None:
            return b""
        idempotency_keys.remember(connection, **mark, response=response, now=now)
        return response
