"""The RPCs that have things decided anew: reopen a campaign or items, requeue skipped items."""

from collections.abc import Callable

from sqlalchemy import Connection

from relabel_service.queue import campaigns, reopening
from relabel_service.queue.campaigns import Campaign
from relabel_service.queue.store import Store
from relabel_service.server.auth import Caller
from relabel_service.server.idempotency import idempotent
from relabel_service.server.item_stream import ranks_of_items
from relabel_service.server.messages import campaign_message
from relabel_service.server.validation import Checks
from relabel_service.v1 import relabel_service_pb2 as rpc


class ReopenRpcs:
    """Works on one queue database. Safe to call from several threads."""

    _store: Store
    _on_change: Callable[[str], None]

    def ReopenCampaign(
        self, request: rpc.ReopenCampaignRequest, caller: Caller
    ) -> rpc.ReopenCampaignResponse:
        check = Checks()
        campaign_id = check.campaign_name("name", request.name)
        revision = check.etag(request.etag)
        check.request_id(request.request_id)
        check.finish()
        with self._store.write_transaction(campaign=campaign_id, alone=True) as (connection, _):
            reopened = campaigns.reopen(connection, campaign_id, revision=revision)
        self._on_change(campaign_id)
        return rpc.ReopenCampaignResponse(campaign=campaign_message(reopened, for_admin=True))

    def ReopenItems(
        self, request: rpc.ReopenItemsRequest, caller: Caller
    ) -> rpc.ReopenItemsResponse:
        """Remembered by its request_id: sent again, it leaves alone what was answered since."""
        check = Checks()
        campaign_id = _checked(check, request)
        if bool(request.items) == bool(request.row_ids):
            check.broken("items", "is set together with row_ids, or neither is; send one of them")
        check.finish()

        def reopen(connection: Connection, present: Campaign | None, now: float) -> bytes:
            campaign = campaigns.existing(present, campaign_id)
            ranks = _ranks(connection, campaign, request)
            done = reopening.reopen(connection, campaign, ranks, by=caller.name, now=now)
            return rpc.ReopenItemsResponse(**vars(done)).SerializeToString()

        outcome = idempotent(
            self._store, request, caller, campaign_id, reopen, _as_stored, alone=True
        )
        self._on_change(campaign_id)
        return rpc.ReopenItemsResponse.FromString(outcome or b"")

    def RequeueSkippedItems(
        self, request: rpc.RequeueSkippedItemsRequest, caller: Caller
    ) -> rpc.RequeueSkippedItemsResponse:
        """In steps, of which each may be done again."""
        check = Checks()
        campaign_id = _checked(check, request)
        if request.items and request.row_ids:
            check.broken("items", "is set together with row_ids; send one of them")
        check.finish()
        is_listed = bool(request.items or request.row_ids)
        num_items = 0
        while True:
            with self._store.write_transaction(campaign=campaign_id, alone=True) as (
                connection,
                now,
            ):
                campaign = campaigns.get(connection, campaign_id)
                if is_listed:
                    ranks = _ranks(connection, campaign, request)
                else:
                    ranks = reopening.skipped_ranks(connection, campaign)
                done = reopening.requeue(connection, campaign, ranks, by=caller.name, now=now)
            num_items += done.num_items
            self._on_change(campaign_id)
            if is_listed or len(ranks) < reopening.STEP:
                return rpc.RequeueSkippedItemsResponse(num_items=num_items)


def _checked(
    check: Checks, request: rpc.ReopenItemsRequest | rpc.RequeueSkippedItemsRequest
) -> str:
    """The campaign's id; broken rules go to `check`."""
    campaign_id = check.campaign_name("parent", request.parent)
    check.between("items", len(request.items), 0, Checks.MAX_BATCH)
    for index, name in enumerate(request.items):
        if check.item_name(f"items[{index}]", name) not in ("", campaign_id):
            check.broken(f"items[{index}]", f"{name} is not of {request.parent}; send its own")
    check.between("row_ids", len(request.row_ids), 0, Checks.MAX_BATCH)
    for index, row_id in enumerate(request.row_ids):
        check.text(f"row_ids[{index}]", row_id)
    check.request_id(request.request_id)
    return campaign_id


def _ranks(
    connection: Connection,
    campaign: Campaign,
    request: rpc.ReopenItemsRequest | rpc.RequeueSkippedItemsRequest,
) -> list[int]:
    if request.items:
        return ranks_of_items(connection, campaign, request.items)
    return reopening.ranks_of_rows(connection, campaign, request.row_ids)


def _as_stored(connection: Connection, present: Campaign | None, outcome: bytes) -> bytes:
    return outcome
