"""What one caller may ask for, and how refusals travel."""

from typing import Any

import grpc
import pytest

from relabel_service import errors
from relabel_service.errors import (
    Exhausted,
    InvalidInput,
    RelabelError,
    Violation,
)
from relabel_service.server.auth import Caller
from relabel_service.server.rate_limits import Limits, Rate
from relabel_service.server.service import LeaseService
from relabel_service.server.validation import check_message
from relabel_service.v1 import leases_pb2
from relabel_service.v1 import relabel_service_pb2 as rpc
from relabel_service.wire.errors import CODES, DETAILS_KEY, from_wire, to_wire
from tests.conftest import Start
from tests.support.campaigns import CAMPAIGN, Clock, request_id


def lease_items(service: LeaseService, max_items: int) -> list[leases_pb2.Lease]:
    request = rpc.LeaseItemsRequest(parent=CAMPAIGN, max_items=max_items, request_id=request_id())
    return list(service.LeaseItems(request, Caller("ann")).leases)


def test_bursts_pass_and_a_steady_flood_does_not() -> None:
    clock = Clock()
    rate = Rate(Limits(calls_per_s=10.0, burst=3), clock)
    for _ in range(3):
        rate.spend("ann")
    with pytest.raises(Exhausted, match="'ann'") as refused:
        rate.spend("ann")
    assert refused.value.retry_after_s == pytest.approx(0.1)
    rate.spend("bob")
    clock.now += 0.125
    rate.spend("ann")
    with pytest.raises(Exhausted):
        rate.spend("ann")


def test_a_labeler_has_so_many_leases_and_no_more(start: Start) -> None:
    start(num_items=5)
    service = LeaseService(start.store, limits=Limits(max_leases=3))
    assert len(lease_items(service, 5)) == 3
    with pytest.raises(Exhausted, match="has 3 leases"):
        lease_items(service, 1)
    start.clock.now += 301
    assert len(lease_items(service, 2)) == 2


def test_leases_fit_the_message_and_the_rest_waits(start: Start) -> None:
    start(num_items=5)
    service = LeaseService(start.store, limits=Limits(max_response_bytes=2000))
    assert [lease.item.rank for lease in lease_items(service, 5)] == [0, 1, 2]
    small = LeaseService(start.store, limits=Limits(max_response_bytes=1))
    assert [lease.item.name for lease in lease_items(small, 5)] == [f"{CAMPAIGN}/items/3"]


def test_a_message_is_not_too_long_and_is_one() -> None:
    request = rpc.GetCampaignRequest(name="x" * 100)
    check_message(request, "GetCampaign", Limits())
    with pytest.raises(Exhausted, match="102 bytes"):
        check_message(request, "GetCampaign", Limits(max_request_bytes=50))
    with pytest.raises(InvalidInput, match="GetCampaignRequest"):
        check_message(object(), "GetCampaign", Limits())


class FailedCall(grpc.RpcError):
    """A failed call as the client sees it."""

    def __init__(self, code: grpc.StatusCode, message: str, details: bytes) -> None:
        self._given = code, message, details

    def code(self) -> grpc.StatusCode:
        return self._given[0]

    def details(self) -> str:
        return self._given[1]

    def trailing_metadata(self) -> Any:
        return [(DETAILS_KEY, self._given[2])]


def every_error() -> list[RelabelError]:
    return [
        InvalidInput([Violation("a", "is wrong"), Violation("b", "too")]),
        Exhausted("slowly", retry_after_s=1.5),
        *(kind("why") for kind in CODES if kind is not InvalidInput),
    ]


@pytest.mark.parametrize("error", every_error(), ids=lambda error: type(error).__name__)
def test_errors_come_out_of_the_wire_as_they_went_in(error: RelabelError) -> None:
    code, message, details = to_wire(error)
    back = from_wire(FailedCall(code, message, details))
    assert type(back) is type(error)
    assert str(error) in str(back)
    if isinstance(error, Exhausted) and isinstance(back, Exhausted):
        assert back.retry_after_s == error.retry_after_s
    if isinstance(error, InvalidInput) and isinstance(back, InvalidInput):
        assert back.violations == error.violations


def test_every_error_has_a_code_of_its_own() -> None:
    own = {kind for kind in RelabelError.__subclasses__() if kind.__module__ == errors.__name__}
    assert set(CODES) == own  # jobs' own errors never reach the wire
    assert len(set(CODES.values())) == len(CODES)


def test_strange_details_do_not_hide_the_error() -> None:
    failed = FailedCall(grpc.StatusCode.NOT_FOUND, "gone", b"\xff\xff")
    assert "gone" in str(from_wire(failed))
