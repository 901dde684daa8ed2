"""A service killed half-way through an import or through publishing: the next one completes it."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

from relabel_service.queue import findings_reader
from relabel_service.queue.store import open_store
from relabel_service.server import campaign_rpcs
from relabel_service.server.service import LeaseService
from relabel_service.v1 import campaigns_pb2
from relabel_service.v1 import relabel_service_pb2 as rpc
from tests.support.campaigns import ADMIN, CAMPAIGN, create_request, request_id, write_findings
from tests.support.killed import POINTS, STEP
from tests.support.people import Person, stats

NUM_ITEMS = 10


@pytest.fixture(scope="module")
def call() -> Iterator[Callable[[list[str]], int]]:
    """Makes one call that dies (tests/killed.py); its exit code."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.support.killed"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        sent, codes = process.stdin, process.stdout
        assert sent is not None
        assert codes is not None

        def run(arguments: list[str]) -> int:
            print(json.dumps(arguments), file=sent, flush=True)
            return int(codes.readline())

        yield run
        sent.close()


@contextmanager
def opened(queue_url: str) -> Iterator[LeaseService]:
    """A service for as long as no other process has the queue, which SQLite gives to one alone."""
    store = open_store(queue_url)
    try:
        yield LeaseService(store)
    finally:
        store.close()


@pytest.mark.parametrize("point", POINTS)
def test_whatever_was_half_done_is_completed_once(
    tmp_path: Path, queue_url: str, monkeypatch: pytest.MonkeyPatch, call: Any, point: str
) -> None:
    results_uri = str(tmp_path / "results")
    with opened(queue_url) as service, monkeypatch.context() as patched:
        if point.startswith("import"):
            patched.setattr(findings_reader, "STEP", STEP)
            patched.setattr(campaign_rpcs, "IMPORT_S", 0.0)
        made = service.CreateCampaign(create_request(write_findings(tmp_path, NUM_ITEMS)), ADMIN)
        if made.campaign.state == campaigns_pb2.CAMPAIGN_STATE_ACTIVE:
            ann = Person(service, "ann")
            for lease in ann.lease(NUM_ITEMS):
                ann.say(lease, "spam")
    assert call([point, queue_url, results_uri]) == -signal.SIGKILL
    with opened(queue_url) as service:
        if point.startswith("import"):
            service.background.round(turn_s=60.0)
            campaign = service.GetCampaign(rpc.GetCampaignRequest(name=CAMPAIGN), ADMIN).campaign
            assert campaign.state == campaigns_pb2.CAMPAIGN_STATE_ACTIVE
            assert stats(service).num_open == NUM_ITEMS
            leases = Person(service, "ann").lease(NUM_ITEMS + 1)
            assert [lease.item.rank for lease in leases] == list(range(NUM_ITEMS))
            return
        for _ in range(2):
            request = rpc.FinalizeCampaignRequest(
                name=CAMPAIGN, results_uri=results_uri, request_id=request_id()
            )
            done = service.FinalizeCampaign(request, ADMIN).campaign
            assert done.state == campaigns_pb2.CAMPAIGN_STATE_FINALIZED
            assert done.num_published == done.num_answers == NUM_ITEMS
        table = DeltaTable(results_uri)
        assert sorted(table.to_pyarrow_table()["rank"].to_pylist()) == list(range(NUM_ITEMS))
        assert len([commit for commit in table.history() if commit["operation"] == "WRITE"]) == 1
