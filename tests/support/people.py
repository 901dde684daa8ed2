"""People who label through a service without transport."""

from collections.abc import Sequence
from typing import Any

from relabel_service import confirm, escalate, relabel, skip
from relabel_service.server.auth import Caller
from relabel_service.server.service import LeaseService
from relabel_service.v1 import campaigns_pb2, labels_pb2, leases_pb2
from relabel_service.v1 import relabel_service_pb2 as rpc
from tests.support.campaigns import ADMIN, CAMPAIGN, request_id

ACCEPTED = leases_pb2.RESULT_STATUS_ACCEPTED
STALE = leases_pb2.RESULT_STATUS_STALE


class Person:
    """One caller of one service, in the campaign "test"."""

    def __init__(self, service: LeaseService, name: str, role: str = "labeler") -> None:
        self.service = service
        self.caller = Caller(name, frozenset({role}))

    def lease(self, max_items: int = 1, **fields: Any) -> list[leases_pb2.Lease]:
        request = rpc.LeaseItemsRequest(
            parent=CAMPAIGN, max_items=max_items, request_id=request_id(), **fields
        )
        return list(self.service.LeaseItems(request, self.caller).leases)

    def submit(self, results: Sequence[leases_pb2.Result]) -> list[int]:
        """The statuses."""
        request = rpc.SubmitResultsRequest(
            parent=CAMPAIGN, results=results, request_id=request_id()
        )
        outcomes = self.service.SubmitResults(request, self.caller).outcomes
        return [outcome.status for outcome in outcomes]

    def say(self, lease: leases_pb2.Lease, decision: str) -> int:
        """Submit a class, or "skip", "escalate" or "confirm"; the status."""
        decide = {"skip": skip, "escalate": escalate, "confirm": confirm}.get(decision)
        [status] = self.submit([decide(lease) if decide else relabel(lease, class_label(decision))])
        return status

    def label_next(self, decision: str, **fields: Any) -> leases_pb2.Lease:
        """Lease the next item and have `decision` accepted for it."""
        [lease] = self.lease(**fields)
        assert self.say(lease, decision) == ACCEPTED
        return lease

    def release(self, leases: Sequence[leases_pb2.Lease], **fields: Any) -> int:
        request = rpc.ReleaseLeasesRequest(
            parent=CAMPAIGN,
            tokens=[lease.token for lease in leases],
            request_id=request_id(),
            **fields,
        )
        return self.service.ReleaseLeases(request, self.caller).num_released


def stats(service: LeaseService, caller: Caller = ADMIN) -> campaigns_pb2.CampaignStats:
    return service.GetCampaignStats(rpc.GetCampaignStatsRequest(name=CAMPAIGN), caller).stats


def class_label(name: str) -> labels_pb2.Label:
    return labels_pb2.Label(class_label=labels_pb2.ClassLabel(class_name=name))
