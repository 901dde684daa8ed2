"""Finding one's leases again, and correcting one's own answers, on every kind of queue database."""

import pytest
from deltalake import DeltaTable

from relabel_service import confirm, escalate, relabel, skip
from relabel_service.errors import InvalidInput
from relabel_service.server.service import LeaseService
from relabel_service.v1 import labels_pb2, leases_pb2
from relabel_service.v1 import relabel_service_pb2 as rpc
from tests.conftest import Start
from tests.support.campaigns import ADMIN, CAMPAIGN, create_request, request_id, write_findings
from tests.support.people import ACCEPTED, STALE, Person, class_label, stats
from tests.unit.test_lease import move

CLOSED = leases_pb2.RESULT_STATUS_CLOSED


def listed(person: Person, page_size: int = 0) -> list[leases_pb2.Lease]:
    leases: list[leases_pb2.Lease] = []
    token = ""
    while True:
        request = rpc.ListLeasesRequest(parent=CAMPAIGN, page_size=page_size, page_token=token)
        response = person.service.ListLeases(request, person.caller)
        assert response.leases or not token
        leases += response.leases
        token = response.next_page_token
        if not token:
            return leases


def corrected(person: Person, lease: leases_pb2.Lease, class_name: str) -> int:
    result = relabel(lease, class_label(class_name))
    result.replaces = True
    [status] = person.submit([result])
    return status


def published(service: LeaseService, uri: str) -> list[tuple[int, str, str | None]]:
    service.FinalizeCampaign(
        rpc.FinalizeCampaignRequest(name=CAMPAIGN, results_uri=uri, request_id=request_id()), ADMIN
    )
    rows = DeltaTable(uri).to_pyarrow_table().to_pylist()
    return sorted((row["rank"], row["labeler"], row["label"]) for row in rows)


def test_a_labeler_finds_its_leases_again(start: Start) -> None:
    service = start(num_items=7)
    ann, bob = Person(service, "ann"), Person(service, "bob")
    leases = ann.lease(3) + ann.lease(2)
    bob.lease(1)
    ann.say(leases[1], "spam")
    ann.release([leases[3]])
    expected = sorted((leases[index] for index in (0, 2, 4)), key=lambda lease: lease.token)
    assert listed(ann) == expected
    assert listed(ann, page_size=1) == expected
    assert [lease.item.rank for lease in listed(bob)] == [5]
    start.clock.now += 10_000
    assert listed(ann) == []


def test_large_items_come_without_their_contents(start: Start) -> None:
    service = start(num_items=1)
    folder = start.folder / "large"
    folder.mkdir()
    large = create_request(write_findings(folder, 2, content="x" * 2**21))
    large.campaign_id = "large"
    service.CreateCampaign(large, ADMIN)
    ann = Person(service, "ann")
    request = rpc.LeaseItemsRequest(parent="campaigns/large", max_items=2, request_id=request_id())
    leases = list(service.LeaseItems(request, ann.caller).leases)
    again = service.ListLeases(rpc.ListLeasesRequest(parent="campaigns/large"), ann.caller)
    assert list(again.leases) == sorted(leases, key=lambda lease: lease.token)
    assert all(lease.item.num_bytes > 2**21 for lease in again.leases)


def test_an_answer_is_corrected_until_the_campaign_closes(start: Start) -> None:
    service = start(num_items=2)
    ann, bob = Person(service, "ann"), Person(service, "bob")
    lease = ann.label_next("spam")
    assert corrected(bob, lease, "ham") == STALE
    assert corrected(ann, lease, "ham") == ACCEPTED
    assert stats(service).num_results == 1
    [other] = ann.lease()
    assert corrected(ann, other, "ham") == STALE  # nothing was given that it could correct
    move(service, "Close")
    assert corrected(ann, lease, "spam") == CLOSED
    assert published(service, str(start.folder / "results")) == [(0, "ann", "ham")]


def test_without_asking_for_it_nothing_is_replaced(start: Start) -> None:
    service = start(num_items=1)
    ann = Person(service, "ann")
    lease = ann.label_next("spam")
    assert ann.say(lease, "ham") == STALE
    assert published(service, str(start.folder / "results")) == [(0, "ann", "spam")]


def test_the_items_state_follows_the_correction(start: Start) -> None:
    service = start(num_items=1, votes_required=2, max_votes=3)
    ann, bob, cem = (Person(service, name) for name in ("ann", "bob", "cem"))
    lease = ann.label_next("spam")
    bob.label_next("spam")
    assert (stats(service).num_done, cem.lease()) == (1, [])
    corrected(ann, lease, "ham")  # now they do not agree, and one more is asked
    assert stats(service).num_open == 1
    cem.label_next("ham")
    assert stats(service).num_done == 1


def test_escalations_and_skips_are_taken_back(start: Start) -> None:
    service = start(num_items=2)
    ann = Person(service, "ann")
    first, second = ann.lease(2)
    ann.submit([escalate(first), skip(second)])
    assert (stats(service).num_escalated, stats(service).num_skipped) == (1, 1)
    both = [confirm(first), confirm(second)]
    for result in both:
        result.replaces = True
    assert ann.submit(both) == [ACCEPTED, ACCEPTED]
    assert stats(service).num_done == 2


def test_one_request_corrects_and_answers(start: Start) -> None:
    service = start(num_items=2)
    ann = Person(service, "ann")
    first, second = ann.lease(2)
    ann.say(first, "spam")
    again = relabel(first, class_label("ham"))
    again.replaces = True
    assert ann.submit([again, confirm(second)]) == [ACCEPTED, ACCEPTED]
    assert published(service, str(start.folder / "results")) == [
        (0, "ann", "ham"),
        (1, "ann", "ham"),
    ]


def test_who_agrees_is_found_anew(start: Start) -> None:
    """Labels that agree without being equal are compared with what is corrected, too."""
    service = start(num_items=1)
    folder = start.folder / "pairs"
    folder.mkdir()
    findings = write_findings(folder, 1, task="sequence_generation", suggestions=[], classes=[])
    pairs = create_request(findings, votes_required=2, max_votes=2)
    pairs.campaign_id = "pairs"
    service.CreateCampaign(pairs, ADMIN)

    def say(name: str, text: str, lease: leases_pb2.Lease | None = None) -> leases_pb2.Lease:
        caller = Person(service, name).caller
        parent = "campaigns/pairs"
        if lease is None:
            asked = rpc.LeaseItemsRequest(parent=parent, request_id=request_id())
            [leased] = service.LeaseItems(asked, caller).leases
        else:
            leased = lease
        label = labels_pb2.Label(sequence=labels_pb2.SequenceLabel(text=text))
        result = relabel(leased, label)
        result.replaces = lease is not None
        service.SubmitResults(
            rpc.SubmitResultsRequest(parent=parent, results=[result], request_id=request_id()),
            caller,
        )
        return leased

    def counted() -> tuple[int, int]:
        request = rpc.GetCampaignStatsRequest(name="campaigns/pairs")
        counts = service.GetCampaignStats(request, ADMIN).stats
        return counts.num_done, counts.num_escalated

    lease = say("ann", "one text")
    say("bob", "one  text")  # differs in spaces alone
    assert counted() == (1, 0)
    say("ann", "quite another", lease)
    assert counted() == (0, 1)
    say("ann", "one text ", lease)
    assert counted() == (1, 0)


def test_results_say_how_long_people_took(start: Start) -> None:
    service = start(num_items=3)
    ann = Person(service, "ann")
    leases = ann.lease(3)
    results = [confirm(lease) for lease in leases]
    results[0].seconds_spent = 2.5
    results[1].seconds_spent = 0
    assert ann.submit(results) == [ACCEPTED] * 3
    results[2].seconds_spent, results[2].replaces = 7.25, True
    assert ann.submit([results[2]]) == [ACCEPTED]
    for wrong in (-1.0, float("nan"), 90_000.0):
        results[2].seconds_spent = wrong
        with pytest.raises(InvalidInput, match="seconds_spent"):
            ann.submit([results[2]])
    uri = str(start.folder / "results")
    published(service, uri)
    rows = DeltaTable(uri).to_pyarrow_table().sort_by("rank").to_pylist()
    assert [row["seconds_spent"] for row in rows] == [2.5, None, 7.25]
