"""One response for one request, however often it is sent (AIP-155)."""

import hashlib
from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import Connection

from relabel_service.queue import idempotency_keys
from relabel_service.queue.campaigns import Campaign
from relabel_service.queue.store import Store
from relabel_service.server.auth import Caller

M = TypeVar("M")


def idempotent(
    store: Store,
    request: Any,
    caller: Caller,
    campaign: str,
    act: Callable[[Connection, Campaign | None, float], bytes | None],
    respond: Callable[[Connection, Campaign | None, bytes], M],
    *,
    alone: bool = False,
    outlives_campaign: bool = False,
) -> M | None:
    """The response to what `act` did now, within a transaction, or did earlier.

    act: changes the queue; what of it the response cannot be made without, as bytes. None: nothing
    was done, and nothing is stored or responded. alone: as Store.write_transaction's.
    """
    fingerprint = hashlib.sha256(
        f"{type(request).__name__}:".encode() + request.SerializeToString(deterministic=True)
    ).hexdigest()
    key = {
        "labeler": caller.name,
        "request_id": request.request_id,
        "fingerprint": fingerprint,
    }
    kept_with = "" if outlives_campaign else campaign
    with store.write_transaction(caller=caller.name, campaign=campaign, alone=alone) as (
        connection,
        now,
    ):
        opened = idempotency_keys.open_request(connection, **key, campaign=campaign)
        outcome = opened.outcome
        if outcome is None:
            outcome = act(connection, opened.campaign, now)
            if outcome is None:
                return None
            idempotency_keys.store_outcome(
                connection, **key, outcome=outcome, campaign=kept_with, now=now
            )
        return respond(connection, opened.campaign, outcome)
