"""Waiting, streaming, giving back with delay, pausing and closing."""

from typing import Any

import pytest

from relabel_service.errors import WrongState
from relabel_service.server.service import LeaseService
from relabel_service.v1 import campaigns_pb2, leases_pb2
from relabel_service.v1 import relabel_service_pb2 as rpc
from tests.conftest import Start
from tests.support.campaigns import ADMIN, CAMPAIGN, request_id
from tests.support.people import ACCEPTED, Person, stats

CLOSED = leases_pb2.RESULT_STATUS_CLOSED


def test_a_waiting_request_gets_what_comes_free_and_then_always_that(start: Start) -> None:
    service = start(num_items=1)
    ann, bob = Person(service, "ann"), Person(service, "bob")
    [lease] = ann.lease()
    request = rpc.LeaseItemsRequest(parent=CAMPAIGN, request_id=request_id(), wait={"seconds": 9})
    assert not service.LeaseItems(request, bob.caller, may_wait=True).leases
    ann.release([lease])
    first = service.LeaseItems(request, bob.caller, may_wait=True)
    assert len(first.leases) == 1
    assert service.LeaseItems(request, bob.caller) == first


def test_a_stream_keeps_its_caller_supplied(start: Start) -> None:
    service = start(num_items=5)
    ann = Person(service, "ann")
    request = rpc.StreamLeasesRequest(parent=CAMPAIGN, max_outstanding=2)

    def more() -> list[leases_pb2.Lease]:
        leased = service.next_leases(request, ann.caller)
        assert not leased.is_over
        return list(leased.response.leases) if leased.response else []

    first, second = more()
    assert more() == []
    ann.say(first, "spam")
    [third] = more()
    assert third.item.rank == 2
    move(service, "Pause")
    ann.say(second, "spam")
    assert more() == []
    move(service, "Resume")
    assert len(more()) == 1
    move(service, "Close")
    assert service.next_leases(request, ann.caller).is_over


def test_an_item_given_back_with_delay_comes_again_when_it_has_passed(start: Start) -> None:
    service = start(num_items=2)
    ann, bob = Person(service, "ann"), Person(service, "bob")
    [worst] = ann.lease()
    assert ann.release([worst], delay={"seconds": 60}) == 1
    assert [lease.item.rank for lease in bob.lease(2)] == [1]
    assert stats(service).num_open == 1
    start.clock.now += 61
    assert [lease.item.rank for lease in ann.lease(2)] == [0]


def test_the_end_of_one_delay_does_not_end_a_later_one(start: Start) -> None:
    service = start(votes_required=2)
    ann, bob, cyd = (Person(service, name) for name in ("ann", "bob", "cyd"))
    [worst] = ann.lease(1)
    [shared] = bob.lease(1)
    assert shared.item.rank == worst.item.rank
    ann.release([worst], delay={"seconds": 60})
    start.clock.now += 61  # nobody leases meanwhile
    bob.release([shared], delay={"seconds": 400})
    assert worst.item.rank not in [lease.item.rank for lease in cyd.lease(5)]
    start.clock.now += 401
    assert [lease.item.rank for lease in cyd.lease(1)] == [worst.item.rank]


def test_a_paused_campaign_takes_answers_and_gives_nothing_out(start: Start) -> None:
    service = start()
    ann = Person(service, "ann")
    [lease] = ann.lease()
    paused = move(service, "Pause")
    assert paused.state == campaigns_pb2.CAMPAIGN_STATE_PAUSED
    assert move(service, "Pause") == paused
    with pytest.raises(WrongState, match="paused"):
        ann.lease()
    assert ann.say(lease, "spam") == ACCEPTED
    assert move(service, "Resume").state == campaigns_pb2.CAMPAIGN_STATE_ACTIVE
    assert len(ann.lease()) == 1


def test_a_closed_campaign_takes_nothing_for_good(start: Start) -> None:
    service = start()
    ann = Person(service, "ann")
    [lease] = ann.lease()
    move(service, "Close")
    assert ann.say(lease, "spam") == CLOSED
    with pytest.raises(WrongState, match="closed"):
        move(service, "Resume")


def test_watching_shows_the_campaign_with_its_counts(start: Start) -> None:
    service = start()
    before = service.look(CAMPAIGN).shown_to(ADMIN)
    Person(service, "ann").label_next("spam")
    after = service.look(CAMPAIGN).shown_to(ADMIN)
    assert (before.stats.num_done, after.stats.num_done) == (0, 1)
    assert after.campaign.name == CAMPAIGN


def move(service: LeaseService, verb: str) -> campaigns_pb2.Campaign:
    kind: Any = getattr(rpc, f"{verb}CampaignRequest")
    request = kind(name=CAMPAIGN, request_id=request_id())
    campaign: campaigns_pb2.Campaign = getattr(service, f"{verb}Campaign")(request, ADMIN).campaign
    return campaign
