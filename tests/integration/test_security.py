"""Tokens, limits, reflection and hostile bytes over the wire."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
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
