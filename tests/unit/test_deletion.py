"""Campaigns are deleted whole and in steps, by request or by age, and give their room back."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text

from relabel_service.errors import Conflict, NotFound, Unavailable, WrongState
from relabel_service.queue import cleaning, deletion
from relabel_service.queue import schema as db
from relabel_service.queue.store import SqliteStore, open_store
from relabel_service.server import background, campaign_rpcs
from relabel_service.server.service import LeaseService
from relabel_service.v1 import campaigns_pb2
from relabel_service.v1 import relabel_service_pb2 as rpc
from tests.conftest import Start
from tests.support.campaigns import (
    ADMIN,
    CAMPAIGN,
    Clock,
    create_request,
    request_id,
    write_findings,
)
from tests.support.people import ACCEPTED, STALE, Person
from tests.support.stores import new_queue_url

DAY_S = 24 * 3600.0


def delete(service: LeaseService, **fields: Any) -> rpc.DeleteCampaignRequest:
    request = rpc.DeleteCampaignRequest(name=CAMPAIGN, request_id=request_id(), **fields)
    service.DeleteCampaign(request, ADMIN)
    return request


def get(service: LeaseService) -> campaigns_pb2.Campaign:
    return service.GetCampaign(rpc.GetCampaignRequest(name=CAMPAIGN), ADMIN).campaign


def finalize(service: LeaseService, folder: Path) -> None:
    request = rpc.FinalizeCampaignRequest(
        name=CAMPAIGN, results_uri=str(folder / "results"), request_id=request_id()
    )
    service.FinalizeCampaign(request, ADMIN)


def num_rows(start: Start) -> dict[str, int]:
    """Of each table that holds rows of campaigns, but for the request to delete it."""
    tables = [table for table in db.metadata.sorted_tables if "campaign" in table.c]
    with start.store.read_transaction() as (connection, _):
        return {
            table.name: len(
                connection.execute(select(table.c.campaign).where(table.c.campaign == "test")).all()
            )
            for table in tables
        }


def test_nothing_of_a_deleted_campaign_stays(start: Start, tmp_path: Path) -> None:
    service = start(num_items=5)
    ann = Person(service, "ann")
    ann.label_next("spam")
    ann.lease(2)
    finalize(service, tmp_path)
    assert all(num_rows(start)[name] for name in ("items", "queue", "results", "idempotency_keys"))
    request = delete(service)
    assert set(num_rows(start).values()) == {0}
    with pytest.raises(NotFound):
        get(service)
    service.DeleteCampaign(request, ADMIN)  # sent again, as after a lost response
    with pytest.raises(NotFound):
        delete(service)
    service.CreateCampaign(create_request(str(tmp_path / "findings")), ADMIN)
    assert len(ann.lease(9)) == 5


def test_unpublished_answers_are_lost_only_by_force(start: Start) -> None:
    service = start()
    Person(service, "ann").label_next("spam")
    with pytest.raises(WrongState, match="1 answers that are not published"):
        delete(service)
    with pytest.raises(Conflict):
        delete(service, force=True, etag="99")
    assert get(service).state == campaigns_pb2.CAMPAIGN_STATE_ACTIVE
    delete(service, force=True)
    with pytest.raises(NotFound):
        get(service)


def test_a_deletion_goes_on_after_a_crash_and_takes_nothing_meanwhile(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deletion, "ROWS", 2)
    monkeypatch.setattr(campaign_rpcs, "DELETE_S", 0.0)
    monkeypatch.setattr(background, "AGAIN_S", 0.0)
    service = start(num_items=5)
    ann = Person(service, "ann")
    [lease] = ann.lease()

    def crash(*_: Any) -> None:
        raise Unavailable("as if killed")

    with monkeypatch.context() as patched:
        patched.setattr(deletion, "step", crash)
        with pytest.raises(Unavailable):
            delete(service)
    assert get(service).state == campaigns_pb2.CAMPAIGN_STATE_DELETING
    with pytest.raises(WrongState, match="deleting"):
        ann.lease()
    ann.say(lease, "spam")
    with pytest.raises(WrongState, match="deleting"):
        finalize(service, tmp_path)
    num_rounds = 0
    while service.background.round(turn_s=0.0):
        num_rounds += 1
    assert num_rounds > 3
    assert set(num_rows(start).values()) == {0}


def test_finalized_campaigns_are_deleted_after_their_time(start: Start, tmp_path: Path) -> None:
    start()
    service = LeaseService(start.store, retention_days=30.0)
    start.clock.now += 31 * DAY_S
    service.background.round(turn_s=60.0)
    assert get(service).state == campaigns_pb2.CAMPAIGN_STATE_ACTIVE  # not finalized, so kept
    finalize(service, tmp_path)
    for days, is_there in ((29, True), (2, False)):
        start.clock.now += days * DAY_S
        while service.background.round(turn_s=60.0):
            pass
        assert bool(num_rows(start)["campaigns"]) == is_there


def test_leases_that_expired_long_ago_are_forgotten_and_late_answers_taken_till_then(
    start: Start,
) -> None:
    service = start()
    ann, bob = Person(service, "ann"), Person(service, "bob")
    leases = ann.lease(2)
    start.clock.now += 301
    bob.lease(1)  # which frees those of ann, and takes the third
    start.clock.now += cleaning.LATE_S - 10
    service.background.round(turn_s=60.0)
    assert ann.say(leases[0], "spam") == ACCEPTED
    start.clock.now += 20 + background.CLEAN_EVERY_S
    service.background.round(turn_s=60.0)
    assert ann.say(leases[1], "spam") == STALE
    with start.store.read_transaction() as (connection, _):
        assert "expired" not in connection.execute(select(db.lease_groups.c.state)).scalars().all()


def test_the_file_of_a_sqlite_queue_shrinks_when_a_campaign_is_deleted(tmp_path: Path) -> None:
    clock = Clock()
    store = open_store(new_queue_url("sqlite", tmp_path), clock=clock)
    shrinks(store, tmp_path, clock)


def test_the_file_of_an_earlier_release_learns_to_shrink(tmp_path: Path) -> None:
    url = new_queue_url("sqlite", tmp_path)
    open_store(url).close()
    file = sqlite3.connect(tmp_path / "queue.db")
    file.execute("PRAGMA journal_mode=DELETE")
    file.execute("PRAGMA auto_vacuum=0")
    file.execute("VACUUM")
    assert file.execute("PRAGMA auto_vacuum").fetchone() == (0,)
    file.close()
    clock = Clock()
    shrinks(open_store(url, clock=clock), tmp_path, clock)


def shrinks(store: Any, folder: Path, clock: Clock) -> None:
    assert isinstance(store, SqliteStore)
    service = LeaseService(store)
    service.CreateCampaign(create_request(write_findings(folder, 3000)), ADMIN)
    delete(service)
    while service.background.round(turn_s=60.0):
        pass
    with store.read_transaction() as (connection, _):
        assert connection.execute(text("PRAGMA freelist_count")).scalar() == 0
    assert (folder / "queue.db").stat().st_size < 300_000
    store.close()
