"""Streams whose connection is lost go on; what a gateway says is understood."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from threading import Event
from typing import Any

import grpc
import pytest

from relabel_service import Client
from relabel_service.errors import Exhausted, PermissionDenied, RelabelError, Unavailable
from relabel_service.v1 import campaigns_pb2, leases_pb2, relabel_service_pb2_grpc
from relabel_service.v1 import relabel_service_pb2 as rpc
from relabel_service.wire import channel
from relabel_service.wire.errors import INTERNAL_MESSAGE

RESET = "Received RST_STREAM with error code 2"
CUT_OFF = (grpc.StatusCode.INTERNAL, RESET)

Script = list[Any]
"""Responses of one stream, then perhaps a status that ends it."""


def lease(token: str) -> leases_pb2.Lease:
    return leases_pb2.Lease(token=token)


def leased(*tokens: str) -> rpc.StreamLeasesResponse:
    return rpc.StreamLeasesResponse(leases=map(lease, tokens))


HEARTBEAT = rpc.StreamLeasesResponse(heartbeat=True)


class Scripted(relabel_service_pb2_grpc.RelabelServiceServicer):
    """Each stream plays the next script; each ListLeases answers with the next tokens."""

    def __init__(self) -> None:
        self.streams: list[Script] = []
        self.in_force: list[list[str]] = []
        self.waits: list[float] = []
        self.refusal = (grpc.StatusCode.INTERNAL, INTERNAL_MESSAGE)

    def _play(self, context: grpc.ServicerContext) -> Iterator[Any]:
        for step in self.streams.pop(0):
            if isinstance(step, tuple):
                context.abort(*step)
            elif callable(step):
                step(context)
            else:
                yield step

    def StreamLeases(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        return self._play(context)

    def WatchCampaign(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        return self._play(context)

    def ListLeases(self, request: Any, context: grpc.ServicerContext) -> Any:
        return rpc.ListLeasesResponse(leases=map(lease, self.in_force.pop(0)))

    def LeaseItems(self, request: rpc.LeaseItemsRequest, context: grpc.ServicerContext) -> Any:
        self.waits.append(request.wait.ToTimedelta().total_seconds())
        return rpc.LeaseItemsResponse()

    def GetCampaign(self, request: Any, context: grpc.ServicerContext) -> Any:
        context.abort(*self.refusal)


@contextmanager
def serving(scripted: Scripted) -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(8))
    relabel_service_pb2_grpc.add_RelabelServiceServicer_to_server(scripted, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


@pytest.fixture
def scripted() -> Scripted:
    return Scripted()


@pytest.fixture
def client(scripted: Scripted) -> Iterator[Client]:
    with serving(scripted) as address, Client(address, labeler="ann", max_attempts=3) as client:
        yield client


def test_a_stream_that_is_cut_off_brings_every_lease_once(
    scripted: Scripted, client: Client
) -> None:
    scripted.streams = [
        [leased("a", "b"), CUT_OFF],  # and c, which the connection did not bring
        # d is what the lost stream took before the service knew that nobody reads it.
        [HEARTBEAT, leased("d", "e"), (grpc.StatusCode.UNAVAILABLE, "Socket closed")],
        [leased("f")],
    ]
    scripted.in_force = [["before"], ["before", "b", "c"], ["c", "d"], ["e"]]
    tokens = [lease.token for lease in client.stream_leases("demo", max_outstanding=9)]
    assert tokens == ["a", "b", "c", "d", "e", "f"]
    assert scripted.streams == scripted.in_force == []


def test_watching_goes_on_and_says_nothing_twice(scripted: Scripted, client: Client) -> None:
    def seen(num: int) -> rpc.WatchCampaignResponse:
        return rpc.WatchCampaignResponse(
            campaign=campaigns_pb2.Campaign(name="campaigns/demo", num_items=num)
        )

    heartbeat = rpc.WatchCampaignResponse(heartbeat=True)
    scripted.streams = [
        [seen(1), heartbeat, seen(2), CUT_OFF],
        [(grpc.StatusCode.UNAVAILABLE, "Socket closed")],
        [seen(2), heartbeat, CUT_OFF],
        [(grpc.StatusCode.CANCELLED, "Received RST_STREAM with error code 8")],
        [seen(2), seen(3)],
    ]
    assert [response.campaign.num_items for response in client.watch("demo")] == [1, 2, 3]


def test_a_service_that_stays_away_is_told(scripted: Scripted, client: Client) -> None:
    scripted.streams = [[CUT_OFF]] * 3
    with pytest.raises(Unavailable, match="RST_STREAM"):
        list(client.watch("demo"))
    assert scripted.streams == []


def test_what_ends_a_stream_for_good_is_raised_at_once(scripted: Scripted, client: Client) -> None:
    scripted.streams = [[(grpc.StatusCode.INTERNAL, INTERNAL_MESSAGE)]]
    with pytest.raises(RelabelError, match=INTERNAL_MESSAGE) as failed:
        list(client.watch("demo"))
    assert type(failed.value) is RelabelError


def test_a_stream_without_a_sign_of_life_is_opened_again(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel, "SILENCE_S", 0.2)
    first = rpc.WatchCampaignResponse(campaign=campaigns_pb2.Campaign(num_items=1))
    second = rpc.WatchCampaignResponse(campaign=campaigns_pb2.Campaign(num_items=2))
    scripted.streams = [[first, until_cancelled], [second]]
    with serving(scripted) as address, Client(address, labeler="ann") as client:
        counts = [response.campaign.num_items for response in islice(client.watch("demo"), 2)]
    assert counts == [1, 2]


def until_cancelled(context: grpc.ServicerContext) -> None:
    """Send nothing until the client has gone."""
    ended = Event()
    if context.add_callback(ended.set):
        ended.wait()


@pytest.mark.parametrize(
    ("code", "details", "kind"),
    [
        (grpc.StatusCode.INTERNAL, RESET, Unavailable),
        (grpc.StatusCode.UNKNOWN, "Stream removed", Unavailable),
        (grpc.StatusCode.CANCELLED, "CANCELLED", Unavailable),  # shed by a busy server
        (grpc.StatusCode.INTERNAL, "The actor died unexpectedly before", Unavailable),
        (grpc.StatusCode.INTERNAL, INTERNAL_MESSAGE, RelabelError),
        (grpc.StatusCode.UNKNOWN, "Received http2 header with status: 413", Exhausted),
        (grpc.StatusCode.UNKNOWN, "Received http2 header with status: 302", Unavailable),
        (grpc.StatusCode.UNKNOWN, "Received http2 header with status: 500", Unavailable),
        (grpc.StatusCode.UNIMPLEMENTED, "Received http2 header with status: 404", Unavailable),
        (
            grpc.StatusCode.PERMISSION_DENIED,
            "Received http2 header with status: 403",
            PermissionDenied,
        ),
        (grpc.StatusCode.UNIMPLEMENTED, "Method not found!", RelabelError),
    ],
)
def test_a_gateways_words_are_understood(
    scripted: Scripted, client: Client, code: grpc.StatusCode, details: str, kind: type[Exception]
) -> None:
    scripted.refusal = (code, details)
    with pytest.raises(RelabelError) as failed:
        client.get_campaign("demo")
    assert type(failed.value) is kind


@pytest.mark.parametrize(
    ("wait_s", "pieces"), [(0, [0]), (30, [30]), (45, [45]), (100, [45, 45, 10])]
)
def test_long_waits_are_asked_for_in_pieces(
    scripted: Scripted, client: Client, wait_s: float, pieces: list[float]
) -> None:
    assert client.lease("demo", wait_s=wait_s) == []
    assert scripted.waits == pieces
