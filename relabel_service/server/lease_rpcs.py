"""The RPCs of labelers: lease, extend, release, submit.

Each validates its whole request, then changes the queue in one transaction.
"""

import functools
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import Connection

from relabel_service.errors import InvalidInput, PermissionDenied, RelabelError
from relabel_service.queue import campaigns, lease_groups, vacancies
from relabel_service.queue import lease as leasing
from relabel_service.queue import submit as submitting
from relabel_service.queue.campaigns import Campaign
from relabel_service.queue.item_bytes import serialize_leases
from relabel_service.queue.item_leases import ADJUDICATOR, LABELER
from relabel_service.queue.leased_items import leases_in_force
from relabel_service.queue.store import Store
from relabel_service.queue.submit import Submission
from relabel_service.queue.together import Alone
from relabel_service.queue.vacancies import Vacancies
from relabel_service.server.auth import Caller
from relabel_service.server.idempotency import Idempotent, Sent, idempotent
from relabel_service.server.item_stream import named_item
from relabel_service.server.label_checks import check_labels
from relabel_service.server.rate_limits import Limits
from relabel_service.server.validation import (
    DEFAULT_PAGE_SIZE,
    MAX_LEASE_DURATION_S,
    MAX_WAIT_S,
    Checks,
    campaign_of,
)
from relabel_service.tasks import task_named
from relabel_service.v1 import leases_pb2
from relabel_service.v1 import relabel_service_pb2 as rpc
from relabel_service.wire.values import timestamp

STATUS = {
    "accepted": leases_pb2.RESULT_STATUS_ACCEPTED,
    "stale": leases_pb2.RESULT_STATUS_STALE,
    "closed": leases_pb2.RESULT_STATUS_CLOSED,
}


R = TypeVar("R", rpc.ExtendLeasesResponse, rpc.SubmitResultsResponse)


@dataclass(frozen=True)
class Leased:
    """One step of StreamLeases."""

    response: rpc.StreamLeasesResponse | None = None
    is_full: bool = False
    """The caller has as many leases as it wants."""
    is_over: bool = False


WAITS_FOR_ITEMS = Leased()


class LeaseRpcs:
    """Works on one queue database. Safe to call from several threads."""

    _store: Store
    _limits: Limits
    _on_change: Callable[[str], None]

    def LeaseItems(
        self, request: rpc.LeaseItemsRequest, caller: Caller, *, may_wait: bool = False
    ) -> rpc.LeaseItemsResponse:
        """With may_wait, an empty response is not stored as the request's response: ask again."""
        sent = Sent(request, caller, may_wait)
        campaign_id = check_lease(sent)
        return self._leased(campaign_id, self._leases.one(self._store, sent, campaign_id))

    def lease_together(
        self, campaign: str, all_sent: Sequence[Sent]
    ) -> list[rpc.LeaseItemsResponse | RelabelError | Alone]:
        """The responses to several callers' requests, all in one role and checked by check_lease;
        ALONE where one must be made by LeaseItems."""
        return [
            self._leased(campaign, outcome)
            if outcome is None or isinstance(outcome, bytes)
            else outcome
            for outcome in self._leases.together(self._store, all_sent, campaign)
        ]

    def _leased(self, campaign: str, response: bytes | None) -> rpc.LeaseItemsResponse:
        if response:
            self._on_change(campaign)  # they expire some day
        return rpc.LeaseItemsResponse.FromString(response or b"")

    @property
    def _leases(self) -> Idempotent[bytes]:
        return Idempotent(act=self._take, respond=_serialized)

    def _take(
        self, connection: Connection, present: Campaign | None, all_sent: Sequence[Sent], now: float
    ) -> list[bytes | RelabelError | Alone | None]:
        campaign = campaigns.existing(present, campaign_of(all_sent[0].request))
        wanted = [
            self._lease_request(
                campaign,
                sent.caller,
                role_of(sent.request),
                sent.request.max_items or 1,
                duration_s(sent.request),
            )
            for sent in all_sent
        ]
        outcomes: list[bytes | RelabelError | Alone | None] = []
        taken_all = leasing.take_all(connection, campaign, wanted, now=now)
        for sent, taken in zip(all_sent, taken_all, strict=True):
            if taken is None:
                outcomes.append(None if sent.may_wait else b"")
            else:
                outcomes.append(taken.to_bytes() if isinstance(taken, leasing.Taken) else taken)
        return outcomes

    def look_for_items(self, campaign: str, labelers: Collection[str]) -> Vacancies:
        """For those who wait. labelers: whose leases are to be counted."""
        with self._store.read_transaction() as (connection, now):
            return vacancies.look(connection, campaign, labelers=labelers, now=now)

    def next_leases(self, request: rpc.StreamLeasesRequest, caller: Caller) -> Leased:
        """One step of StreamLeases: more leases up to max_outstanding, or none."""
        check = Checks()
        campaign_id = check.campaign_name("parent", request.parent)
        check.between("max_outstanding", request.max_outstanding, 1, Checks.MAX_BATCH)
        duration_s = check.lease_duration("lease_duration", request, "lease_duration")
        check.finish()
        role = role_of(request)
        _check_role(caller, role)
        with self._store.write_transaction(caller=caller.name, campaign=campaign_id) as (
            connection,
            now,
        ):
            campaign = campaigns.get(connection, campaign_id)
            if campaign.state not in ("active", "paused"):
                return Leased(is_over=True)
            num_leased = lease_groups.count_leased(
                connection, campaign, labeler=caller.name, now=now
            )
            room = request.max_outstanding - num_leased
            if room <= 0:
                return Leased(is_full=True)
            if campaign.state == "paused":
                return WAITS_FOR_ITEMS
            wanted = self._lease_request(campaign, caller, role, room, duration_s)
            taken = leasing.take(connection, campaign, wanted, now=now)
            if taken is None:
                return WAITS_FOR_ITEMS
            [found] = leasing.leases_of(connection, campaign, [(caller.name, taken)])
        self._on_change(campaign_id)
        response = rpc.StreamLeasesResponse.FromString(serialize_leases(found, campaign))
        return Leased(response, is_full=len(found) == room)

    def read_item(self, request: rpc.ReadItemRequest, caller: Caller) -> bytes:
        """What ReadItem streams: an encoded Item.

        Raises NotFound when the caller has no lease on it.
        """
        check = Checks()
        campaign_id = check.item_name("name", request.name)
        check.finish()
        with self._store.read_transaction() as (connection, _):
            campaign = campaigns.get(connection, campaign_id)
            return named_item(connection, campaign, request.name, labeler=caller.name)

    def ListLeases(self, request: rpc.ListLeasesRequest, caller: Caller) -> rpc.ListLeasesResponse:
        check = Checks()
        campaign_id = check.campaign_name("parent", request.parent)
        check.between("page_size", request.page_size, 0, Checks.MAX_BATCH)
        if request.page_token:
            check.token("page_token", request.page_token)
        check.finish()
        with self._store.read_transaction() as (connection, now):
            campaign = campaigns.get(connection, campaign_id)
            size = request.page_size or DEFAULT_PAGE_SIZE
            wanted = self._lease_request(campaign, caller, LABELER, size, None)
            leases, has_more = leases_in_force(
                connection, campaign, wanted, after=request.page_token, now=now
            )
        response = rpc.ListLeasesResponse.FromString(serialize_leases(leases, campaign))
        response.next_page_token = leases[-1].token if has_more else ""
        return response

    def ExtendLeases(
        self, request: rpc.ExtendLeasesRequest, caller: Caller
    ) -> rpc.ExtendLeasesResponse:
        check = Checks()
        campaign_id = check.campaign_name("parent", request.parent)
        check.tokens("tokens", request.tokens)
        duration_s = check.lease_duration("lease_duration", request, "lease_duration")
        check.request_id(request.request_id)
        check.finish()

        def extend(connection: Connection, present: Campaign | None, now: float) -> bytes:
            campaign = campaigns.existing(present, campaign_id)
            extended = submitting.extend(
                connection,
                campaign,
                request.tokens,
                labeler=caller.name,
                duration_s=duration_s or campaign.settings.lease_duration_s,
                now=now,
            )
            return rpc.ExtendLeasesResponse(
                outcomes=[
                    leases_pb2.ExtendOutcome(
                        expire_time=timestamp(extended[token]) if token in extended else None
                    )
                    for token in request.tokens
                ]
            ).SerializeToString()

        outcome = idempotent(self._store, request, caller, campaign_id, extend, _as_stored)
        self._on_change(campaign_id)
        response = rpc.ExtendLeasesResponse.FromString(outcome or b"")
        return _with_tokens(response, request.tokens)

    def ReleaseLeases(
        self, request: rpc.ReleaseLeasesRequest, caller: Caller
    ) -> rpc.ReleaseLeasesResponse:
        check = Checks()
        campaign_id = check.campaign_name("parent", request.parent)
        check.tokens("tokens", request.tokens)
        delay_s = check.duration("delay", request, "delay", most_s=MAX_LEASE_DURATION_S)
        check.request_id(request.request_id)
        check.finish()

        def release(connection: Connection, present: Campaign | None, now: float) -> bytes:
            campaign = campaigns.existing(present, campaign_id)
            num_released = submitting.release(
                connection,
                campaign,
                request.tokens,
                labeler=caller.name,
                delay_s=delay_s,
                now=now,
            )
            return rpc.ReleaseLeasesResponse(num_released=num_released).SerializeToString()

        outcome = idempotent(self._store, request, caller, campaign_id, release, _as_stored)
        self._on_change(campaign_id)
        return rpc.ReleaseLeasesResponse.FromString(outcome or b"")

    def SubmitResults(
        self, request: rpc.SubmitResultsRequest, caller: Caller
    ) -> rpc.SubmitResultsResponse:
        campaign_id = check_submission(request)
        submissions = self._submissions(waits=True)
        outcome = submissions.one(self._store, Sent(request, caller), campaign_id)
        self._on_change(campaign_id)
        return _submitted(request, outcome)

    def submit_together(
        self, campaign: str, all_sent: Sequence[Sent]
    ) -> list[rpc.SubmitResultsResponse | RelabelError | Alone]:
        """The responses to several callers' requests, checked by check_submission; ALONE where one
        must be made by SubmitResults."""
        outcomes = self._submissions(waits=False).together(self._store, all_sent, campaign)
        self._on_change(campaign)
        return [
            _submitted(sent.request, outcome)
            if outcome is None or isinstance(outcome, bytes)
            else outcome
            for sent, outcome in zip(all_sent, outcomes, strict=True)
        ]

    def _submissions(self, *, waits: bool) -> Idempotent[bytes]:
        return Idempotent(
            act=functools.partial(_submit, waits=waits),
            respond=lambda connection, present, given: [outcome for _, outcome in given],
        )

    def _lease_request(
        self,
        campaign: Campaign,
        caller: Caller,
        role: str,
        limit: int,
        duration_s: float | None,
    ) -> leasing.LeaseRequest:
        return leasing.LeaseRequest(
            labeler=caller.name,
            role=role,
            limit=limit,
            duration_s=duration_s or campaign.settings.lease_duration_s,
            max_leases=self._limits.max_leases,
            max_in_all=self._limits.max_leases_in_all,
            max_share=self._limits.max_share,
            max_bytes=self._limits.max_response_bytes,
            max_item_bytes=self._limits.max_item_bytes,
        )


def _as_stored(connection: Connection, present: Campaign | None, outcome: bytes) -> bytes:
    return outcome


def _with_tokens(response: R, tokens: Sequence[str]) -> R:
    """Outcomes are stored without them, since the request has them."""
    for outcome, token in zip(response.outcomes, tokens, strict=True):
        outcome.token = token
    return response


def role_of(request: rpc.LeaseItemsRequest | rpc.StreamLeasesRequest) -> str:
    """The role that the caller asks to lease items in."""
    return ADJUDICATOR if request.adjudicate else LABELER


def check_lease(sent: Sent) -> str:
    """The id of the campaign. Raises InvalidInput, PermissionDenied."""
    request, check = sent.request, Checks()
    campaign_id = check.campaign_name("parent", request.parent)
    check.between("max_items", request.max_items, 0, Checks.MAX_BATCH)
    check.lease_duration("lease_duration", request, "lease_duration")
    check.duration("wait", request, "wait", most_s=MAX_WAIT_S)
    check.request_id(request.request_id)
    check.finish()
    _check_role(sent.caller, role_of(request))
    return campaign_id


def check_submission(request: rpc.SubmitResultsRequest) -> str:
    """The id of the campaign. Raises InvalidInput."""
    check = Checks()
    campaign_id = check.campaign_name("parent", request.parent)
    check.tokens("results", [result.token for result in request.results], subfield="token")
    check.request_id(request.request_id)
    check.finish()
    return campaign_id


def _serialized(
    connection: Connection, present: Campaign | None, given: Sequence[tuple[Sent, bytes]]
) -> list[bytes]:
    """Responses with the leases that were taken."""
    # Of an earlier release, which stored the response, or no lease.
    as_stored = {
        index: outcome for index, (_, outcome) in enumerate(given) if not outcome.startswith(b"{")
    }
    if len(as_stored) == len(given):
        return [*as_stored.values()]
    campaign = campaigns.existing(present, campaign_of(given[0][0].request))
    taken = {
        index: (sent.caller.name, leasing.Taken.from_bytes(outcome))
        for index, (sent, outcome) in enumerate(given)
        if index not in as_stored
    }
    found = leasing.leases_of(connection, campaign, [*taken.values()])
    leases = (serialize_leases(each, campaign) for each in found)
    responses = as_stored | dict(zip(taken, leases, strict=True))
    return [responses[index] for index in range(len(given))]


def _submit(
    connection: Connection,
    present: Campaign | None,
    all_sent: Sequence[Sent],
    now: float,
    *,
    waits: bool,
) -> list[bytes | RelabelError | Alone | None]:
    campaign = campaigns.existing(present, campaign_of(all_sent[0].request))
    outcomes: dict[int, bytes | RelabelError | Alone | None] = {}
    submissions: dict[int, Submission] = {}
    for index, sent in enumerate(all_sent):
        try:
            results = _results(sent.request, campaign)
            check_labels(connection, campaign, results, labeler=sent.caller.name)
            submissions[index] = Submission(sent.caller.name, results)
        except InvalidInput as error:
            outcomes[index] = error
    submitted = submitting.submit_all(
        connection, campaign, [*submissions.values()], waits=waits, now=now
    )
    for index, statuses in zip(submissions, submitted, strict=True):
        outcomes[index] = _as_outcomes(*statuses) if isinstance(statuses, list) else statuses
    return [outcomes[index] for index in range(len(all_sent))]


@functools.lru_cache(maxsize=256)
def _as_outcomes(*statuses: str) -> bytes:
    """Mostly the same: all are accepted."""
    return rpc.SubmitResultsResponse(
        outcomes=[leases_pb2.ResultOutcome(status=STATUS[status]) for status in statuses]
    ).SerializeToString()


def _submitted(
    request: rpc.SubmitResultsRequest, outcome: bytes | None
) -> rpc.SubmitResultsResponse:
    response = rpc.SubmitResultsResponse.FromString(outcome or b"")
    return _with_tokens(response, [result.token for result in request.results])


def _check_role(caller: Caller, role: str) -> None:
    """Whether the caller may lease items in it. Raises PermissionDenied."""
    if role == ADJUDICATOR and ADJUDICATOR not in caller.roles:
        raise PermissionDenied(
            f"{caller.name!r} is not an adjudicator; ask with an adjudicator's token, or for "
            "items to label"
        )


def duration_s(request: rpc.LeaseItemsRequest) -> float | None:
    """Of the leases; None where the request leaves it to the campaign."""
    if not request.HasField("lease_duration"):
        return None
    return float(request.lease_duration.seconds + request.lease_duration.nanos / 1e9)


def _results(request: rpc.SubmitResultsRequest, campaign: Campaign) -> list[submitting.Result]:
    """Raises InvalidInput naming every result that breaks a rule."""
    check = Checks()
    task = task_named(campaign.task)
    results = [
        check.result(index, result, task, campaign.classes)
        for index, result in enumerate(request.results)
    ]
    check.finish()
    return results
