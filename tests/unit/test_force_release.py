"""Nobody keeps a campaign from the others: shares are capped, and an admin takes leases away."""

from typing import Any

import pytest

from relabel_service.errors import Exhausted, InvalidInput
from relabel_service.server.rate_limits import Limits
from relabel_service.server.service import LeaseService
from relabel_service.v1 import relabel_service_pb2 as rpc
from tests.conftest import Start
from tests.support.campaigns import (
    ADMIN,
    CAMPAIGN,
    create_request,
    request_id,
    write_findings,
)
from tests.support.people import ACCEPTED, STALE, Person


def force(service: LeaseService, **fields: Any) -> int:
    request = rpc.ForceReleaseRequest(parent=CAMPAIGN, request_id=request_id(), **fields)
    return service.ForceRelease(request, ADMIN).num_released


def test_a_labeler_cannot_have_a_whole_campaign(start: Start) -> None:
    service = start(num_items=100)
    ann, bob = Person(service, "ann"), Person(service, "bob")
    assert len(ann.lease(100)) == 25
    with pytest.raises(Exhausted, match=r"'ann' has 25 leases .* which has 100 items; .* 25 are"):
        ann.lease()
    assert len(bob.lease(100)) == 25
    every = LeaseService(start.store, limits=Limits(max_share=1.0))
    assert len(Person(every, "ann").lease(100)) == 50


def test_leases_in_all_campaigns_together_are_capped(start: Start) -> None:
    start(num_items=6)
    other = start.folder / "other"
    other.mkdir()
    service = LeaseService(start.store, limits=Limits(max_leases_in_all=8))
    made = create_request(write_findings(other, 6))
    made.campaign_id = "other"
    service.CreateCampaign(made, ADMIN)
    ann, bob = Person(service, "ann"), Person(service, "bob")
    leases = ann.lease(6)

    def lease_other(num: int, person: Person = ann) -> int:
        request = rpc.LeaseItemsRequest(
            parent="campaigns/other", max_items=num, request_id=request_id()
        )
        return len(service.LeaseItems(request, person.caller).leases)

    assert lease_other(6) == 2  # as many as are left to ann
    with pytest.raises(Exhausted, match=r"'ann' has 8 leases in all campaigns .* 8 are allowed"):
        lease_other(1)
    with pytest.raises(Exhausted, match="8 are allowed"):
        service.next_leases(
            rpc.StreamLeasesRequest(parent="campaigns/other", max_outstanding=9), ann.caller
        )
    assert lease_other(6, bob) == 4  # what others have is theirs
    assert ann.say(leases[0], "spam") == ACCEPTED
    assert lease_other(6) == 0  # bob has the others
    assert ann.lease(1) == []
    start.clock.now += 10_000  # expired leases count no more
    assert lease_other(1) == 1


def test_of_a_small_campaign_one_labeler_may_have_everything(start: Start) -> None:
    assert len(Person(start(num_items=20), "ann").lease(100)) == 20


def test_leases_of_a_labeler_are_taken_away_and_others_have_the_items(start: Start) -> None:
    service = start(num_items=4)
    ann, bob = Person(service, "ann"), Person(service, "bob")
    leases = ann.lease(3, lease_duration={"seconds": 24 * 3600})
    [other] = bob.lease()
    assert force(service, labeler="ann") == 3
    assert force(service, labeler="ann") == 0
    assert [lease.item.rank for lease in bob.lease(9)] == [0, 1, 2]
    assert ann.say(leases[0], "spam") == STALE
    assert bob.say(other, "spam") == ACCEPTED


def test_leases_on_items_are_taken_away_from_whoever_has_them(start: Start) -> None:
    service = start(num_items=3, votes_required=2)
    ann, bob = Person(service, "ann"), Person(service, "bob")
    anns, bobs = ann.lease(3), bob.lease(2)
    names = [anns[0].item.name, anns[2].item.name, f"{CAMPAIGN}/items/99"]
    assert force(service, items=names) == 3
    assert [ann.say(lease, "spam") for lease in anns] == [STALE, ACCEPTED, STALE]
    assert [bob.say(lease, "spam") for lease in bobs] == [STALE, ACCEPTED]


def test_one_of_labeler_and_items_is_named(start: Start) -> None:
    service = start()
    for fields in ({}, {"labeler": "ann", "items": [f"{CAMPAIGN}/items/1"]}):
        with pytest.raises(InvalidInput, match="send one of them"):
            force(service, **fields)
