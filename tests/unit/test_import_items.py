"""Importing findings and publishing results: in a stream, resumable, once."""

from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

from relabel_service.errors import InvalidInput, NotFound, Unavailable, WrongState
from relabel_service.queue import findings_reader
from relabel_service.server import background, campaign_rpcs
from relabel_service.server.service import LeaseService
from relabel_service.tables import delta, schemas
from relabel_service.v1 import campaigns_pb2
from relabel_service.v1 import relabel_service_pb2 as rpc
from tests.conftest import Start
from tests.support.campaigns import ADMIN, CAMPAIGN, create_request, request_id, write_findings
from tests.support.people import Person, stats

IMPORTING = campaigns_pb2.CAMPAIGN_STATE_IMPORTING
ACTIVE = campaigns_pb2.CAMPAIGN_STATE_ACTIVE


@pytest.fixture
def slow(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LeaseService:
    """A service of whose import each round does one step of 4 rows; 10 rows in all."""
    monkeypatch.setattr(findings_reader, "STEP", 4)
    monkeypatch.setattr(campaign_rpcs, "IMPORT_S", 0.0)
    monkeypatch.setattr(background, "AGAIN_S", 0.0)
    service = LeaseService(start.store)
    made = service.CreateCampaign(create_request(write_findings(tmp_path, 10)), ADMIN).campaign
    assert (made.state, made.num_imported, made.num_items) == (IMPORTING, 4, 10)
    return service


def get(service: LeaseService) -> campaigns_pb2.Campaign:
    return service.GetCampaign(rpc.GetCampaignRequest(name=CAMPAIGN), ADMIN).campaign


def go_on(service: LeaseService) -> campaigns_pb2.Campaign:
    """The campaign after one more round of the background's."""
    service.background.round(turn_s=campaign_rpcs.IMPORT_S)
    return get(service)


def test_each_round_takes_the_next_step_and_looking_takes_none(slow: LeaseService) -> None:
    with pytest.raises(WrongState, match="importing"):
        Person(slow, "ann").lease()
    assert get(slow).num_imported == 4
    assert go_on(slow).num_imported == 8
    assert go_on(slow).num_imported == 10
    assert go_on(slow).state == ACTIVE
    assert [lease.item.rank for lease in Person(slow, "ann").lease(100)] == list(range(10))


def test_an_import_goes_on_after_a_crash_in_a_step(
    slow: LeaseService, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: Any) -> None:
        raise Unavailable("as if killed")

    with monkeypatch.context() as patched:
        patched.setattr(
            "relabel_service.queue.campaigns.add_imported", crash
        )  # after the items were inserted
        with pytest.raises(Unavailable):
            go_on(slow)
    monkeypatch.setattr(campaign_rpcs, "IMPORT_S", 10.0)
    assert go_on(slow).state == ACTIVE
    assert stats(slow).num_open == 10


def test_rows_written_later_are_not_imported(slow: LeaseService, tmp_path: Path) -> None:
    more = delta.read_run(str(tmp_path / "findings"), "run")
    delta.append_once(str(tmp_path / "findings"), more, app_id="again")
    while (campaign := go_on(slow)).state == IMPORTING:
        pass
    assert (campaign.num_items, stats(slow).num_open) == (10, 10)


def test_a_request_to_create_may_be_sent_again(start: Start, tmp_path: Path) -> None:
    service = LeaseService(start.store)
    request = create_request(write_findings(tmp_path, 3))
    first = service.CreateCampaign(request, ADMIN)
    assert first.campaign.state == ACTIVE
    assert service.CreateCampaign(request, ADMIN) == first


@pytest.mark.parametrize("uri", ["s4://bucket/findings", "/etc/passwd", "file://\x01", "::"])
def test_an_address_that_is_no_table_is_the_callers_fault(start: Start, uri: str) -> None:
    with pytest.raises((InvalidInput, NotFound)):
        LeaseService(start.store).CreateCampaign(create_request(uri), ADMIN)


def finalize(service: LeaseService, folder: Path) -> campaigns_pb2.Campaign:
    request = rpc.FinalizeCampaignRequest(
        name=CAMPAIGN, results_uri=str(folder / "results"), request_id=request_id()
    )
    return service.FinalizeCampaign(request, ADMIN).campaign


def test_finalizing_goes_on_after_a_crash_at_each_point(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = start()
    Person(service, "ann").label_next("spam")

    def crash(*_: Any, **__: Any) -> None:
        raise Unavailable("as if killed")

    for name in (
        "relabel_service.tables.delta.append_missing",  # closed, nothing written
        "relabel_service.queue.campaigns.mark_finalized",  # written, not marked
    ):
        with monkeypatch.context() as patched:
            patched.setattr(name, crash)
            with pytest.raises(Unavailable):
                finalize(service, tmp_path)
    assert finalize(service, tmp_path).state == campaigns_pb2.CAMPAIGN_STATE_FINALIZED
    table = DeltaTable(tmp_path / "results").to_pyarrow_table()
    assert table["label"].to_pylist() == ["spam"]
    assert table.schema.names == schemas.RESULTS.names


def test_results_are_published_in_batches(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relabel_service.server.results_stream.BATCH", 2)
    service = start(num_items=5)
    ann = Person(service, "ann")
    for _ in range(5):
        ann.label_next("spam")
    finalize(service, tmp_path)
    ranks = DeltaTable(tmp_path / "results").to_pyarrow_table()["rank"].to_pylist()
    assert sorted(ranks) == [0, 1, 2, 3, 4]
