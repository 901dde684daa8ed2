"""What each RPC does: validate the whole request, then change the queue in one transaction.

Knows messages and the queue, not the transport: serve.py gives it a caller's
name and turns the errors it raises into gRPC codes. The methods are the RPCs of
relabel_service.proto, one each.
"""

import hashlib
from collections.abc import Callable
from typing import Any, TypeVar

from google.protobuf.message import Message
from sqlalchemy import Connection, select

from relabel_service.auth import ADMIN, Caller
from relabel_service.errors import PermissionDenied
from relabel_service.fitting import check_fit
from relabel_service.limits import DEFAULT_LIMITS, Limits
from relabel_service.long_running import begin_publishing, import_further, publish
from relabel_service.messages import (
    campaign_message,
    lease_message,
    stats_message,
    timestamp,
    with_operation,
)
from relabel_service.published import readable
from relabel_service.queue import campaigns, leases, operations, requests
from relabel_service.queue.campaigns import Campaign
from relabel_service.queue.filling import describe
from relabel_service.queue.report import report
from relabel_service.queue.samples import check_samples
from relabel_service.queue.store import Store
from relabel_service.reading import named_item
from relabel_service.requests import (
    MAX_LEASE_DURATION_S,
    MAX_WAIT_S,
    Checks,
    campaign_settings,
)
from relabel_service.tasks import task_named
from relabel_service.v1 import campaigns_pb2, items_pb2, leases_pb2
from relabel_service.v1 import relabel_service_pb2 as rpc

FILL_S = 10.0  # how long one call takes part in an import
DEFAULT_PAGE_SIZE = 50

M = TypeVar("M", bound=Message)


class LeaseService:
    """Answers every RPC from one queue database. Safe to call from several threads."""

    def __init__(self, store: Store, *, limits: Limits = DEFAULT_LIMITS) -> None:
        self._store = store
        self._limits = limits

    def check_health(self) -> None:
        """Raises whatever the queue database raises when it does not answer."""
        with self._store.reading() as (connection, _):
            connection.execute(select(1))

    def CreateCampaign(
        self, request: rpc.CreateCampaignRequest, caller: Caller
    ) -> rpc.CreateCampaignResponse:
        check = Checks()
        check.campaign_id("campaign_id", request.campaign_id)
        asked = request.campaign
        check.given("campaign.findings_uri", asked.findings_uri)
        check.given("campaign.run_id", asked.run_id)
        settings = campaign_settings(check, asked)
        check.request_id(request.request_id)
        check.finish()
        with readable("campaign.findings_uri", asked.findings_uri):
            described = describe(asked.findings_uri, asked.run_id)
        with readable("campaign", "gold or audit"):
            check_samples(settings, task=described["task"], classes=described["classes"])

        def create(connection: Connection, now: float) -> rpc.CreateCampaignResponse:
            campaign = Campaign(
                campaign=request.campaign_id,
                findings_uri=asked.findings_uri,
                run_id=asked.run_id,
                settings=settings,
                state="importing",
                create_time=now,
                num_imported=0,
                **described,
            )
            campaigns.create(connection, campaign)
            return rpc.CreateCampaignResponse(campaign=campaign_message(campaign, for_admin=True))

        self._once(request, caller, request.campaign_id, rpc.CreateCampaignResponse, create)
        return rpc.CreateCampaignResponse(campaign=self._filled(request.campaign_id, caller))

    def GetCampaign(
        self, request: rpc.GetCampaignRequest, caller: Caller
    ) -> rpc.GetCampaignResponse:
        campaign_id = _campaign_id("name", request.name)
        return rpc.GetCampaignResponse(campaign=self._filled(campaign_id, caller))

    def ListCampaigns(
        self, request: rpc.ListCampaignsRequest, caller: Caller
    ) -> rpc.ListCampaignsResponse:
        check = Checks()
        check.between("page_size", request.page_size, 0, None)
        after = check.page_token(request.page_token)
        check.finish()
        size = min(request.page_size or DEFAULT_PAGE_SIZE, Checks.MAX_BATCH)
        with self._store.reading() as (connection, _):
            found = campaigns.page(connection, after=after, limit=size + 1, among=caller.campaigns)
            told = operations.of(connection, [campaign.campaign for campaign in found])
        more = len(found) > size
        return rpc.ListCampaignsResponse(
            campaigns=[
                with_operation(
                    campaign_message(campaign, for_admin=ADMIN in caller.roles),
                    told.get(campaign.campaign),
                )
                for campaign in found[:size]
            ],
            next_page_token=Checks.token_after(found[size - 1].campaign) if more else "",
        )

    def LeaseItems(
        self, request: rpc.LeaseItemsRequest, caller: Caller, *, may_wait: bool = False
    ) -> rpc.LeaseItemsResponse:
        """With may_wait, an empty answer is not the request's answer yet: ask again."""
        check = Checks()
        campaign_id = check.campaign_name("parent", request.parent)
        check.between("max_items", request.max_items, 0, Checks.MAX_BATCH)
        duration_s = check.lease_duration("lease_duration", request, "lease_duration")
        check.duration("wait", request, "wait", most_s=MAX_WAIT_S)
        check.request_id(request.request_id)
        check.finish()
        role = _role(caller, adjudicate=request.adjudicate)

        def lease(connection: Connection, now: float) -> rpc.LeaseItemsResponse | None:
            campaign = campaigns.get(connection, campaign_id)
            wish = self._wish(campaign, caller, role, request.max_items or 1, duration_s)
            taken = leases.take(connection, campaign, wish, now=now)
            if not taken and may_wait:
                return None
            return rpc.LeaseItemsResponse(
                leases=[self._lease_message(one, campaign) for one in taken]
            )

        return self._once(request, caller, campaign_id, rpc.LeaseItemsResponse, lease)

    def next_leases(
        self, request: rpc.StreamLeasesRequest, caller: Caller
    ) -> rpc.StreamLeasesResponse | None:
        """One step of StreamLeases: what more the caller may hold, or nothing; None at the end."""
        check = Checks()
        campaign_id = check.campaign_name("parent", request.parent)
        check.between("max_outstanding", request.max_outstanding, 1, Checks.MAX_BATCH)
        duration_s = check.lease_duration("lease_duration", request, "lease_duration")
        check.finish()
        role = _role(caller, adjudicate=request.adjudicate)
        with self._store.writing(caller=caller.name, campaign=campaign_id) as (connection, now):
            campaign = campaigns.get(connection, campaign_id)
            if campaign.state not in ("active", "paused"):
                return None
            num_held = leases.count_held(connection, campaign, labeler=caller.name, now=now)
            room = request.max_outstanding - num_held
            if room <= 0 or campaign.state == "paused":
                return rpc.StreamLeasesResponse()
            wish = self._wish(campaign, caller, role, room, duration_s)
            taken = leases.take(connection, campaign, wish, now=now)
            return rpc.StreamLeasesResponse(
                leases=[self._lease_message(one, campaign) for one in taken]
            )

    def read_item(self, request: rpc.ReadItemRequest, caller: Caller) -> items_pb2.Item:
        """What ReadItem streams. Raises NotFound when the caller holds no lease on the item."""
        check = Checks()
        campaign_id = check.item_name("name", request.name)
        check.finish()
        with self._store.reading() as (connection, _):
            campaign = campaigns.get(connection, campaign_id)
            return named_item(connection, campaign, request.name, labeler=caller.name)

    def watch(self, request: rpc.WatchCampaignRequest, caller: Caller) -> rpc.WatchCampaignResponse:
        """One step of WatchCampaign."""
        campaign_id = _campaign_id("name", request.name)
        campaign = self._filled(campaign_id, caller)
        return rpc.WatchCampaignResponse(campaign=campaign, stats=self._stats(campaign_id, caller))

    def ExtendLeases(
        self, request: rpc.ExtendLeasesRequest, caller: Caller
    ) -> rpc.ExtendLeasesResponse:
        check = Checks()
        campaign_id = check.campaign_name("parent", request.parent)
        check.tokens("tokens", request.tokens)
        duration_s = check.lease_duration("lease_duration", request, "lease_duration")
        check.request_id(request.request_id)
        check.finish()

        def extend(connection: Connection, now: float) -> rpc.ExtendLeasesResponse:
            campaign = campaigns.get(connection, campaign_id)
            kept = leases.extend(
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
                        token=token,
                        expire_time=timestamp(kept[token]) if token in kept else None,
                    )
                    for token in request.tokens
                ]
            )

        return self._once(request, caller, campaign_id, rpc.ExtendLeasesResponse, extend)

    def ReleaseLeases(
        self, request: rpc.ReleaseLeasesRequest, caller: Caller
    ) -> rpc.ReleaseLeasesResponse:
        check = Checks()
        campaign_id = check.campaign_name("parent", request.parent)
        check.tokens("tokens", request.tokens)
        delay_s = check.duration("delay", request, "delay", most_s=MAX_LEASE_DURATION_S)
        check.request_id(request.request_id)
        check.finish()

        def release(connection: Connection, now: float) -> rpc.ReleaseLeasesResponse:
            campaign = campaigns.get(connection, campaign_id)
            num_released = leases.release(
                connection,
                campaign,
                request.tokens,
                labeler=caller.name,
                delay_s=delay_s,
                now=now,
            )
            return rpc.ReleaseLeasesResponse(num_released=num_released)

        return self._once(request, caller, campaign_id, rpc.ReleaseLeasesResponse, release)

    def SubmitResults(
        self, request: rpc.SubmitResultsRequest, caller: Caller
    ) -> rpc.SubmitResultsResponse:
        check = Checks()
        campaign_id = check.campaign_name("parent", request.parent)
        check.tokens("results", [result.token for result in request.results], "token")
        check.request_id(request.request_id)
        check.finish()

        def submit(connection: Connection, now: float) -> rpc.SubmitResultsResponse:
            campaign = campaigns.get(connection, campaign_id)
            answers = _answers(request, campaign)
            check_fit(connection, campaign, answers, labeler=caller.name)
            statuses = leases.submit(connection, campaign, answers, labeler=caller.name, now=now)
            return rpc.SubmitResultsResponse(
                outcomes=[
                    leases_pb2.ResultOutcome(
                        token=answer.token,
                        status=f"RESULT_STATUS_{status.upper()}",
                    )
                    for answer, status in zip(answers, statuses, strict=True)
                ]
            )

        return self._once(request, caller, campaign_id, rpc.SubmitResultsResponse, submit)

    def GetCampaignStats(
        self, request: rpc.GetCampaignStatsRequest, caller: Caller
    ) -> rpc.GetCampaignStatsResponse:
        campaign_id = _campaign_id("name", request.name)
        return rpc.GetCampaignStatsResponse(stats=self._stats(campaign_id, caller))

    def PauseCampaign(
        self, request: rpc.PauseCampaignRequest, caller: Caller
    ) -> rpc.PauseCampaignResponse:
        moved = self._moved(request, to="paused", among=["active"])
        return rpc.PauseCampaignResponse(campaign=moved)

    def ResumeCampaign(
        self, request: rpc.ResumeCampaignRequest, caller: Caller
    ) -> rpc.ResumeCampaignResponse:
        moved = self._moved(request, to="active", among=["paused"])
        return rpc.ResumeCampaignResponse(campaign=moved)

    def CloseCampaign(
        self, request: rpc.CloseCampaignRequest, caller: Caller
    ) -> rpc.CloseCampaignResponse:
        moved = self._moved(request, to="closed", among=["active", "paused"])
        return rpc.CloseCampaignResponse(campaign=moved)

    def FinalizeCampaign(
        self, request: rpc.FinalizeCampaignRequest, caller: Caller
    ) -> rpc.FinalizeCampaignResponse:
        """Closing, publishing and marking are three steps that may each be sent again.

        A crash between them leaves the campaign finalizing: its votes are fixed,
        so the next call publishes the same table under the same transaction.
        """
        check = Checks()
        campaign_id = check.campaign_name("name", request.name)
        check.given("results_uri", request.results_uri)
        revision = check.etag(request.etag)
        check.request_id(request.request_id)
        check.finish()
        campaign = begin_publishing(
            self._store, campaign_id, results_uri=request.results_uri, revision=revision
        )
        if campaign.state != "finalized":
            publish(self._store, campaign)
        return rpc.FinalizeCampaignResponse(campaign=self._filled(campaign_id, caller))

    def _filled(self, campaign_id: str, caller: Caller) -> campaigns_pb2.Campaign:
        """The campaign, after taking part in its import for a while where it still goes on."""
        campaign, operation = import_further(self._store, campaign_id, within_s=FILL_S)
        message = campaign_message(campaign, for_admin=ADMIN in caller.roles)
        return with_operation(message, operation)

    def _stats(self, campaign_id: str, caller: Caller) -> campaigns_pb2.CampaignStats:
        with self._store.reading() as (connection, now):
            found = report(connection, campaign_id, now=now)
        return stats_message(found, for_admin=ADMIN in caller.roles, caller=caller.name)

    def _moved(self, request: Any, *, to: str, among: list[str]) -> campaigns_pb2.Campaign:
        check = Checks()
        campaign_id = check.campaign_name("name", request.name)
        revision = check.etag(request.etag)
        check.request_id(request.request_id)
        check.finish()
        with self._store.writing(campaign=campaign_id, alone=True) as (connection, _):
            moved = campaigns.move(connection, campaign_id, to=to, among=among, revision=revision)
        return campaign_message(moved, for_admin=True)

    def _wish(
        self,
        campaign: Campaign,
        caller: Caller,
        role: str,
        limit: int,
        duration_s: float | None,
    ) -> leases.Wish:
        return leases.Wish(
            labeler=caller.name,
            role=role,
            limit=limit,
            duration_s=duration_s or campaign.settings.lease_duration_s,
            max_leases=self._limits.max_leases,
            max_bytes=self._limits.max_response_bytes,
            max_item_bytes=self._limits.max_item_bytes,
        )

    def _lease_message(self, lease: leases.Lease, campaign: Campaign) -> leases_pb2.Lease:
        return lease_message(lease, campaign, max_item_bytes=self._limits.max_item_bytes)

    def _once(
        self,
        request: Any,
        caller: Caller,
        campaign: str,
        response_type: type[M],
        answer: Callable[[Connection, float], M | None],
    ) -> M:
        """Answer within a transaction, or give the first answer again.

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
        with self._store.writing(caller=caller.name, campaign=campaign) as (connection, now):
            stored = requests.first_answer(connection, **mark)
            if stored is not None:
                return response_type.FromString(stored)
            response = answer(connection, now)
            if response is None:
                return response_type()
            requests.remember(connection, **mark, response=response.SerializeToString(), now=now)
            return response


def _campaign_id(field: str, name: str) -> str:
    check = Checks()
    campaign_id = check.campaign_name(field, name)
    check.finish()
    return campaign_id


def _role(caller: Caller, *, adjudicate: bool) -> str:
    """In which role the caller takes items. Raises PermissionDenied."""
    role = leases.ADJUDICATOR if adjudicate else leases.LABELER
    if adjudicate and leases.ADJUDICATOR not in caller.roles:
        raise PermissionDenied(
            f"{caller.name!r} is no adjudicator; ask with an adjudicator's token, or for items "
            "to label"
        )
    return role


def _answers(request: rpc.SubmitResultsRequest, campaign: Campaign) -> list[leases.Answer]:
    """Raises InvalidInput naming every result that breaks a rule."""
    check = Checks()
    task = task_named(campaign.task)
    answers = [
        check.answer(f"results[{place}]", result, task, campaign.classes)
        for place, result in enumerate(request.results)
    ]
    check.finish()
    return answers
