"""Calls that wait and calls that go on, over the wire."""

import uuid
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import grpc
import pytest

from relabel_service import Client, confirm
from relabel_service.errors import InvalidInput, NotFound
from relabel_service.server.rate_limits import DEFAULT_LIMITS
from relabel_service.v1 import campaigns_pb2, relabel_service_pb2_grpc
from relabel_service.v1 import relabel_service_pb2 as rpc
from relabel_service.wire.metadata import APPLICATION
from tests.support.campaigns import write_findings
from tests.support.servers import ServerProcess


@pytest.fixture
def ann(server: ServerProcess) -> Any:
    with Client(server.address, labeler="ann") as client:
        yield client


@pytest.fixture
def bob(server: ServerProcess) -> Any:
    with Client(server.address, labeler="bob") as client:
        yield client


@pytest.fixture
def campaign(ann: Client, tmp_path: Path) -> str:
    uri = write_findings(tmp_path, 3)
    return ann.create_campaign(f"c-{uuid.uuid4().hex}", findings_uri=uri, run_id="run").name


def test_a_call_that_waits_gets_what_is_given_back_meanwhile(
    ann: Client, bob: Client, campaign: str
) -> None:
    leases = ann.lease(campaign, max_items=3)
    assert bob.lease(campaign) == []
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(bob.lease, campaign, wait_s=30)
        ann.release(campaign, [leases[1].token])
        [lease] = waiting.result()
    assert lease.item.rank == 1


def test_a_call_that_waits_gets_what_an_admin_takes_away(
    ann: Client, bob: Client, campaign: str
) -> None:
    ann.lease(campaign, max_items=3, duration_s=24 * 3600.0)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(bob.lease, campaign, max_items=3, wait_s=30)
        assert ann.force_release(campaign, labeler="ann") == 3
        assert waiting.result()


def test_a_deleted_campaign_is_gone(ann: Client, campaign: str) -> None:
    ann.lease(campaign)
    ann.delete_campaign(campaign)
    assert campaign not in {one.name for one in ann.list_campaigns()}
    with pytest.raises(NotFound):
        ann.get_campaign(campaign)


def test_a_call_that_waits_in_vain_ends_empty(ann: Client, bob: Client, campaign: str) -> None:
    ann.lease(campaign, max_items=3)
    assert bob.lease(campaign, wait_s=1) == []


def test_a_stream_gives_all_items_and_ends_with_the_campaign(
    ann: Client, bob: Client, campaign: str
) -> None:
    ranks = []
    for lease in ann.stream_leases(campaign, max_outstanding=2):
        ranks.append(lease.item.rank)
        ann.submit(campaign, [confirm(lease)])
        if len(ranks) == 3:
            bob.close_campaign(campaign)
    assert ranks == [0, 1, 2]


def test_a_stream_that_breaks_a_rule_says_so(ann: Client, campaign: str) -> None:
    with pytest.raises(InvalidInput, match="max_outstanding"):
        list(ann.stream_leases(campaign, max_outstanding=0))
    with pytest.raises(NotFound):
        list(ann.watch("campaigns/none"))


def test_watching_tells_each_change_until_the_end(
    ann: Client, campaign: str, tmp_path: Path
) -> None:
    seen = ann.watch(campaign)
    [first] = islice(seen, 1)
    assert first.stats.num_done == 0
    [lease] = ann.lease(campaign)
    ann.submit(campaign, [confirm(lease)])
    ann.finalize(campaign, results_uri=str(tmp_path / "results"))
    *_, last = seen
    assert last.campaign.state == campaigns_pb2.CAMPAIGN_STATE_FINALIZED
    assert last.stats.num_done == 1


def test_streams_beyond_what_a_caller_may_have_are_refused_and_others_served(
    server: ServerProcess, ann: Client, bob: Client, campaign: str
) -> None:
    with grpc.insecure_channel(server.address) as channel:
        stub: Any = relabel_service_pb2_grpc.RelabelServiceStub(channel)  # type: ignore[no-untyped-call]
        watch = stub.WatchCampaign
        request = rpc.WatchCampaignRequest(name=campaign)
        who = (("relabel-labeler", "mallory"), ("application", APPLICATION))
        streams = [watch(request, metadata=who) for _ in range(DEFAULT_LIMITS.max_streams)]
        for stream in streams:
            assert next(stream).campaign.name == campaign
        with pytest.raises(grpc.RpcError) as refused:
            list(watch(request, metadata=who))
        assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        [lease] = ann.lease(campaign)
        [first] = islice(bob.watch(campaign), 1)
        assert first.campaign.name == campaign
        ann.submit(campaign, [confirm(lease)])
        for stream in streams:  # all see the change, which was looked for once
            assert any(update.stats.num_done == 1 for update in stream)
            stream.cancel()


def test_pausing_stops_the_giving_and_resuming_goes_on(ann: Client, campaign: str) -> None:
    assert ann.pause(campaign).state == campaigns_pb2.CAMPAIGN_STATE_PAUSED
    assert ann.resume(campaign).state == campaigns_pb2.CAMPAIGN_STATE_ACTIVE
    assert len(ann.lease(campaign, max_items=3)) == 3
