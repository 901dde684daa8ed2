"""Orderings that read all rows first do so once, however many calls come meanwhile."""

import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from relabel_service.queue.ordering import ORDERINGS, Ordering, by_class
from relabel_service.server import background, campaign_rpcs
from relabel_service.server.service import LeaseService
from relabel_service.v1 import campaigns_pb2
from relabel_service.v1 import relabel_service_pb2 as rpc
from tests.conftest import Start
from tests.support.campaigns import ADMIN, CAMPAIGN, create_request, write_findings
from tests.support.people import Person

BY_CLASS = campaigns_pb2.ITEM_ORDER_BY_CLASS


def get(service: LeaseService) -> campaigns_pb2.Campaign:
    return service.GetCampaign(rpc.GetCampaignRequest(name=CAMPAIGN), ADMIN).campaign


def test_a_round_that_cannot_wait_for_the_ordering_comes_again(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_end, num_computed = threading.Event(), []

    def slow(rows: Iterable[Any]) -> Ordering:
        num_computed.append(1)
        ordering = by_class(rows)
        may_end.wait()
        return ordering

    monkeypatch.setitem(ORDERINGS, "by_class", slow)
    monkeypatch.setattr(campaign_rpcs, "IMPORT_S", 0.0)
    service = LeaseService(start.store)
    request = create_request(write_findings(tmp_path, 3), item_order=BY_CLASS)
    created = service.CreateCampaign(request, ADMIN).campaign
    assert get(service) == created
    assert (created.state, created.num_imported) == (campaigns_pb2.CAMPAIGN_STATE_IMPORTING, 0)
    may_end.set()
    service.background.round(turn_s=60.0)
    assert get(service).state == campaigns_pb2.CAMPAIGN_STATE_ACTIVE
    assert [lease.item.rank for lease in Person(service, "ann").lease(9)] == [0, 1, 2]
    assert len(num_computed) == 1


def test_an_ordering_that_fails_is_reported_and_tried_again(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(rows: Iterable[Any]) -> Ordering:
        raise OSError("the disk is gone")

    monkeypatch.setattr(background, "AGAIN_S", 0.0)
    service = LeaseService(start.store)
    request = create_request(write_findings(tmp_path, 3), item_order=BY_CLASS)
    with monkeypatch.context() as patched:
        patched.setitem(ORDERINGS, "by_class", broken)
        created = service.CreateCampaign(request, ADMIN).campaign
        assert "the disk is gone" in created.failure.message
    service.background.round(turn_s=60.0)
    assert get(service).state == campaigns_pb2.CAMPAIGN_STATE_ACTIVE
