"""One response for one request, however often it is sent (AIP-155)."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection

from relabel_service.errors import RelabelError
from relabel_service.queue import idempotency_keys
from relabel_service.queue.campaigns import Campaign
from relabel_service.queue.idempotency_keys import Key
from relabel_service.queue.store import Store
from relabel_service.queue.together import ALONE, Alone
from relabel_service.server.auth import Caller

M = TypeVar("M")


@dataclass(frozen=True)
class Sent:
    """A request, and who sent it. may_wait: where nothing was done, nothing is stored."""

    request: Any
    caller: Caller
    may_wait: bool = False

    @property
    def key(self) -> Key:
        name = f"{type(self.request).__name__}:".encode()
        sent = self.request.SerializeToString(deterministic=True)
        fingerprint = hashlib.sha256(name + sent).hexdigest()
        return Key(self.caller.name, self.request.request_id, fingerprint)


@dataclass(frozen=True)
class Idempotent(Generic[M]):
    """What requests of one kind do, within a transaction.

    act: changes the queue for requests of one campaign; for each what of it the response cannot be
    made without, as bytes. None: nothing was done, and nothing is stored or responded. An error:
    nothing was done for it, either. respond: from such bytes, stored now or earlier.
    """

    act: Callable[
        [Connection, Campaign | None, Sequence[Sent], float],
        Sequence[bytes | RelabelError | Alone | None],
    ]
    respond: Callable[[Connection, Campaign | None, Sequence[tuple[Sent, bytes]]], Sequence[M]]

    def one(
        self,
        store: Store,
        sent: Sent,
        campaign: str,
        *,
        alone: bool = False,
        outlives_campaign: bool = False,
    ) -> M | None:
        """The response to one request. alone: as Store.write_transaction's. Raises its error, and
        then nothing of the transaction is left."""
        key = sent.key
        kept_with = "" if outlives_campaign else campaign
        transaction = store.write_transaction(caller=key.labeler, campaign=campaign, alone=alone)
        with transaction as (connection, now):
            moment = connection, campaign, now
            [response] = self._respond(moment, [(sent, key)], kept_with=kept_with)
            if isinstance(response, RelabelError):
                raise response
            assert response is not ALONE  # which only those that share a transaction are told
            return response

    def together(
        self, store: Store, all_sent: Sequence[Sent], campaign: str
    ) -> list[M | RelabelError | Alone | None]:
        """The responses to requests of several callers, in one transaction that waits for no other;
        ALONE where a request must be done by itself."""
        keys = [sent.key for sent in all_sent]
        callers = list(dict.fromkeys(key.labeler for key in keys))
        with store.shared_transaction(callers=callers, campaign=campaign) as (
            connection,
            now,
            present,
        ):
            left = set(present)
            first = []  # of each caller; another transaction of the same caller comes after this
            for index, key in enumerate(keys):
                if key.labeler in left:
                    left.remove(key.labeler)
                    first.append(index)
            pairs = [(all_sent[index], keys[index]) for index in first]
            responses: list[M | RelabelError | Alone | None] = [ALONE for _ in keys]
            if pairs:
                moment = connection, campaign, now
                done = self._respond(moment, pairs, kept_with=campaign)
                for index, response in zip(first, done, strict=True):
                    responses[index] = response
            return responses

    def _respond(
        self,
        moment: tuple[Connection, str, float],
        pairs: Sequence[tuple[Sent, Key]],
        *,
        kept_with: str,
    ) -> list[M | RelabelError | Alone | None]:
        connection, campaign_id, now = moment
        keys = [key for _, key in pairs]
        opened, campaign = idempotency_keys.open_requests(connection, keys, campaign=campaign_id)
        outcomes: dict[int, bytes | RelabelError | Alone | None] = dict(enumerate(opened))
        new = [index for index, outcome in outcomes.items() if outcome is None]
        if new:
            acted = self.act(connection, campaign, [pairs[index][0] for index in new], now)
            outcomes |= zip(new, acted, strict=True)
            stored = [
                (keys[index], outcome)
                for index, outcome in zip(new, acted, strict=True)
                if isinstance(outcome, bytes)
            ]
            idempotency_keys.store_outcomes(connection, stored, campaign=kept_with, now=now)
        done = {index: value for index, value in outcomes.items() if isinstance(value, bytes)}
        given = [(pairs[index][0], value) for index, value in done.items()]
        responses = dict(zip(done, self.respond(connection, campaign, given), strict=True))
        return [
            outcome if outcome is None or not isinstance(outcome, bytes) else responses[index]
            for index, outcome in outcomes.items()
        ]


def idempotent(
    store: Store,
    request: Any,
    caller: Caller,
    campaign: str,
    act: Callable[[Connection, Campaign | None, float], bytes],
    respond: Callable[[Connection, Campaign | None, bytes], M],
    *,
    alone: bool = False,
    outlives_campaign: bool = False,
) -> M | None:
    """As Idempotent.one, for what is never done together with other requests; act raises what is
    wrong."""
    single = Idempotent(
        act=lambda connection, present, _, now: [act(connection, present, now)],
        respond=lambda connection, present, given: [
            respond(connection, present, outcome) for _, outcome in given
        ],
    )
    return single.one(
        store, Sent(request, caller), campaign, alone=alone, outlives_campaign=outlives_campaign
    )
