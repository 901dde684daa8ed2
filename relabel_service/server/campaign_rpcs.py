"""The RPCs about campaigns: create, look, pause, close, publish.

Each validates its whole request, then reads or changes the queue. An import and a
publication are steps that may each be sent again, by anybody, after a crash.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from relabel_service.queue import campaigns, deletion, forced_release, progress
from relabel_service.queue.campaigns import Campaign
from relabel_service.queue.control_items import check_samples, check_units, hides_suggestions
from relabel_service.queue.import_items import describe
from relabel_service.queue.progress import Operation
from relabel_service.queue.stats import Report, report
from relabel_service.queue.store import Store
from relabel_service.server.auth import ADMIN, Caller
from relabel_service.server.background import IMPORTING, Background
from relabel_service.server.idempotency import idempotent
from relabel_service.server.import_export import begin_publishing, export_answers, publish
from relabel_service.server.item_stream import ranks_of
from relabel_service.server.messages import campaign_message, stats_message, with_operation
from relabel_service.server.results_stream import readable
from relabel_service.server.validation import DEFAULT_PAGE_SIZE, Checks, campaign_settings
from relabel_service.v1 import campaigns_pb2
from relabel_service.v1 import relabel_service_pb2 as rpc

IMPORT_S = 5.0  # how long CreateCampaign imports, so that most campaigns are ready at once
DELETE_S = 1.0
PAGE_BYTES = 2 * 2**20  # about: a gRPC client takes 4 MiB by default


class CampaignRpcs:
    """Works on one queue database. Safe to call from several threads."""

    _store: Store
    _on_change: Callable[[str], None]
    background: Background

    def CreateCampaign(
        self, request: rpc.CreateCampaignRequest, caller: Caller
    ) -> rpc.CreateCampaignResponse:
        check = Checks()
        check.campaign_id("campaign_id", request.campaign_id)
        asked = request.campaign
        check.required("campaign.findings_uri", asked.findings_uri)
        check.required("campaign.run_id", asked.run_id)
        settings = campaign_settings(check, asked)
        check.request_id(request.request_id)
        check.finish()
        with readable("campaign.findings_uri", asked.findings_uri):
            described = describe(asked.findings_uri, asked.run_id, item_order=settings.item_order)
        with readable("campaign", "gold or audit"):
            check_samples(settings, task=described["task"], classes=described["classes"])
            check_units(asked.findings_uri, asked.run_id, described, settings)
            hides = hides_suggestions(asked.findings_uri, asked.run_id, described, settings)

        def create(connection: Connection, present: Campaign | None, now: float) -> bytes:
            campaign = Campaign(
                campaign=request.campaign_id,
                findings_uri=asked.findings_uri,
                run_id=asked.run_id,
                settings=settings,
                state="importing",
                create_time=now,
                num_imported=0,
                incarnation=campaigns.new_incarnation(),
                hides_suggestions=hides,
                **described,
            )
            campaigns.create(connection, campaign)
            return b""

        idempotent(self._store, request, caller, request.campaign_id, create, _nothing_more)
        if self.background.turn(request.campaign_id, IMPORTING, turn_s=IMPORT_S):
            self.background.wake()
        return rpc.CreateCampaignResponse(campaign=self._campaign(request.campaign_id, caller))

    def GetCampaign(
        self, request: rpc.GetCampaignRequest, caller: Caller
    ) -> rpc.GetCampaignResponse:
        campaign_id = _campaign_id("name", request.name)
        return rpc.GetCampaignResponse(campaign=self._campaign(campaign_id, caller))

    def ListCampaigns(
        self, request: rpc.ListCampaignsRequest, caller: Caller
    ) -> rpc.ListCampaignsResponse:
        check = Checks()
        check.between("page_size", request.page_size, 0, None)
        after = check.page_token(request.page_token)
        check.finish()
        size = min(request.page_size or DEFAULT_PAGE_SIZE, Checks.MAX_BATCH)
        with self._store.read_transaction() as (connection, _):
            page = campaigns.page(connection, after=after, limit=size + 1, among=caller.campaigns)
            operations = progress.operations(connection, [campaign.campaign for campaign in page])
        response = rpc.ListCampaignsResponse()
        num_bytes = 0
        for campaign in page[:size]:
            for_admin = ADMIN in caller.roles
            message = campaign_message(campaign, for_admin=for_admin)
            operation = operations.get(campaign.campaign)
            message = with_operation(message, operation, for_admin=for_admin)
            num_bytes += message.ByteSize()
            if response.campaigns and num_bytes > PAGE_BYTES:
                break
            response.campaigns.append(message)
        if len(page) > len(response.campaigns):
            last = page[len(response.campaigns) - 1]
            response.next_page_token = Checks.token_after(last.campaign)
        return response

    def look(self, name: str) -> "Look":
        """What WatchCampaign shows of a campaign at this moment, to whom it may concern."""
        campaign_id = _campaign_id("name", name)
        with self._store.read_transaction() as (connection, now):
            campaign = campaigns.get(connection, campaign_id)
            operation = progress.operations(connection, [campaign_id]).get(campaign_id)
            return Look(campaign, operation, report(connection, campaign_id, now=now))

    def GetCampaignStats(
        self, request: rpc.GetCampaignStatsRequest, caller: Caller
    ) -> rpc.GetCampaignStatsResponse:
        return stats_response(self.count(request.name), caller)

    def count(self, name: str) -> Report:
        """What GetCampaignStats tells, to whom it may concern."""
        campaign_id = _campaign_id("name", name)
        with self._store.read_transaction() as (connection, now):
            return report(connection, campaign_id, now=now)

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
        moved = self._moved(request, to="closed", among=["importing", "active", "paused"])
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
        check.required("results_uri", request.results_uri)
        revision = check.etag(request.etag)
        check.request_id(request.request_id)
        check.finish()
        campaign = begin_publishing(
            self._store, campaign_id, results_uri=request.results_uri, revision=revision
        )
        self._on_change(campaign_id)
        publish(self._store, campaign)  # where it is finalized, too: the queue may be restored
        return rpc.FinalizeCampaignResponse(campaign=self._campaign(campaign_id, caller))

    def ExportAnswers(
        self, request: rpc.ExportAnswersRequest, caller: Caller
    ) -> rpc.ExportAnswersResponse:
        check = Checks()
        campaign_id = check.campaign_name("name", request.name)
        check.required("results_uri", request.results_uri)
        check.request_id(request.request_id)
        check.finish()
        written = export_answers(self._store, campaign_id, results_uri=request.results_uri)
        return rpc.ExportAnswersResponse(**vars(written))

    def DeleteCampaign(
        self, request: rpc.DeleteCampaignRequest, caller: Caller
    ) -> rpc.DeleteCampaignResponse:
        """Returns when it is begun; what is not removed by then goes in the background."""
        check = Checks()
        campaign_id = check.campaign_name("name", request.name)
        revision = check.etag(request.etag)
        check.request_id(request.request_id)
        check.finish()

        def begin(connection: Connection, present: Campaign | None, now: float) -> bytes:
            deletion.begin(connection, campaign_id, force=request.force, revision=revision)
            return b""

        # It may be sent again when the campaign is gone.
        idempotent(
            self._store, request, caller, campaign_id, begin, _nothing_more,
            alone=True, outlives_campaign=True,
        )  # fmt: skip
        self._on_change(campaign_id)
        self.background.turn(campaign_id, deletion.DELETING, turn_s=DELETE_S)
        self.background.wake()
        return rpc.DeleteCampaignResponse()

    def ForceRelease(
        self, request: rpc.ForceReleaseRequest, caller: Caller
    ) -> rpc.ForceReleaseResponse:
        check = Checks()
        campaign_id = check.campaign_name("parent", request.parent)
        check.text("labeler", request.labeler)
        if bool(request.labeler) == bool(request.items):
            check.broken("labeler", "is set together with items, or neither is; send one of them")
        check.between("items", len(request.items), 0, Checks.MAX_BATCH)
        for index, name in enumerate(request.items):
            check.item_name(f"items[{index}]", name)
        check.request_id(request.request_id)
        check.finish()
        with self._store.read_transaction() as (connection, _):
            campaign = campaigns.get(connection, campaign_id)
            ranks = ranks_of(connection, campaign, request.items)
            labelers = forced_release.labelers(connection, campaign, ranks)
        num_released = 0
        for labeler in [request.labeler] if request.labeler else labelers:
            with self._store.write_transaction(caller=labeler, campaign=campaign_id) as (
                connection,
                now,
            ):
                num_released += forced_release.release(
                    connection, campaign, labeler=labeler, among=ranks or None, now=now
                )
        self._on_change(campaign_id)
        return rpc.ForceReleaseResponse(num_released=num_released)

    def _campaign(self, campaign_id: str, caller: Caller) -> campaigns_pb2.Campaign:
        with self._store.read_transaction() as (connection, _):
            campaign = campaigns.get(connection, campaign_id)
            operation = progress.operations(connection, [campaign_id]).get(campaign_id)
        message = campaign_message(campaign, for_admin=ADMIN in caller.roles)
        return with_operation(message, operation, for_admin=ADMIN in caller.roles)

    def _moved(self, request: Any, *, to: str, among: list[str]) -> campaigns_pb2.Campaign:
        check = Checks()
        campaign_id = check.campaign_name("name", request.name)
        revision = check.etag(request.etag)
        check.request_id(request.request_id)
        check.finish()
        with self._store.write_transaction(campaign=campaign_id, alone=True) as (connection, _):
            moved = campaigns.move(connection, campaign_id, to=to, among=among, revision=revision)
        self._on_change(campaign_id)
        return campaign_message(moved, for_admin=True)


@dataclass(frozen=True)
class Look:
    """A campaign at one moment: one look serves all who watch it."""

    campaign: Campaign
    operation: Operation | None
    counts: Report

    def shown_to(self, caller: Caller) -> rpc.WatchCampaignResponse:
        is_admin = ADMIN in caller.roles
        message = campaign_message(self.campaign, for_admin=is_admin)
        return rpc.WatchCampaignResponse(
            campaign=with_operation(message, self.operation, for_admin=is_admin),
            stats=stats_message(self.counts, for_admin=is_admin, caller=caller.name),
        )


def _nothing_more(connection: Connection, present: Campaign | None, outcome: bytes) -> None:
    """The response is made of the campaign as it is now."""


def stats_response(counts: Report, caller: Caller) -> rpc.GetCampaignStatsResponse:
    """As the caller may see it."""
    is_admin = ADMIN in caller.roles
    stats = stats_message(counts, for_admin=is_admin, caller=caller.name)
    return rpc.GetCampaignStatsResponse(stats=stats)


def _campaign_id(field: str, name: str) -> str:
    check = Checks()
    campaign_id = check.campaign_name(field, name)
    check.finish()
    return campaign_id
