"""Requests of several callers in one transaction: each gets what it would have got alone."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from relabel_service import accept
from relabel_service.errors import Exhausted, InvalidInput, RelabelError, Unavailable, WrongState
from relabel_service.queue.together import ALONE
from relabel_service.server.auth import Caller
from relabel_service.server.idempotency import Sent
from relabel_service.server.labeling_calls import LabelingCalls
from relabel_service.server.rate_limits import Limits
from relabel_service.server.service import LeaseService
from relabel_service.server.together import AT_ONCE, Together
from relabel_service.v1 import leases_pb2
from relabel_service.v1 import relabel_service_pb2 as rpc
from tests.conftest import Start
from tests.support.campaigns import ADMIN, CAMPAIGN, request_id
from tests.support.people import ACCEPTED, Person, class_label, stats
from tests.support.stores import new_queue_url


def lease_of(name: str, num: int = 1) -> Sent:
    request = rpc.LeaseItemsRequest(parent=CAMPAIGN, max_items=num, request_id=request_id())
    return Sent(request, Caller(name))


def submission_of(name: str, results: Sequence[leases_pb2.Result]) -> Sent:
    request = rpc.SubmitResultsRequest(parent=CAMPAIGN, results=results, request_id=request_id())
    return Sent(request, Caller(name))


def leased(service: LeaseService, *names: str, num: int = 1) -> list[list[leases_pb2.Lease]]:
    responses = service.lease_together("test", [lease_of(name, num) for name in names])
    assert all(isinstance(response, rpc.LeaseItemsResponse) for response in responses)
    return [list(response.leases) for response in responses]  # type: ignore[union-attr]


def ranks(leases: Sequence[leases_pb2.Lease]) -> list[int]:
    return [lease.item.rank for lease in leases]


def test_each_gets_the_next_items_and_no_item_goes_to_two(start: Start) -> None:
    service = start(num_items=7, votes_required=2)
    given = leased(service, "ann", "bob", "cyd", num=2)
    assert list(map(ranks, given)) == [[0, 1], [2, 3], [4, 5]]
    assert ranks(Person(service, "ann").lease(4)) == [2, 3, 4, 5]  # their second slots


def test_nobody_gets_what_is_leased_to_them_or_decided_by_them(start: Start) -> None:
    service = start(num_items=4, votes_required=2)
    ann = Person(service, "ann")
    ann.label_next("ham")
    ann.lease(1)
    assert list(map(ranks, leased(service, "ann", "bob", num=2))) == [[2, 3], [0, 1]]


def test_a_request_sent_again_gets_its_first_response(start: Start) -> None:
    service = start(num_items=5)
    sent = [lease_of("ann", 2), lease_of("bob", 2)]
    first = service.lease_together("test", sent)
    again = service.lease_together("test", [lease_of("cyd"), *sent])
    assert again[1:] == first
    assert service.LeaseItems(sent[0].request, sent[0].caller) == first[0]
    assert ranks(again[0].leases) == [4]  # type: ignore[union-attr]


def test_another_request_under_the_same_id_is_refused_by_itself(start: Start) -> None:
    service = start(num_items=5)
    sent = lease_of("ann")
    service.lease_together("test", [sent])
    sent.request.max_items = 2
    refused, given = service.lease_together("test", [sent, lease_of("bob")])
    assert isinstance(refused, InvalidInput)
    assert ranks(given.leases) == [1]  # type: ignore[union-attr]


def test_who_finds_nothing_while_others_do_is_to_ask_alone(start: Start) -> None:
    service = start(num_items=1, votes_required=2)
    given, alone = service.lease_together("test", [lease_of("ann"), lease_of("bob")])
    assert ranks(given.leases) == [0]  # type: ignore[union-attr]
    assert alone is ALONE
    assert ranks(Person(service, "bob").lease()) == [0]
    assert leased(service, "cyd", "dan") == [[], []]  # all is leased


def test_items_behind_those_that_somebody_has_decided_on_are_found_alone(start: Start) -> None:
    service = start(num_items=6, votes_required=3)
    for name in ("ann", "bob"):
        person = Person(service, name)
        person.submit(list(map(accept, person.lease(4))))
    asked = [lease_of("ann"), lease_of("bob")]
    assert service.lease_together("test", asked) == [ALONE, ALONE]
    assert ranks(service.LeaseItems(asked[0].request, asked[0].caller).leases) == [4]


def test_too_many_leases_are_refused_by_themselves(start: Start) -> None:
    start(num_items=30)
    service = LeaseService(start.store, limits=Limits(max_leases=2))
    Person(service, "ann").lease(2)
    refused, given = service.lease_together("test", [lease_of("ann"), lease_of("bob", 9)])
    assert isinstance(refused, Exhausted)
    assert len(given.leases) == 2  # type: ignore[union-attr]


def test_a_paused_campaign_refuses_all(start: Start) -> None:
    service = start(num_items=3)
    pause = rpc.PauseCampaignRequest(name=CAMPAIGN, request_id=request_id())
    service.PauseCampaign(pause, ADMIN)
    refused = service.lease_together("test", [lease_of("ann"), lease_of("bob")])
    assert [type(error) for error in refused] == [WrongState, WrongState]


def test_expired_items_are_given_again(start: Start) -> None:
    service = start(num_items=3)
    leased(service, "ann", num=3)
    start.clock.now += 301
    bob, cyd = leased(service, "bob", "cyd", num=2)
    assert sorted([*ranks(bob), *ranks(cyd)]) == [0, 1, 2]


def test_gold_items_are_given_to_one_caller_at_a_time(start: Start) -> None:
    service = start(num_items=3)
    with start.store.write_transaction() as (connection, _):
        settings = '{"gold_rate": 0.5, "gold_uri": "somewhere"}'
        connection.exec_driver_sql(f"UPDATE campaigns SET settings = '{settings}'")
    assert service.lease_together("test", [lease_of("ann"), lease_of("bob")]) == [ALONE, ALONE]


def test_results_are_stored_and_refused_each_by_itself(start: Start) -> None:
    service = start(num_items=6)
    ann, bob, cyd = leased(service, "ann", "bob", "cyd", num=2)
    wrong = leases_pb2.Result(
        token=bob[0].token, decision=leases_pb2.DECISION_RELABEL, label=class_label("eggs")
    )
    responses = service.submit_together(
        "test",
        [
            submission_of("ann", list(map(accept, ann))),
            submission_of("bob", [wrong]),
            submission_of("cyd", [accept(cyd[0]), accept(ann[0])]),
        ],
    )
    assert statuses(responses[0]) == [ACCEPTED, ACCEPTED]
    assert isinstance(responses[1], InvalidInput)
    assert statuses(responses[2]) == [ACCEPTED, leases_pb2.RESULT_STATUS_STALE]
    assert stats(service).num_results == 3
    assert Person(service, "bob").say(bob[0], "ham") == ACCEPTED


def statuses(response: rpc.SubmitResultsResponse | RelabelError | object) -> list[int]:
    assert isinstance(response, rpc.SubmitResultsResponse)
    return [outcome.status for outcome in response.outcomes]


def test_two_results_on_one_item_are_stored_one_after_the_other(start: Start) -> None:
    service = start(num_items=1, votes_required=2)
    people = [Person(service, name) for name in ("ann", "bob")]
    sent = [submission_of(one.caller.name, [accept(one.lease()[0])]) for one in people]
    first, second = service.submit_together("test", sent)
    assert statuses(first) == [ACCEPTED]
    assert second is ALONE
    assert statuses(service.SubmitResults(sent[1].request, sent[1].caller)) == [ACCEPTED]
    assert stats(service).num_done == 1


def test_a_correction_is_made_alone(start: Start) -> None:
    service = start(num_items=2)
    ann, bob = Person(service, "ann"), Person(service, "bob")
    lease = ann.label_next("ham")
    corrected = leases_pb2.Result(
        token=lease.token,
        decision=leases_pb2.DECISION_RELABEL,
        label=class_label("spam"),
        replaces=True,
    )
    sent = [submission_of("ann", [corrected]), submission_of("bob", [accept(bob.lease()[0])])]
    alone, stored = service.submit_together("test", sent)
    assert alone is ALONE
    assert statuses(stored) == [ACCEPTED]


def test_a_call_that_is_made_alone_after_all_is_counted_once(start: Start) -> None:
    service = start()
    ann = Person(service, "ann")
    lease = ann.label_next("ham")
    result = accept(lease)
    result.replaces = True
    admitted: list[str] = []

    def admit() -> Caller:
        admitted.append("ann")
        return Caller("ann")

    with ThreadPoolExecutor(1) as threads:
        calls = LabelingCalls(service, threads)
        request = submission_of("ann", [result]).request
        _, response = asyncio.run(calls.make("SubmitResults", request, admit))
    assert (statuses(response), admitted) == ([ACCEPTED], ["ann"])


@pytest.fixture
def postgres_start(tmp_path: Path) -> Iterator[Start]:
    """Where other transactions may hold what one needs: SQLite has one writer."""
    made = Start(tmp_path, new_queue_url("postgresql", tmp_path))
    yield made
    made.store.close()


def test_who_is_busy_in_another_transaction_does_not_keep_others_waiting(
    postgres_start: Start,
) -> None:
    service = postgres_start(num_items=3)
    with postgres_start.store.write_transaction(caller="ann", campaign="test"):
        alone, given = service.lease_together("test", [lease_of("ann"), lease_of("bob")])
    assert alone is ALONE
    assert ranks(given.leases) == [0]  # type: ignore[union-attr]
    with postgres_start.store.write_transaction(campaign="test", alone=True):
        assert service.lease_together("test", [lease_of("bob")]) == [ALONE]


def test_an_item_that_another_transaction_has_locked_keeps_no_other_waiting(
    postgres_start: Start,
) -> None:
    service = postgres_start(num_items=2)
    [ann], [bob] = leased(service, "ann", "bob")
    sent = [submission_of("ann", [accept(ann)]), submission_of("bob", [accept(bob)])]
    with postgres_start.store.write_transaction() as (connection, _):
        connection.exec_driver_sql("SELECT 1 FROM queue WHERE rank = 0 FOR UPDATE")
        alone, stored = service.submit_together("test", sent)
    assert alone is ALONE
    assert statuses(stored) == [ACCEPTED]
    assert statuses(service.SubmitResults(sent[0].request, sent[0].caller)) == [ACCEPTED]


def test_calls_that_come_meanwhile_are_made_together() -> None:
    made: list[tuple[str, list[int]]] = []
    go_on = threading.Event()

    def make(key: str, calls: Sequence[int]) -> list[int]:
        made.append((key, list(calls)))
        go_on.wait()
        return [-call for call in calls]

    async def main() -> None:
        together: Together[str, int, int] = Together(make)
        first = [asyncio.ensure_future(together.call("a", n, num_items=1)) for n in range(AT_ONCE)]
        later = []
        for number in range(10, 16):
            call = together.call("ab"[number % 2], number, num_items=1)
            later.append(asyncio.ensure_future(call))
        await asyncio.sleep(0)
        while len(made) < AT_ONCE:
            await asyncio.sleep(0)
        later[2].cancel()  # whoever called has gone
        go_on.set()
        assert await asyncio.gather(*first) == [-n for n in range(AT_ONCE)]
        ends = await asyncio.gather(*later, return_exceptions=True)
        assert [end for end in ends if isinstance(end, int)] == [-10, -11, -13, -14, -15]

    asyncio.run(main())
    assert made[:AT_ONCE] == [("a", [n]) for n in range(AT_ONCE)]
    assert sorted(made[AT_ONCE:]) == [("a", [10, 12, 14]), ("b", [11, 13, 15])]


def test_what_making_them_raises_is_raised_to_all() -> None:
    def make(key: str, calls: Sequence[int]) -> list[int]:
        raise Unavailable("as if the database had gone")

    async def main() -> None:
        together: Together[str, int, int] = Together(make)
        calls = [together.call("a", number, num_items=5000) for number in range(5)]
        ends = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(end) for end in ends] == [Unavailable] * 5

    asyncio.run(main())
