"""The service over the wire: a real server process, the real client, and SIGKILL."""

import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from relabel_service import Client, accept, confirm
from relabel_service.errors import NotFound, Unauthenticated
from relabel_service.v1 import leases_pb2, relabel_service_pb2_grpc
from relabel_service.v1 import relabel_service_pb2 as rpc
from relabel_service.wire.metadata import LABELER_KEY
from tests.support.campaigns import write_findings
from tests.support.servers import ServerProcess
from tests.unit.test_queue import MALFORMED

ACCEPTED = leases_pb2.RESULT_STATUS_ACCEPTED
NUM_ITEMS = 40


@pytest.fixture
def campaign(server: ServerProcess, tmp_path: Path) -> str:
    return new_campaign(server, tmp_path)


def new_campaign(server: ServerProcess, folder: Path, **settings: Any) -> str:
    findings = write_findings(folder, NUM_ITEMS)
    with Client(server.address, labeler="admin") as client:
        made = client.create_campaign(
            f"c-{uuid.uuid4().hex}", findings_uri=findings, run_id="run", **settings
        )
    return made.name


def label_all(address: str, campaign: str, labeler: str) -> list[int]:
    """Ranks of the items that `labeler` had accepted."""
    ranks = []
    with Client(address, labeler=labeler) as client:
        # With a wait: what others lease or answer at this moment is free for nobody (PostgreSQL).
        while leases := client.lease(campaign, max_items=3, wait_s=1.0):
            outcomes = client.submit(campaign, [confirm(lease) for lease in leases])
            ranks += [
                lease.item.rank
                for lease, outcome in zip(leases, outcomes, strict=True)
                if outcome.status == ACCEPTED
            ]
    return ranks


def label_everything(address: str, campaign: str) -> Counter[int]:
    """How many results of each rank four labelers at once had accepted."""
    with ThreadPoolExecutor(4) as pool:
        done = pool.map(lambda who: label_all(address, campaign, who), "abcd")
        return Counter(rank for ranks in done for rank in ranks)


def test_labelers_at_once_never_get_the_same_item(server: ServerProcess, campaign: str) -> None:
    counts = label_everything(server.address, campaign)
    assert counts == dict.fromkeys(range(NUM_ITEMS), 1)


def test_held_items_come_back_when_let_go_unanswered(server: ServerProcess, campaign: str) -> None:
    with Client(server.address, labeler="ann") as client:
        with client.leases(campaign, max_items=5) as leases:
            client.submit(campaign, [accept(leases[0])])
            assert client.stats(campaign).num_leased == 4
        assert client.stats(campaign).num_open == NUM_ITEMS - 1


def test_nothing_answered_ok_is_lost_to_sigkill(server: ServerProcess, tmp_path: Path) -> None:
    with Client(server.address, labeler="ann") as client:
        campaign = new_campaign(server, tmp_path)
        first, second = client.lease(campaign, max_items=2)
        [outcome] = client.submit(campaign, [accept(first)])
        assert outcome.status == ACCEPTED
        server.kill()
        server.start()
        counts = client.stats(campaign)
        assert (counts.num_results, counts.num_done, counts.num_leased) == (1, 1, 1)
        [again, late] = client.submit(campaign, [accept(first), confirm(second)])
        assert (again.status, late.status) == (leases_pb2.RESULT_STATUS_STALE, ACCEPTED)


@pytest.fixture
def stub(server: ServerProcess) -> Iterator[Any]:
    with grpc.insecure_channel(server.address) as channel:
        yield relabel_service_pb2_grpc.RelabelServiceStub(channel)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    ("request_message", "fields"),
    [(message, fields) for message, fields in MALFORMED if "results[0].decision" not in fields],
    ids=lambda value: type(value).__name__,
)
def test_malformed_requests_are_refused_field_by_field(
    stub: Any, request_message: Any, fields: list[str]
) -> None:
    call = getattr(stub, type(request_message).__name__.removesuffix("Request"))
    with pytest.raises(grpc.RpcError) as refused:
        call(request_message, metadata=[(LABELER_KEY, "ann")])
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert violated_fields(refused.value) == fields


def violated_fields(error: Any) -> list[str]:
    bad, info = BadRequest(), ErrorInfo()
    first, second = rpc_status.from_call(error).details
    assert first.Unpack(info)
    assert (info.reason, info.domain) == ("INVALID_INPUT", "relabel-service")
    assert second.Unpack(bad)
    return [violation.field for violation in bad.field_violations]


def test_a_caller_must_say_who_it_is(server: ServerProcess, campaign: str) -> None:
    with Client(server.address, labeler="") as client, pytest.raises(Unauthenticated):
        client.lease(campaign)


def test_an_unknown_campaign_is_not_found(server: ServerProcess) -> None:
    with (
        Client(server.address, labeler="ann") as client,
        pytest.raises(NotFound, match="ListCampaigns"),
    ):
        client.stats("campaigns/none")


def test_a_request_sent_again_over_the_wire_gets_the_first_answer(
    stub: Any, server: ServerProcess, campaign: str
) -> None:
    request = rpc.LeaseItemsRequest(parent=campaign, max_items=2, request_id=str(uuid.uuid4()))
    metadata = [(LABELER_KEY, "ann")]
    first = stub.LeaseItems(request, metadata=metadata)
    assert stub.LeaseItems(request, metadata=metadata) == first
    with Client(server.address, labeler="ann") as client:
        assert client.stats(campaign).num_leased == 2


def test_health_is_told_in_the_standard_way(server: ServerProcess) -> None:
    with grpc.insecure_channel(server.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        response = health.Check(health_pb2.HealthCheckRequest(service=""))
        assert response.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError) as refused:
            health.Check(health_pb2.HealthCheckRequest(service="other"))
    assert refused.value.code() == grpc.StatusCode.NOT_FOUND


def test_health_is_watched_in_the_standard_way(server: ServerProcess) -> None:
    with grpc.insecure_channel(server.address) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch
        for service, status in (("", "SERVING"), ("other", "SERVICE_UNKNOWN")):
            health_stream = watch(health_pb2.HealthCheckRequest(service=service))
            first = next(health_stream)
            assert first == health_pb2.HealthCheckResponse(status=status)
            health_stream.cancel()
