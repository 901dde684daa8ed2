"""What each RPC does: validate the whole request, then change the queue in one transaction.

Knows messages and the queue, not the transport: serve.py gives it a caller's
name and turns the errors it raises into gRPC codes. The methods are the RPCs of
relabel_service.proto, one each.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, TypeVar

import pyarrow as pa
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import Connection, select

from relabel_service import tables
from relabel_service.auth import Caller
from relabel_service.errors import InvalidInput
from relabel_service.limits import DEFAULT_LIMITS, Limits
from relabel_service.queue import campaigns, leases, requests
from relabel_service.queue.campaigns import Campaign, Settings
from relabel_service.queue.store import Store
from relabel_service.requests import Checks
from relabel_service.tasks import Task, task_named
from relabel_service.v1 import campaigns_pb2, items_pb2, leases_pb2
from relabel_service.v1 import relabel_service_pb2 as rpc

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
        check.between("campaign.votes_required", asked.votes_required, 0, 100)
        duration_s = check.lease_duration("campaign.lease_duration", asked, "lease_duration")
        check.request_id(request.request_id)
        check.finish()

        def create(connection: Connection, now: float) -> rpc.CreateCampaignResponse:
            findings = tables.read_run(asked.findings_uri, asked.run_id)
            if not findings.num_rows:
                raise InvalidInput.of(
                    "campaign.run_id", f"run {asked.run_id!r} found nothing to ask people about"
                )
            campaign = Campaign(
                campaign=request.campaign_id,
                task=findings["task"][0].as_py(),
                findings_uri=asked.findings_uri,
                run_id=asked.run_id,
                classes=tuple(findings["classes"][0].as_py()),
                settings=Settings(
                    votes_required=asked.votes_required or Settings.votes_required,
                    lease_duration_s=duration_s or Settings.lease_duration_s,
                ),
                state="active",
                create_time=now,
                num_items=findings.num_rows,
            )
            campaigns.create(connection, campaign, _queue_items(findings))
            return rpc.CreateCampaignResponse(campaign=_campaign_message(campaign))

        return self._once(request, caller, request.campaign_id, rpc.CreateCampaignResponse, create)

    def GetCampaign(
        self, request: rpc.GetCampaignRequest, caller: Caller
    ) -> rpc.GetCampaignResponse:
        campaign_id = _campaign_id("name", request.name)
        with self._store.reading() as (connection, _):
            campaign = campaigns.get(connection, campaign_id)
        return rpc.GetCampaignResponse(campaign=_campaign_message(campaign))

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
        more = len(found) > size
        return rpc.ListCampaignsResponse(
            campaigns=[_campaign_message(campaign) for campaign in found[:size]],
            next_page_token=Checks.token_after(found[size - 1].campaign) if more else "",
        )

    def LeaseItems(self, request: rpc.LeaseItemsRequest, caller: Caller) -> rpc.LeaseItemsResponse:
        check = Checks()
        campaign_id = check.campaign_name("parent", request.parent)
        check.between("max_items", request.max_items, 0, Checks.MAX_BATCH)
        duration_s = check.lease_duration("lease_duration", request, "lease_duration")
        check.request_id(request.request_id)
        check.finish()

        def lease(connection: Connection, now: float) -> rpc.LeaseItemsResponse:
            campaign = campaigns.get(connection, campaign_id)
            taken = leases.take(
                connection,
                campaign,
                labeler=caller.name,
                limit=request.max_items or 1,
                max_leases=self._limits.max_leases,
                max_bytes=self._limits.max_response_bytes,
                duration_s=duration_s or campaign.settings.lease_duration_s,
                now=now,
            )
            task = task_named(campaign.task)
            return rpc.LeaseItemsResponse(
                leases=[_lease_message(one, campaign, task) for one in taken]
            )

        return self._once(request, caller, campaign_id, rpc.LeaseItemsResponse, lease)

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
                        expire_time=_timestamp(kept[token]) if token in kept else None,
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
        check.request_id(request.request_id)
        check.finish()

        def release(connection: Connection, now: float) -> rpc.ReleaseLeasesResponse:
            campaign = campaigns.get(connection, campaign_id)
            num_released = leases.release(
                connection, campaign, request.tokens, labeler=caller.name, now=now
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
        with self._store.reading() as (connection, now):
            counts = campaigns.stats(connection, campaign_id, now=now)
        by_labeler = [
            campaigns_pb2.LabelerStats(labeler=name, num_results=number)
            for name, number in counts.labelers
        ]
        numbers = {name: value for name, value in vars(counts).items() if name != "labelers"}
        return rpc.GetCampaignStatsResponse(
            stats=campaigns_pb2.CampaignStats(**numbers, labelers=by_labeler)
        )

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
        with self._store.writing(campaign=campaign_id, alone=True) as (connection, _):
            campaign = campaigns.close(
                connection, campaign_id, results_uri=request.results_uri, revision=revision
            )
            answers = campaigns.answers(connection, campaign_id)
        rows = _results_table(answers, campaign)
        app_id = f"campaign/{campaign_id}/{campaign.create_time}"
        tables.append_once(request.results_uri, rows, app_id=app_id)
        with self._store.writing(campaign=campaign_id, alone=True) as (connection, now):
            done = campaigns.mark_finalized(connection, campaign_id, now=now)
        return rpc.FinalizeCampaignResponse(campaign=_campaign_message(done))

    def _once(
        self,
        request: Any,
        caller: Caller,
        campaign: str,
        response_type: type[M],
        answer: Callable[[Connection, float], M],
    ) -> M:
        """Answer within a transaction, or give the first answer again."""
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
            requests.remember(connection, **mark, response=response.SerializeToString(), now=now)
            return response


def _campaign_id(field: str, name: str) -> str:
    check = Checks()
    campaign_id = check.campaign_name(field, name)
    check.finish()
    return campaign_id


def _queue_items(findings: pa.Table) -> Iterator[dict[str, Any]]:
    for row in findings.to_pylist():
        yield {
            "rank": row["rank"],
            "row_id": row["id"],
            "unit": row["unit"],
            "content": row["content"],
            "human_label": row["human_label"],
            "suggestions": json.dumps([[s["label"], s["probability"]] for s in row["suggestions"]]),
            "suspicion": row["suspicion"],
            "reason": row["reason"],
        }


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


def _campaign_message(campaign: Campaign) -> campaigns_pb2.Campaign:
    return campaigns_pb2.Campaign(
        name=f"campaigns/{campaign.campaign}",
        task_kind=task_named(campaign.task).kind,
        findings_uri=campaign.findings_uri,
        run_id=campaign.run_id,
        classes=campaign.classes,
        votes_required=campaign.settings.votes_required,
        lease_duration=_duration(campaign.settings.lease_duration_s),
        state=f"CAMPAIGN_STATE_{campaign.state.upper()}",
        create_time=_timestamp(campaign.create_time),
        finalize_time=_timestamp(campaign.finalize_time) if campaign.finalize_time else None,
        results_uri=campaign.results_uri or "",
        etag=str(campaign.revision),
        num_items=campaign.num_items,
    )


def _lease_message(lease: leases.Lease, campaign: Campaign, task: Task) -> leases_pb2.Lease:
    item = lease.item
    return leases_pb2.Lease(
        token=lease.token,
        item=items_pb2.Item(
            name=f"campaigns/{campaign.campaign}/items/{item.rank}",
            row_id=item.row_id,
            unit=item.unit,
            content=task.content_to_wire(item.content),
            human_label=task.label_to_wire(item.human_label),
            suggestions=[
                items_pb2.Suggestion(label=task.label_to_wire(label), probability=probability)
                for label, probability in item.suggestions
            ],
            suspicion=item.suspicion,
            rank=item.rank,
            reason=item.reason,
        ),
        expire_time=_timestamp(lease.expire_time),
        num_earlier_attempts=lease.num_earlier_attempts,
    )


def _results_table(answers: Any, campaign: Campaign) -> pa.Table:
    constant = {
        "run_id": campaign.run_id,
        "findings_uri": campaign.findings_uri,
        "task": campaign.task,
    }
    rows = [
        {
            **constant,
            **answer,
            "id": answer["row_id"],
            "submit_time": datetime.fromtimestamp(answer["submit_time"], UTC),
        }
        for answer in answers
    ]
    kept = [{name: row[name] for name in tables.RESULTS.names} for row in rows]
    return pa.Table.from_pylist(kept, schema=tables.RESULTS)


def _timestamp(time_s: float) -> Timestamp:
    fraction, whole = math.modf(time_s)
    return Timestamp(seconds=int(whole), nanos=int(fraction * 1e9))


def _duration(duration_s: float) -> Duration:
    fraction, whole = math.modf(duration_s)
    return Duration(seconds=int(whole), nanos=int(fraction * 1e9))
