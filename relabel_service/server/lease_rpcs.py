"""The RPCs of labelers: lease, extend, release, submit.

Each validates its whole request, then changes the queue in one transaction.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import Connection

from relabel_service.errors import PermissionDenied
from relabel_service.queue import campaigns, lease_groups, vacancies
from relabel_service.queue import lease as leasing
from relabel_service.queue import submit as submitting
from relabel_service.queue.campaigns import Campaign
from relabel_service.queue.item_bytes import serialize_leases
from relabel_service.queue.item_leases import ADJUDICATOR, LABELER
from relabel_service.queue.leased_items import leases_in_force
from relabel_service.queue.store import Store
from relabel_service.queue.vacancies import Vacancies
from relabel_service.server.auth import Caller
from relabel_service.server.idempotency import idempotent
from relabel_service.server.item_stream import named_item
from relabel_service.server.label_checks import check_labels
from relabel_service.server.rate_limits import Limits
from relabel_service.server.validation import (
    DEFAULT_PAGE_SIZE,
    MAX_LEASE_DURATION_S,
    MAX_WAIT_S,
    Checks,
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
        check = Checks()
        campaign_id = check.campaign_name("parent", request.parent)
        check.between("max_items", request.max_items, 0, Checks.MAX_BATCH)
        duration_s = check.lease_duration("lease_duration", request, "lease_duration")
        check.duration("wait", request, "wait", most_s=MAX_WAIT_S)
        check.request_id(request.request_id)
        check.finish()
        role = _role(caller, adjudicate=request.adjudicate)

        def lease(connection: Connection, present: Campaign | None, now: float) -> bytes | None:
            campaign = campaigns.existing(present, campaign_id)
            wanted = self._lease_request(campaign, caller, role, request.max_items or 1, duration_s)
            taken = leasing.take(connection, campaign, wanted, now=now)
            if taken is None:
                return None if may_wait else b""
            return taken.to_bytes()

        def leases(connection: Connection, present: Campaign | None, outcome: bytes) -> bytes:
            if not outcome.startswith(b"{"):
                return outcome  # of an earlier release, which stored the response; or no lease
            taken = leasing.Taken.from_bytes(outcome)
            campaign = campaigns.existing(present, campaign_id)
            found = leasing.leases_of(connection, campaign, taken, labeler=caller.name)
            return serialize_leases(found, campaign)

        response = idempotent(self._store, request, caller, campaign_id, lease, leases)
        if response:
            self._on_change(campaign_id)  # they expire some day
        return rpc.LeaseItemsResponse.FromString(response or b"")

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
        role = _role(caller, adjudicate=request.adjudicate)
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
            found = leasing.leases_of(connection, campaign, taken, labeler=caller.name)
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
        check = Checks()
        campaign_id = check.campaign_name("parent", request.parent)
        check.tokens("results", [result.token for result in request.results], subfield="token")
        check.request_id(request.request_id)
        check.finish()

        def submit(connection: Connection, present: Campaign | None, now: float) -> bytes:
            campaign = campaigns.existing(present, campaign_id)
            results = _results(request, campaign)
            check_labels(connection, campaign, results, labeler=caller.name)
            statuses = submitting.submit(
                connection, campaign, results, labeler=caller.name, now=now
            )
            return rpc.SubmitResultsResponse(
                outcomes=[leases_pb2.ResultOutcome(status=STATUS[status]) for status in statuses]
            ).SerializeToString()

        outcome = idempotent(self._store, request, caller, campaign_id, submit, _as_stored)
        self._on_change(campaign_id)
        response = rpc.SubmitResultsResponse.FromString(outcome or b"")
        return _with_tokens(response, [result.token for result in request.results])

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


def _role(caller: Caller, *, adjudicate: bool) -> str:
    """The role in which the caller leases items. Raises PermissionDenied."""
    role = ADJUDICATOR if adjudicate else LABELER
    if adjudicate and ADJUDICATOR not in caller.roles:
        raise PermissionDenied(
            f"{caller.name!r} is not an adjudicator; ask with an adjudicator's token, or for "
            "items to label"
        )
    return role


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
