"""A request that is sent again gets its first response, and remembering it takes little room."""

from pathlib import Path

import pytest
from sqlalchemy import func, select

from relabel_service.queue import idempotency_keys
from relabel_service.queue import schema as db
from relabel_service.v1 import leases_pb2
from relabel_service.v1 import relabel_service_pb2 as rpc
from tests.conftest import Start
from tests.support.campaigns import CAMPAIGN, request_id
from tests.support.people import Person

BATCH = 20


def stored_bytes(start: Start) -> tuple[int, int]:
    """Rows and bytes of remembered requests."""
    key = db.idempotency_keys.c
    query = select(func.count(), func.coalesce(func.sum(func.length(key.cached_response)), 0))
    with start.store.read_transaction() as (connection, _):
        num, num_bytes = connection.execute(query).one()
    return int(num), int(num_bytes)


def test_each_call_sent_again_gets_the_same_and_no_content_is_kept(start: Start) -> None:
    ann = Person(start(num_items=BATCH, blind_share=0.5), "ann")
    before = stored_bytes(start)[1]
    lease = rpc.LeaseItemsRequest(parent=CAMPAIGN, max_items=BATCH, request_id=request_id())
    leased = ann.service.LeaseItems(lease, ann.caller)
    tokens = [one.token for one in leased.leases]
    extend = rpc.ExtendLeasesRequest(
        parent=CAMPAIGN, tokens=[*tokens, "x"], request_id=request_id()
    )
    extended = ann.service.ExtendLeases(extend, ann.caller)
    submit = rpc.SubmitResultsRequest(
        parent=CAMPAIGN,
        results=[
            leases_pb2.Result(token=token, decision=leases_pb2.DECISION_CONFIRM)
            for token in [*tokens[1:], "x"]
        ],
        request_id=request_id(),
    )
    submitted = ann.service.SubmitResults(submit, ann.caller)
    release = rpc.ReleaseLeasesRequest(parent=CAMPAIGN, tokens=tokens, request_id=request_id())
    assert ann.service.ReleaseLeases(release, ann.caller).num_released == 1
    assert [one.token for one in submitted.outcomes] == [*tokens[1:], "x"]
    start.clock.now += 301  # also when the leases are over
    for call, request, first in (
        ("LeaseItems", lease, leased),
        ("ExtendLeases", extend, extended),
        ("SubmitResults", submit, submitted),
    ):
        assert getattr(ann.service, call)(request, ann.caller) == first
    assert ann.service.ReleaseLeases(release, ann.caller).num_released == 1
    assert stored_bytes(start)[1] - before < leased.ByteSize() / 5


def test_of_a_flood_the_oldest_requests_are_forgotten(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = start()
    monkeypatch.setattr(idempotency_keys, "SWEEP_EVERY", 4)
    monkeypatch.setattr(idempotency_keys, "MAX_BYTES", 20 * idempotency_keys.ROW_BYTES)
    ann, bob = Person(service, "ann"), Person(service, "bob")
    bob.lease()
    for _ in range(150):
        start.clock.now += 1
        ann.release([leases_pb2.Lease(token="x")])
    assert stored_bytes(start)[0] < 20 + 2 + 60  # bob's, the campaign's, and between two sweeps
    last = rpc.ReleaseLeasesRequest(parent=CAMPAIGN, tokens=["x"], request_id=request_id())
    service.ReleaseLeases(last, ann.caller)
    service.ReleaseLeases(last, ann.caller)


def test_requests_of_long_ago_are_forgotten_some_at_a_time(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = start()
    for _ in range(5):
        Person(service, "ann").lease()
    start.clock.now += idempotency_keys.KEPT_S + 1
    with start.store.write_transaction() as (connection, now):
        assert idempotency_keys.remove_old(connection, now=now, limit=2) == 2
    while service.background.round(turn_s=60.0):
        pass
    assert stored_bytes(start)[0] == 0
