"""Tokens, limits, reflection and hostile bytes over the wire."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from google.protobuf import message_factory
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from relabel_service import Client, confirm, skip
from relabel_service.errors import PermissionDenied, Unauthenticated
from relabel_service.server.auth import mint
from relabel_service.v1 import campaigns_pb2, leases_pb2
from relabel_service.v1 import relabel_service_pb2 as rpc
from relabel_service.wire.metadata import LABELER_KEY
from tests.integration.conftest import SECRET
from tests.support.campaigns import write_findings
from tests.support.servers import ServerProcess

SERVICE = rpc.DESCRIPTOR.services_by_name["RelabelService"]
RAW = (lambda raw: raw, lambda raw: raw)  # serializers of bytes


def client(server: ServerProcess, name: str, **claims: Any) -> Client:
    return Client(server.address, token=mint(SECRET.encode(), name, lifetime_s=600, **claims))


@pytest.fixture
def campaign(guarded: ServerProcess, tmp_path: Path) -> str:
    with client(guarded, "boss", role="admin") as admin:
        name = f"c-{uuid.uuid4().hex}"
        made = admin.create_campaign(name, findings_uri=write_findings(tmp_path, 4), run_id="run")
    return made.name


def test_the_token_and_nothing_else_says_who_answers(guarded: ServerProcess, campaign: str) -> None:
    with client(guarded, "ann") as ann:
        [lease] = ann.lease(campaign)
        [outcome] = ann.submit(campaign, [confirm(lease)])
        assert outcome.status == leases_pb2.RESULT_STATUS_ACCEPTED
        [labeler] = ann.stats(campaign).labelers
        assert labeler.labeler == "ann"
        with pytest.raises(PermissionDenied, match="admin"):
            ann.finalize(campaign, results_uri="/nowhere")
    with Client(guarded.address, labeler="ann") as nobody, pytest.raises(Unauthenticated):
        nobody.lease(campaign)
    with Client(guarded.address, token="forged") as forger, pytest.raises(Unauthenticated):
        forger.lease(campaign)


def test_a_scope_keeps_to_its_campaigns(guarded: ServerProcess, campaign: str) -> None:
    with client(guarded, "ann", campaigns=("another",)) as ann:
        with pytest.raises(PermissionDenied, match="no access"):
            ann.lease(campaign)
        assert list(ann.list_campaigns()) == []
    with client(guarded, "bob", campaigns=(campaign.removeprefix("campaigns/"),)) as bob:
        assert [visible.name for visible in bob.list_campaigns()] == [campaign]


def test_an_admin_reopens_and_requeues(guarded: ServerProcess, campaign: str) -> None:
    with client(guarded, "boss", role="admin") as admin, client(guarded, "ann") as ann:
        first, second = ann.lease(campaign, max_items=2)
        ann.submit(campaign, [confirm(first), skip(second)])
        for refused in (ann.reopen_campaign, ann.requeue_skipped):
            with pytest.raises(PermissionDenied, match="admin"):
                refused(campaign)
        admin.close_campaign(campaign)
        assert admin.reopen_campaign(campaign).state == campaigns_pb2.CAMPAIGN_STATE_ACTIVE
        done = admin.reopen_items(campaign, items=[first.item.name])
        assert (done.num_items, done.num_answers) == (1, 1)
        assert admin.requeue_skipped(campaign) == 1
        again = [lease.item.name for lease in ann.lease(campaign, max_items=2)]
        assert again == [first.item.name, second.item.name]
        logged = [action.method for action in admin.admin_actions(campaign, who="boss")]
        assert logged == [
            "RequeueSkippedItems",
            "ReopenItems",
            "ReopenCampaign",
            "CloseCampaign",
            "CreateCampaign",
        ]
        with pytest.raises(PermissionDenied, match="admin"):
            next(ann.admin_actions(campaign))


@pytest.fixture
def channel(server: ServerProcess) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.address) as opened:
        yield opened


def call(channel: grpc.Channel, method: str, message: bytes) -> grpc.StatusCode:
    path = f"/{SERVICE.full_name}/{method}"
    is_stream = SERVICE.methods_by_name[method].server_streaming
    kind = channel.unary_stream if is_stream else channel.unary_unary
    send = kind(path, lambda raw: raw, lambda raw: raw)
    try:
        response = send(message, metadata=((LABELER_KEY, "ann"),), timeout=30)
        if is_stream:
            list(response)
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


@pytest.mark.parametrize("method", [method.name for method in SERVICE.methods])
def test_bytes_that_are_no_message_are_the_callers_fault(
    channel: grpc.Channel, method: str
) -> None:
    for message in (b"\xff", b"\x0a\x05ab", bytes(range(256))):
        assert call(channel, method, message) == grpc.StatusCode.INVALID_ARGUMENT


def test_a_message_over_the_limit_is_refused(channel: grpc.Channel) -> None:
    message = rpc.GetCampaignRequest(name="x" * (4 * 2**20)).SerializeToString()
    assert call(channel, "GetCampaign", message) == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_the_service_describes_itself(channel: grpc.Channel) -> None:
    services = set(ProtoReflectionDescriptorDatabase(channel).get_services())
    assert {SERVICE.full_name, "grpc.health.v1.Health"} <= services


def test_a_frontend_answers_for_labelers_of_its_campaigns(
    guarded: ServerProcess, campaign: str
) -> None:
    scope = {"role": "frontend", "campaigns": (campaign.removeprefix("campaigns/"),)}
    with client(guarded, "bridge", labelers=("ann", "René *"), **scope) as bridge:
        for name in ("ann", "René D."):
            labeler = bridge.on_behalf_of(name)
            [lease] = labeler.lease(campaign)
            [outcome] = labeler.submit(campaign, [confirm(lease)])
            assert outcome.status == leases_pb2.RESULT_STATUS_ACCEPTED
            [counts] = labeler.stats(campaign).labelers
            assert (counts.labeler, counts.num_results) == (name, 1)
        with pytest.raises(PermissionDenied, match="'bob'"):
            bridge.on_behalf_of("bob").lease(campaign)
        with pytest.raises(PermissionDenied, match="frontend"):
            bridge.lease(campaign)
    with client(guarded, "ann") as ann, pytest.raises(PermissionDenied, match="only a frontend"):
        ann.on_behalf_of("bob").lease(campaign)


def test_nobody_without_a_token_reads_a_campaigns_name(
    guarded: ServerProcess, campaign: str
) -> None:
    """Nor that there is one: what is told is the same as of a campaign that there is not."""
    name = campaign.removeprefix("campaigns/")
    told: list[str] = []
    with grpc.insecure_channel(guarded.address) as channel:
        described = ProtoReflectionDescriptorDatabase(channel)
        services = described.get_services()
        told += [str(described.FindFileContainingSymbol(service)) for service in services]
        health = health_pb2_grpc.HealthStub(channel)
        asked = health_pb2.HealthCheckRequest(service=SERVICE.full_name)
        told += [str(health.Check(asked)), str(next(iter(health.Watch(asked))))]
        for method in ("ListApplications", "Healthz"):
            serve = channel.unary_unary(f"/ray.serve.RayServeAPIService/{method}", *RAW)
            told.append(str(serve(b"", metadata=(("application", "relabel"),))))
        unknown = channel.unary_unary(f"/{SERVICE.full_name}/Nothing", *RAW)
        with pytest.raises(grpc.RpcError) as refused:
            unknown(b"", metadata=(("application", "relabel"),))
        told.append(str(refused.value))
        for each in SERVICE.methods:
            of_this, of_none = (refusal(channel, each.name, one) for one in (name, "c-none"))
            assert of_this == of_none
            told.append(of_this)
    with httpx.Client(base_url=f"http://127.0.0.1:{guarded.http_port}") as browser:
        for path in ("/", "/-/healthz", "/-/routes", "/nothing", f"/{campaign}/events"):
            response = browser.get(path)
            told.append(f"{response.headers} {response.text}")
    assert len(told) > len(SERVICE.methods) + 10
    assert [text for text in told if name in text] == []


def refusal(channel: grpc.Channel, method: str, campaign: str) -> str:
    """What a caller without a token is told about a request for the campaign."""
    kind = message_factory.GetMessageClass(SERVICE.methods_by_name[method].input_type)
    names = {
        "campaign_id": campaign,
        "name": f"campaigns/{campaign}",
        "parent": f"campaigns/{campaign}",
    }
    known = {field: names[field] for field in names if field in kind.DESCRIPTOR.fields_by_name}
    path = f"/{SERVICE.full_name}/{method}"
    is_stream = SERVICE.methods_by_name[method].server_streaming
    send = (channel.unary_stream if is_stream else channel.unary_unary)(path, *RAW)
    with pytest.raises(grpc.RpcError) as refused:
        answered(send(kind(**known).SerializeToString(), timeout=30), is_stream=is_stream)
    assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED
    # Serve's request_id is another of each call.
    metadata = [pair for pair in refused.value.trailing_metadata() if pair.key != "request_id"]
    return f"{refused.value.details()} {metadata}"


def answered(response: Any, *, is_stream: bool) -> None:
    if is_stream:
        list(response)
