"""Leases that were given together and end apart."""

from relabel_service.server.rate_limits import Limits
from relabel_service.server.service import LeaseService
from relabel_service.v1 import leases_pb2
from relabel_service.v1 import relabel_service_pb2 as rpc
from tests.conftest import Start
from tests.support.campaigns import CAMPAIGN, request_id
from tests.support.people import ACCEPTED, Person

STALE = leases_pb2.RESULT_STATUS_STALE


def extend(person: Person, *leases: leases_pb2.Lease) -> int:
    """How many are still in force."""
    request = rpc.ExtendLeasesRequest(
        parent=CAMPAIGN, tokens=[lease.token for lease in leases], request_id=request_id()
    )
    outcomes = person.service.ExtendLeases(request, person.caller).outcomes
    return sum(outcome.HasField("expire_time") for outcome in outcomes)


def ranks(leases: list[leases_pb2.Lease]) -> list[int]:
    return [lease.item.rank for lease in leases]


def test_a_part_of_a_batch_that_is_extended_outlives_the_rest(start: Start) -> None:
    service = start(num_items=3)
    ann, bob = Person(service, "ann"), Person(service, "bob")
    first, second, third = ann.lease(3)
    start.clock.now += 200
    assert extend(ann, second) == 1
    start.clock.now += 101
    assert sorted(ranks(bob.lease(3))) == [0, 2]
    assert [ann.say(lease, "spam") for lease in (first, second, third)] == [STALE, ACCEPTED, STALE]


def test_what_is_held_is_counted_exactly_through_extensions(start: Start) -> None:
    start(num_items=9)
    service = LeaseService(start.store, limits=Limits(max_leases=4))
    ann = Person(service, "ann")
    first, second, third, _ = ann.lease(4)
    assert extend(ann, first, second) == extend(ann, first) + 1 == 2  # at the same moment
    start.clock.now += 200
    assert extend(ann, third) == 1
    start.clock.now += 101  # three have expired, and may still be answered
    assert len(ann.lease(9)) == 3
    assert ann.say(third, "spam") == ACCEPTED
    assert len(ann.lease(9)) == 1


def test_a_labeler_may_take_again_what_was_lost_and_the_old_token_is_stale(start: Start) -> None:
    ann = Person(start(num_items=1, votes_required=2), "ann")
    [old] = ann.lease()
    assert ann.lease() == []
    start.clock.now += 301
    [new] = ann.lease()
    assert (ann.say(old, "spam"), ann.say(new, "spam")) == (STALE, ACCEPTED)


def test_an_expired_lease_may_be_extended_while_nobody_took_its_slot(start: Start) -> None:
    service = start(num_items=1)
    ann, bob = Person(service, "ann"), Person(service, "bob")
    [lease] = ann.lease()
    start.clock.now += 301
    assert extend(ann, lease) == 1
    assert bob.lease() == []
    start.clock.now += 301
    [taken] = bob.lease()
    assert extend(ann, lease) == 0
    assert bob.say(taken, "spam") == ACCEPTED


def test_a_name_that_reads_like_json_holds_what_it_holds(start: Start) -> None:
    service = start(num_items=2, votes_required=2)
    names = ['a":', "a", '"', "\\", "ä", "%s", ":x"]
    for name in names[:2]:
        assert len(Person(service, name).lease(2)) == 2
    for name in names[2:]:
        assert Person(service, name).lease(2) == []
    start.clock.now += 301
    for name in names[2:4]:
        person = Person(service, name)
        for lease in person.lease(2):
            assert person.say(lease, "spam") == ACCEPTED
        assert person.lease(2) == []


def test_a_call_that_was_slow_since_it_read_the_time_fills_no_slot_twice(start: Start) -> None:
    service = start(num_items=1, votes_required=2)
    ann, bob, cyd, dan = (Person(service, name) for name in ("ann", "bob", "cyd", "dan"))
    leases = [person.lease()[0] for person in (ann, bob)]
    start.clock.now += 301
    leases += cyd.lease()
    start.clock.now -= 10  # as a replica sees it that was stopped before the leases expired
    leases += dan.lease()
    statuses = [p.say(lease, "spam") for p, lease in zip((ann, bob, cyd, dan), leases, strict=True)]
    assert statuses == [STALE, STALE, ACCEPTED, ACCEPTED]


def test_a_slow_call_leaves_no_item_held_for_good(start: Start) -> None:
    service = start(num_items=1, votes_required=2)
    ann, bob, cyd, dan = (Person(service, name) for name in ("ann", "bob", "cyd", "dan"))
    ann.lease()
    [early] = bob.lease()
    start.clock.now += 301
    [lease] = cyd.lease()
    cyd.release([lease], delay={"seconds": 5})
    start.clock.now += 6
    [lease] = cyd.lease()
    start.clock.now -= 16
    assert cyd.say(lease, "spam") == ACCEPTED
    start.clock.now += 16
    [last] = dan.lease()
    assert (bob.say(early, "spam"), dan.say(last, "spam")) == (STALE, ACCEPTED)
