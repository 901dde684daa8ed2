"""How many people see an item, and who decides when they do not agree."""

import pytest

from relabel_service.errors import PermissionDenied
from tests.conftest import Start
from tests.support.people import ACCEPTED, Person, stats


def test_another_vote_is_asked_for_only_while_votes_do_not_agree(start: Start) -> None:
    service = start(num_items=2, votes_required=2, max_votes=3)
    ann, bob, cyd = (Person(service, name) for name in ("ann", "bob", "cyd"))
    agreed, unclear = ann.lease(2)
    ann.say(agreed, "spam")
    ann.say(unclear, "spam")
    agreed, unclear = bob.lease(2)
    bob.say(agreed, "spam")
    bob.say(unclear, "ham")
    assert stats(service).num_done == 1
    [third] = cyd.lease(2)
    assert third.item.rank == 1
    cyd.say(third, "ham")
    assert (stats(service).num_done, stats(service).num_escalated) == (2, 0)


def test_agreement_may_be_asked_to_be_more_than_half(start: Start) -> None:
    service = start(num_items=1, votes_required=3, max_votes=4, min_agreement=0.75)
    for name, answer in (("ann", "spam"), ("bob", "spam"), ("cyd", "ham")):
        Person(service, name).label_next(answer)
    assert stats(service).num_done == 0
    Person(service, "dan").label_next("spam")
    assert stats(service).num_done == 1


def test_an_item_in_dispute_at_the_cap_goes_to_an_adjudicator(start: Start) -> None:
    service = start(num_items=1, votes_required=2)
    Person(service, "ann").label_next("spam")
    Person(service, "bob").label_next("ham")
    assert stats(service).num_escalated == 1
    assert Person(service, "cyd").lease() == []
    judy = Person(service, "judy", "adjudicator")
    assert judy.lease() == []  # nothing to label
    judy.label_next("ham", adjudicate=True)
    assert (stats(service).num_done, stats(service).num_escalated) == (1, 0)


def test_what_an_adjudicator_cannot_judge_waits_for_another(start: Start) -> None:
    service = start(num_items=1)
    Person(service, "ann").label_next("escalate")
    judy, joan = (Person(service, name, "adjudicator") for name in ("judy", "joan"))
    [lease] = judy.lease(adjudicate=True)
    assert joan.lease(adjudicate=True) == []
    judy.say(lease, "skip")
    assert judy.lease(adjudicate=True) == []
    joan.label_next("spam", adjudicate=True)
    assert stats(service).num_done == 1


def test_an_adjudicators_lost_item_goes_to_the_next(start: Start) -> None:
    service = start(num_items=1)
    Person(service, "ann").label_next("escalate")
    judy, joan = (Person(service, name, "adjudicator") for name in ("judy", "joan"))
    [late] = judy.lease(adjudicate=True)
    start.clock.now += 301
    [lease] = joan.lease(adjudicate=True)
    assert judy.say(late, "spam") != ACCEPTED
    assert joan.say(lease, "spam") == ACCEPTED


def test_only_an_adjudicator_adjudicates(start: Start) -> None:
    service = start(num_items=1)
    Person(service, "ann").label_next("escalate")
    with pytest.raises(PermissionDenied, match="not an adjudicator"):
        Person(service, "bob").lease(adjudicate=True)


def test_nobody_judges_an_item_of_their_own(start: Start) -> None:
    service = start(num_items=1)
    Person(service, "judy", "adjudicator").label_next("escalate")
    assert Person(service, "judy", "adjudicator").lease(adjudicate=True) == []


@pytest.mark.parametrize(
    ("policy", "num_skips"), [("SKIP_POLICY_OTHERS", 2), ("SKIP_POLICY_NEVER_AGAIN", 1)]
)
def test_skipped_items_are_offered_as_the_policy_says(
    start: Start, policy: str, num_skips: int
) -> None:
    service = start(num_items=1, votes_required=2, skip_policy=policy)
    for name in ("ann", "bob")[:num_skips]:
        assert stats(service).num_skipped == 0
        Person(service, name).label_next("skip")
    assert stats(service).num_skipped == 1
    assert Person(service, "cyd").lease() == []
