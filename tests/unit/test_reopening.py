"""An admin has things decided anew, and every answer is accounted for, on every kind of queue."""

from typing import Any

import pytest
from deltalake import DeltaTable

from relabel_service import confirm
from relabel_service.errors import Conflict, InvalidInput, NotFound, WrongState
from relabel_service.queue.deletion import TABLES
from relabel_service.queue.schema import metadata
from relabel_service.queue.store import Store
from relabel_service.server import campaign_rpcs
from relabel_service.server.auth import Caller
from relabel_service.server.import_export import export_answers
from relabel_service.server.lost_answers import lost_answers
from relabel_service.server.service import LeaseService
from relabel_service.tables.results import read_results
from relabel_service.v1 import campaigns_pb2, leases_pb2
from relabel_service.v1 import relabel_service_pb2 as rpc
from tests.conftest import Start
from tests.support.campaigns import (
    ADMIN,
    CAMPAIGN,
    create_request,
    request_id,
    write_findings,
)
from tests.support.people import ACCEPTED, STALE, Person, stats
from tests.unit.test_corrections import corrected, published
from tests.unit.test_lease import move

ACTIVE = campaigns_pb2.CAMPAIGN_STATE_ACTIVE
CLOSED = leases_pb2.RESULT_STATUS_CLOSED


def reopen(service: LeaseService, **fields: Any) -> tuple[int, int]:
    request = rpc.ReopenItemsRequest(parent=CAMPAIGN, **{"request_id": request_id(), **fields})
    done = service.ReopenItems(request, ADMIN)
    return done.num_items, done.num_answers


def requeue(service: LeaseService, **fields: Any) -> int:
    request = rpc.RequeueSkippedItemsRequest(parent=CAMPAIGN, request_id=request_id(), **fields)
    return service.RequeueSkippedItems(request, ADMIN).num_items


def ranks(leases: list[leases_pb2.Lease]) -> list[int]:
    return [lease.item.rank for lease in leases]


def test_a_closed_campaign_goes_on_where_it_was(start: Start) -> None:
    service = start(num_items=3)
    ann = Person(service, "ann")
    done, held = ann.lease(2)
    assert ann.say(done, "spam") == ACCEPTED
    move(service, "Close")
    assert ann.say(held, "spam") == CLOSED
    reopened = move(service, "Reopen")
    assert reopened.state == ACTIVE
    assert ann.say(held, "spam") == ACCEPTED  # its lease is still in force
    assert corrected(ann, done, "ham") == ACCEPTED
    assert ranks(ann.lease(9)) == [2]
    assert move(service, "Reopen").state == ACTIVE  # again: nothing changes


def test_a_campaign_is_reopened_only_from_closed_and_by_its_etag(start: Start) -> None:
    service = start()
    move(service, "Pause")
    with pytest.raises(WrongState, match="only from closed"):
        move(service, "Reopen")
    closed = move(service, "Close")
    request = rpc.ReopenCampaignRequest(name=CAMPAIGN, etag="1", request_id=request_id())
    with pytest.raises(Conflict):
        service.ReopenCampaign(request, ADMIN)
    request.etag = closed.etag
    assert service.ReopenCampaign(request, ADMIN).campaign.state == ACTIVE
    published(service, str(start.folder / "results"))
    with pytest.raises(WrongState, match="finalized"):
        move(service, "Reopen")
    with pytest.raises(WrongState, match="finalized"):
        reopen(service, row_ids=["row-0"])


def test_an_import_that_was_ended_is_not_reopened(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(campaign_rpcs, "IMPORT_S", 0.0)
    service = LeaseService(start.store)
    uri = write_findings(start.folder, 3)
    monkeypatch.setattr(service.background, "turn", lambda *_, **__: True)
    service.CreateCampaign(create_request(uri), ADMIN)
    move(service, "Close")
    with pytest.raises(WrongState, match="while it was importing"):
        move(service, "Reopen")


def test_a_campaign_with_audit_items_is_reopened_and_so_are_its_items(start: Start) -> None:
    service = start(num_items=2)
    samples = start.folder / "samples"
    samples.mkdir()
    uri = write_findings(samples, 2)
    mixed = create_request(
        write_findings(start.folder, 2),
        audit={"uri": uri, "run_id": "run", "population": 9},
    )
    mixed.campaign_id = "mixed"
    service.CreateCampaign(mixed, ADMIN)
    for verb in ("Close", "Reopen"):
        kind = getattr(rpc, f"{verb}CampaignRequest")
        request = kind(name="campaigns/mixed", request_id=request_id())
        moved = getattr(service, f"{verb}Campaign")(request, ADMIN).campaign
    assert moved.state == ACTIVE
    ann = Person(service, "ann")
    leased = rpc.LeaseItemsRequest(parent="campaigns/mixed", max_items=9, request_id=request_id())
    leases = service.LeaseItems(leased, ann.caller).leases
    assert len(leases) == 4
    # Names tell nothing there, and are found all the same.
    submitted = rpc.SubmitResultsRequest(
        parent="campaigns/mixed",
        results=[confirm(lease) for lease in leases],
        request_id=request_id(),
    )
    service.SubmitResults(submitted, ann.caller)
    request = rpc.ReopenItemsRequest(
        parent="campaigns/mixed", items=[leases[3].item.name], request_id=request_id()
    )
    assert service.ReopenItems(request, ADMIN).num_items == 1
    again = service.LeaseItems(
        rpc.LeaseItemsRequest(parent="campaigns/mixed", max_items=9, request_id=request_id()),
        ann.caller,
    ).leases
    assert [lease.item.name for lease in again] == [leases[3].item.name]


def test_a_settled_item_is_decided_anew_by_anybody(start: Start) -> None:
    service = start(num_items=2, votes_required=2)
    ann, bob, cyd = (Person(service, name) for name in ("ann", "bob", "cyd"))
    first = ann.label_next("spam")
    bob.label_next("spam")
    ann.label_next("ham")
    assert stats(service).num_done == 1
    start.clock.now += 10
    assert reopen(service, items=[first.item.name]) == (1, 2)
    assert (stats(service).num_done, stats(service).num_results) == (0, 1)
    assert corrected(ann, first, "ham") == STALE  # there is nothing to correct any more
    assert ann.say(first, "ham") == STALE
    assert ranks(cyd.lease(1)) == [0]
    again = ann.label_next("ham")
    assert again.item.rank == 0
    assert ranks(bob.lease(9)) == [1]


def test_items_are_named_by_rows_too_and_leases_on_them_end(start: Start) -> None:
    service = start(num_items=3, votes_required=2)
    ann, bob = Person(service, "ann"), Person(service, "bob")
    ann.label_next("spam")
    held = bob.lease(3)
    start.clock.now += 10
    assert reopen(service, row_ids=["row-0", "row-1"]) == (1, 1)  # nobody has answered the other
    assert [bob.say(lease, "spam") for lease in held] == [STALE, ACCEPTED, ACCEPTED]
    assert ranks(bob.lease(9)) == [0]
    for wrong in ({"row_ids": ["row-0", "row-9"]}, {"items": [f"{CAMPAIGN}/items/9"]}):
        with pytest.raises(NotFound, match="9"):
            reopen(service, **wrong)
    invalid: list[dict[str, Any]] = [
        {},
        {"items": [f"{CAMPAIGN}/items/0"], "row_ids": ["row-0"]},
        {"items": ["campaigns/other/items/0"]},
        {"row_ids": ["a\x00"]},
        {"row_ids": ["x"] * 1001},
    ]
    for fields in invalid:
        with pytest.raises(InvalidInput):
            reopen(service, **fields)


def test_sent_again_a_request_leaves_new_answers_alone(start: Start) -> None:
    service = start(num_items=1)
    ann = Person(service, "ann")
    ann.label_next("spam")
    start.clock.now += 10
    same = request_id()
    assert reopen(service, row_ids=["row-0"], request_id=same) == (1, 1)
    ann.label_next("ham")
    assert reopen(service, row_ids=["row-0"], request_id=same) == (1, 1)
    assert stats(service).num_done == 1


def test_escalated_and_adjudicated_items_are_reopened(start: Start) -> None:
    service = start(num_items=2)
    ann, judge = Person(service, "ann"), Person(service, "judge", "adjudicator")
    ann.label_next("escalate")
    judge.label_next("spam", adjudicate=True)
    ann.label_next("escalate")
    start.clock.now += 10
    assert reopen(service, row_ids=["row-0", "row-1"]) == (2, 3)
    assert stats(service).num_open == 2
    assert judge.lease(9, adjudicate=True) == []
    assert ranks(ann.lease(9)) == [0, 1]


def rows_of(uri: str) -> list[tuple[str, str, str | None]]:
    rows = DeltaTable(uri).to_pyarrow_table().sort_by("submit_time").to_pylist()
    return [(row["labeler"], row["decision"], row["label"]) for row in rows]


def test_the_results_table_keeps_what_was_withdrawn_and_readers_leave_it_out(start: Start) -> None:
    service = start(num_items=2)
    uri = str(start.folder / "results")
    ann, bob = Person(service, "ann"), Person(service, "bob")
    ann.label_next("spam")
    ann.label_next("ham")
    exported = export_answers(start.store, "test", results_uri=uri)
    assert (exported.num_answers, exported.num_written) == (2, 2)
    start.clock.now += 10
    assert reopen(service, row_ids=["row-0"]) == (1, 1)
    start.clock.now += 10
    bob.label_next("ham")
    assert read_results(uri, "test").num_rows == 2
    assert published(service, uri) != []
    assert rows_of(uri) == [
        ("ann", "relabel", "spam"),
        ("ann", "relabel", "ham"),
        ("ann", "withdrawn", "spam"),
        ("bob", "relabel", "ham"),
    ]
    read = read_results(uri, "test").sort_by("rank").to_pylist()
    assert [(row["labeler"], row["label"]) for row in read] == [("bob", "ham"), ("ann", "ham")]
    assert lost_answers(start.store, [uri]) == []  # the queue knows of each of them


def test_who_answers_again_after_a_withdrawal_counts(start: Start) -> None:
    service = start(num_items=1)
    uri = str(start.folder / "results")
    ann = Person(service, "ann")
    for label in ("spam", "ham", "spam"):
        ann.label_next(label)
        start.clock.now += 10
        reopen(service, row_ids=["row-0"])
        start.clock.now += 10
    ann.label_next("ham")
    published(service, uri)
    [row] = read_results(uri, "test").to_pylist()
    assert (row["label"], row["decision"]) == ("ham", "relabel")
    assert len(rows_of(uri)) == 4


def test_the_queue_says_who_withdrew_what(start: Start) -> None:
    service = start(num_items=1)
    ann = Person(service, "ann")
    ann.label_next("spam")
    request = rpc.ReopenItemsRequest(parent=CAMPAIGN, row_ids=["row-0"], request_id=request_id())
    service.ReopenItems(request, Caller("boss", frozenset({"admin"})))
    assert withdrawn(start.store) == [("ann", "relabel", "spam", "boss")]


def withdrawn(store: Store) -> list[tuple[str, str, str | None, str]]:
    table = metadata.tables["withdrawn_results"]
    with store.read_transaction() as (connection, now):
        rows = connection.execute(table.select().order_by(table.c.withdraw_time)).all()
        assert all(row.submit_time < row.withdraw_time <= now + 1 for row in rows)
        return [(row.labeler, row.decision, row.label, row.withdrawn_by) for row in rows]


def test_skipped_items_are_offered_again_to_everybody(start: Start) -> None:
    service = start(num_items=3)
    ann = Person(service, "ann")
    for decision in ("skip", "spam", "skip"):
        ann.label_next(decision)
    assert (stats(service).num_skipped, ann.lease(9)) == (2, [])
    start.clock.now += 10
    assert requeue(service, row_ids=["row-2", "row-1"]) == 1
    assert ranks(ann.lease(1)) == [2]
    assert requeue(service) == 1
    assert requeue(service) == 0
    assert stats(service).num_skipped == 0
    assert ranks(Person(service, "bob").lease(9)) == [0]
    assert [decision for _, decision, _, _ in withdrawn(start.store)] == ["skip", "skip"]


def test_votes_stay_where_skips_are_withdrawn(start: Start) -> None:
    service = start(
        num_items=1, votes_required=2, skip_policy=campaigns_pb2.SKIP_POLICY_NEVER_AGAIN
    )
    ann, bob = Person(service, "ann"), Person(service, "bob")
    ann.label_next("spam")
    bob.label_next("skip")
    assert stats(service).num_skipped == 1
    start.clock.now += 10
    assert requeue(service, items=[f"{CAMPAIGN}/items/0"]) == 1
    assert ann.lease(9) == []  # has voted
    bob.label_next("spam")
    assert stats(service).num_done == 1


def test_a_whole_campaign_is_requeued_in_steps(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relabel_service.queue.reopening.STEP", 2)
    service = start(num_items=5)
    ann = Person(service, "ann")
    for _ in range(5):
        ann.label_next("skip")
    start.clock.now += 10
    assert requeue(service) == 5
    assert ranks(ann.lease(9)) == [0, 1, 2, 3, 4]


def test_a_campaign_that_takes_no_results_is_left_alone(start: Start) -> None:
    service = start()
    Person(service, "ann").label_next("skip")
    move(service, "Close")
    with pytest.raises(WrongState, match="reopen it first"):
        requeue(service)
    with pytest.raises(WrongState, match="reopen it first"):
        reopen(service, row_ids=["row-0"])


def test_every_table_of_a_campaign_is_emptied_with_it() -> None:
    """But for what goes with the campaign's row, and the log of admins, which stays."""
    last = {"campaigns", "background_leases", "admin_actions"}
    of_campaigns = {table.name for table in metadata.tables.values() if "campaign" in table.c}
    assert {table.name for table in TABLES} == of_campaigns - last


def test_a_row_with_several_items_has_all_of_them_reopened(start: Start) -> None:
    service = start(num_items=1)
    folder = start.folder / "two"
    folder.mkdir()
    two = create_request(write_findings(folder, 2, id="row"))
    two.campaign_id = "two"
    service.CreateCampaign(two, ADMIN)
    ann, parent = Caller("ann"), "campaigns/two"
    asked = rpc.LeaseItemsRequest(parent=parent, max_items=2, request_id=request_id())
    results = [confirm(lease) for lease in service.LeaseItems(asked, ann).leases]
    submitted = rpc.SubmitResultsRequest(parent=parent, results=results, request_id=request_id())
    service.SubmitResults(submitted, ann)
    request = rpc.ReopenItemsRequest(parent=parent, row_ids=["row"], request_id=request_id())
    assert service.ReopenItems(request, ADMIN).num_items == 2
