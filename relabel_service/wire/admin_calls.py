"""What admins ask of a campaign, as methods of the client."""

import uuid
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from relabel_service.v1 import campaigns_pb2
from relabel_service.v1 import relabel_service_pb2 as rpc
from relabel_service.wire.channel import Channel
from relabel_service.wire.names import campaign_name

FINALIZE_S = 600.0  # publishing a million results takes longer than other calls


class AdminCalls:
    """Of Client, which has the connection."""

    _channel: Channel

    def pause(self, campaign: str, *, etag: str = "") -> campaigns_pb2.Campaign:
        """Lease no more items; results on leased items are still accepted."""
        return self._move("Pause", campaign, etag)

    def resume(self, campaign: str, *, etag: str = "") -> campaigns_pb2.Campaign:
        return self._move("Resume", campaign, etag)

    def close_campaign(self, campaign: str, *, etag: str = "") -> campaigns_pb2.Campaign:
        """Take no more results, without publishing them yet."""
        return self._move("Close", campaign, etag)

    def reopen_campaign(self, campaign: str, *, etag: str = "") -> campaigns_pb2.Campaign:
        """Lease items and take results again in a closed campaign that is not finalized."""
        return self._move("Reopen", campaign, etag)

    def reopen_items(
        self, campaign: str, *, items: Sequence[str] = (), row_ids: Sequence[str] = ()
    ) -> rpc.ReopenItemsResponse:
        """Have items decided anew, by name or by their rows: their answers are withdrawn."""
        request = rpc.ReopenItemsRequest(**_of_items(campaign, items, row_ids))
        response: rpc.ReopenItemsResponse = self._channel.call("ReopenItems", request)
        return response

    def requeue_skipped(
        self, campaign: str, *, items: Sequence[str] = (), row_ids: Sequence[str] = ()
    ) -> int:
        """Offer skipped items to everybody again, these or all of them; how many there were."""
        request = rpc.RequeueSkippedItemsRequest(**_of_items(campaign, items, row_ids))
        response: rpc.RequeueSkippedItemsResponse = self._channel.call(
            "RequeueSkippedItems", request, extra_s=FINALIZE_S
        )
        return response.num_items

    def finalize(
        self, campaign: str, *, results_uri: str, etag: str = ""
    ) -> campaigns_pb2.Campaign:
        """Close the campaign and publish its votes as a Delta table."""
        request = rpc.FinalizeCampaignRequest(
            name=campaign_name(campaign),
            results_uri=results_uri,
            etag=etag,
            request_id=new_request_id(),
        )
        response: rpc.FinalizeCampaignResponse = self._channel.call(
            "FinalizeCampaign", request, extra_s=FINALIZE_S
        )
        return response.campaign

    def export_answers(self, campaign: str, *, results_uri: str) -> rpc.ExportAnswersResponse:
        """Write the answers so far that the table does not hold yet; the campaign goes on."""
        request = rpc.ExportAnswersRequest(
            name=campaign_name(campaign), results_uri=results_uri, request_id=new_request_id()
        )
        response: rpc.ExportAnswersResponse = self._channel.call(
            "ExportAnswers", request, extra_s=FINALIZE_S
        )
        return response

    def force_release(self, campaign: str, *, labeler: str = "", items: Sequence[str] = ()) -> int:
        """Take away a labeler's leases, or those on items, by name; how many there were."""
        request = rpc.ForceReleaseRequest(
            parent=campaign_name(campaign),
            labeler=labeler,
            items=items,
            request_id=new_request_id(),
        )
        response: rpc.ForceReleaseResponse = self._channel.call("ForceRelease", request)
        return response.num_released

    def admin_actions(
        self, campaign: str = "", *, since: datetime | None = None, who: str = ""
    ) -> Iterator[rpc.AdminAction]:
        """What admins did, the newest first: in one campaign or in all, since then, of one admin.

        since: with its time zone.
        """
        token = ""
        while True:
            request = rpc.ListAdminActionsRequest(
                parent=campaign_name(campaign) if campaign else "", who=who, page_token=token
            )
            if since is not None:
                request.start_time.FromDatetime(since)
            response: rpc.ListAdminActionsResponse = self._channel.call("ListAdminActions", request)
            yield from response.actions
            token = response.next_page_token
            if not token:
                return

    def _move(self, verb: str, campaign: str, etag: str) -> campaigns_pb2.Campaign:
        kind = getattr(rpc, f"{verb}CampaignRequest")
        request = kind(name=campaign_name(campaign), etag=etag, request_id=new_request_id())
        moved: campaigns_pb2.Campaign = self._channel.call(f"{verb}Campaign", request).campaign
        return moved


def _of_items(campaign: str, items: Sequence[str], row_ids: Sequence[str]) -> dict[str, Any]:
    """The fields of a request about items by name, or by their rows."""
    return {
        "parent": campaign_name(campaign),
        "items": items,
        "row_ids": row_ids,
        "request_id": new_request_id(),
    }


def new_request_id() -> str:
    return str(uuid.uuid4())
