"""Imports go on without a caller: after a restart, and by one of several replicas at a time."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from relabel_service.queue import background_leases, findings_reader, import_items
from relabel_service.server import background, campaign_rpcs
from relabel_service.server.background import IMPORTING
from relabel_service.server.service import LeaseService
from relabel_service.v1 import campaigns_pb2
from relabel_service.v1 import relabel_service_pb2 as rpc
from tests.conftest import Start
from tests.support.campaigns import ADMIN, CAMPAIGN, create_request, write_findings
from tests.support.people import stats

NUM_ITEMS = 40


@pytest.fixture
def begun(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LeaseService:
    """A service that has taken the first of ten steps of an import."""
    monkeypatch.setattr(findings_reader, "STEP", 4)
    with monkeypatch.context() as patched:
        patched.setattr(campaign_rpcs, "IMPORT_S", 0.0)
        service = LeaseService(start.store)
        service.CreateCampaign(create_request(write_findings(tmp_path, NUM_ITEMS)), ADMIN)
    return service


def state(service: LeaseService) -> int:
    campaign = service.GetCampaign(rpc.GetCampaignRequest(name=CAMPAIGN), ADMIN).campaign
    return campaign.state


def test_an_import_goes_on_in_a_service_that_starts_anew(begun: LeaseService, start: Start) -> None:
    assert state(begun) == campaigns_pb2.CAMPAIGN_STATE_IMPORTING
    again = LeaseService(start.store)
    while again.background.round(turn_s=60.0):
        pass
    assert (state(again), stats(again).num_open) == (campaigns_pb2.CAMPAIGN_STATE_ACTIVE, NUM_ITEMS)


def test_of_several_replicas_one_imports_and_no_item_comes_twice(
    begun: LeaseService, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_step, may_go_on = threading.Event(), threading.Event()
    stepping: list[str] = []
    take_step = import_items._step

    def step(*arguments: Any) -> Any:
        stepping.append(threading.current_thread().name)
        in_step.set()
        may_go_on.wait()
        return take_step(*arguments)

    monkeypatch.setattr(import_items, "_step", step)
    replicas = [LeaseService(start.store) for _ in range(3)]
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(replicas[0].background.round, turn_s=60.0)
        in_step.wait()
        assert [other.background.round(turn_s=60.0) for other in replicas[1:]] == [False, False]
        may_go_on.set()
        first.result()
    assert len(set(stepping)) == 1
    assert (state(begun), stats(begun).num_open) == (
        campaigns_pb2.CAMPAIGN_STATE_ACTIVE,
        NUM_ITEMS,
    )


def test_a_worker_that_outlives_its_lease_does_no_harm(
    begun: LeaseService, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "LEASE_S", 0.0)
    replicas = [LeaseService(start.store) for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda one: one.background.turn("test", IMPORTING, turn_s=60.0), replicas))
    assert stats(begun).num_open == NUM_ITEMS


def test_a_lease_is_one_workers_until_it_expires_or_is_given_back(start: Start) -> None:
    start()
    with start.store.write_transaction() as (connection, now):

        def take(worker: str, now: float) -> bool:
            return background_leases.take(
                connection, "test", worker=worker, expire_time=now + 5, now=now
            )

        assert take("a", now)
        assert not take("b", now + 4)
        assert background_leases.waiting(connection, ["active"], now=now + 4) == []
        assert background_leases.waiting(connection, ["active"], now=now + 5) == [
            ("test", "active")
        ]
        assert take("b", now + 5)
        background_leases.give_back(connection, "test", worker="a")  # has it no longer
        assert not take("a", now + 6)
        background_leases.give_back(connection, "test", worker="b")
        assert take("a", now + 6)
