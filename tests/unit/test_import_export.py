"""Imports and publishing show how far they are and why they stopped, and go on when repaired."""

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from relabel_service import errors
from relabel_service.errors import InvalidInput, NotFound, Unavailable, WrongState
from relabel_service.queue import findings_reader
from relabel_service.server import background, campaign_rpcs, results_stream
from relabel_service.server.service import LeaseService
from relabel_service.tables import delta, schemas
from relabel_service.v1 import campaigns_pb2
from relabel_service.v1 import relabel_service_pb2 as rpc
from tests.conftest import Start
from tests.support.campaigns import (
    ADMIN,
    CAMPAIGN,
    create_request,
    finding,
    request_id,
    write_findings,
)
from tests.support.people import Person, stats

ACTIVE, IMPORTING, CLOSED, FINALIZED = (
    getattr(campaigns_pb2, f"CAMPAIGN_STATE_{name}")
    for name in ("ACTIVE", "IMPORTING", "CLOSED", "FINALIZED")
)


@pytest.fixture
def slow(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LeaseService:
    """A service of whose import each round does one step of 4 rows; 10 rows in all."""
    monkeypatch.setattr(findings_reader, "STEP", 4)
    monkeypatch.setattr(campaign_rpcs, "IMPORT_S", 0.0)
    monkeypatch.setattr(background, "AGAIN_S", 0.0)
    service = LeaseService(start.store)
    service.CreateCampaign(create_request(write_findings(tmp_path, 10)), ADMIN)
    return service


def get(service: LeaseService) -> campaigns_pb2.Campaign:
    return service.GetCampaign(rpc.GetCampaignRequest(name=CAMPAIGN), ADMIN).campaign


def go_on(service: LeaseService) -> campaigns_pb2.Campaign:
    """The campaign after one more round of the background's."""
    service.background.round(turn_s=campaign_rpcs.IMPORT_S)
    return get(service)


def finalize(service: LeaseService, uri: object) -> campaigns_pb2.Campaign:
    request = rpc.FinalizeCampaignRequest(
        name=CAMPAIGN, results_uri=str(uri), request_id=request_id()
    )
    return service.FinalizeCampaign(request, ADMIN).campaign


def test_what_stops_an_import_is_told_until_it_is_mended(
    slow: LeaseService, tmp_path: Path
) -> None:
    shutil.move(tmp_path / "findings", tmp_path / "moved")
    go_on(slow)
    for _ in range(2):  # shown to everybody who looks, more than once
        stopped = get(slow)
        assert (stopped.state, stopped.num_imported) == (IMPORTING, 4)
        assert stopped.failure.reason == "NOT_FOUND"
        assert "no Delta table" in stopped.failure.message
        assert stopped.failure.HasField("time")
    [listed] = slow.ListCampaigns(rpc.ListCampaignsRequest(), ADMIN).campaigns
    assert listed.failure == stopped.failure
    watched = slow.look(CAMPAIGN).shown_to(ADMIN).campaign
    assert watched.failure.reason == "NOT_FOUND"
    shutil.move(tmp_path / "moved", tmp_path / "findings")
    again = go_on(slow)
    assert (again.num_imported, again.HasField("failure")) == (8, False)
    while (campaign := go_on(slow)).state == IMPORTING:
        pass
    assert (campaign.state, stats(slow).num_open) == (ACTIVE, 10)


def test_an_import_goes_on_in_steps_of_another_size(
    slow: LeaseService, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in (3, 5, 2):  # a new release, or another machine, may take others
        monkeypatch.setattr(findings_reader, "STEP", step)
        campaign = go_on(slow)
    while campaign.state == IMPORTING:
        campaign = go_on(slow)
    assert [lease.item.rank for lease in Person(slow, "ann").lease(100)] == list(range(10))


def test_an_import_goes_on_when_the_log_lists_the_files_in_another_order(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(findings_reader, "STEP", 1)
    monkeypatch.setattr(campaign_rpcs, "IMPORT_S", 0.0)
    uri = str(tmp_path / "findings")
    for rank in range(4):  # a file each
        rows = pa.Table.from_pylist([finding(rank)], schemas.FINDINGS)
        write_deltalake(
            uri, rows, mode="append", commit_properties=delta.commit_once_properties("run")
        )
    service = LeaseService(start.store)
    service.CreateCampaign(create_request(uri), ADMIN)
    assert go_on(service).num_imported == 2
    DeltaTable(uri).create_checkpoint()  # the log is read from elsewhere now
    while go_on(service).state == IMPORTING:
        pass
    assert [lease.item.rank for lease in Person(service, "ann").lease(100)] == list(range(4))


def test_rows_as_large_as_pictures_are_imported_a_few_at_a_time(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(findings_reader, "STEP_BYTES", 1)
    monkeypatch.setattr(campaign_rpcs, "IMPORT_S", 0.0)
    service = LeaseService(start.store)
    made = service.CreateCampaign(create_request(write_findings(tmp_path, 3)), ADMIN).campaign
    assert made.num_imported == 1


def test_an_address_that_cannot_be_written_does_not_close_the_campaign(
    start: Start, tmp_path: Path
) -> None:
    service = start()
    write_deltalake(tmp_path / "other", pa.table({"x": [1]}))
    for uri in (tmp_path / "other", "s4://nowhere", tmp_path / "findings"):
        with pytest.raises(InvalidInput, match="results_uri"):
            finalize(service, uri)
        assert get(service).state == ACTIVE
    assert finalize(service, tmp_path / "results").state == FINALIZED


def test_what_stops_publishing_is_raised_and_told(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = start()
    Person(service, "ann").label_next("spam")

    def full(*_: Any, **__: Any) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("relabel_service.tables.delta.write_deltalake", full)
        with pytest.raises(InvalidInput, match="no space left"):
            finalize(service, tmp_path / "results")
    stopped = get(service)
    assert (stopped.num_answers, stopped.num_published) == (1, 0)
    assert "no space left" in stopped.failure.message
    done = finalize(service, tmp_path / "results")
    assert (done.num_answers, done.num_published, done.HasField("failure")) == (1, 1, False)
    assert get(service) == done
    with pytest.raises(WrongState):
        finalize(service, tmp_path / "elsewhere")


def test_publishing_tells_how_far_it_is(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results_stream, "BATCH", 2)
    service = start(num_items=5)
    ann = Person(service, "ann")
    for lease in ann.lease(5):
        ann.say(lease, "spam")
    seen: list[tuple[int, int]] = []
    watched = results_stream._row

    def row(*arguments: Any) -> dict[str, Any]:
        campaign = get(service)
        seen.append((campaign.num_published, campaign.num_answers))
        return watched(*arguments)

    monkeypatch.setattr(results_stream, "_row", row)
    finalize(service, tmp_path / "results")
    assert seen == [(0, 5), (0, 5), (2, 5), (2, 5), (4, 5)]


def test_gold_and_audit_tables_are_looked_at_before_a_campaign_is_made(
    start: Start, tmp_path: Path
) -> None:
    service = LeaseService(start.store)
    uri = write_findings(tmp_path, 3)
    strange = str(tmp_path / "strange")
    schema = schemas.FINDINGS.append(pa.field("gold_label", pa.string()))
    rows = pa.Table.from_pylist([finding(0) | {"gold_label": "eggs"}], schema)
    delta.append_once(strange, rows, app_id="run")
    for settings, message in (
        ({"gold": {"uri": strange, "run_id": "run", "rate": 0.1}}, "'eggs' in row 'row-0'"),
        ({"gold": {"uri": uri, "run_id": "run", "rate": 0.1}}, "no column gold_label"),
        ({"gold": {"uri": uri, "run_id": "none", "rate": 0.1}}, "no run 'none'"),
        ({"audit": {"uri": "nowhere", "run_id": "run", "population": 9}}, "nowhere"),
    ):
        with pytest.raises(InvalidInput, match=message) as refused:
            service.CreateCampaign(create_request(uri, **settings), ADMIN)
        assert refused.value.violations[0].field.startswith(f"campaign.{next(iter(settings))}")
    with pytest.raises(NotFound):
        get(service)


@pytest.mark.parametrize("error", [NotFound("gone"), Unavailable("x"), InvalidInput.of("a.b", "c")])
def test_a_failure_that_was_kept_is_raised_as_what_it_was(error: errors.RelabelError) -> None:
    again = errors.error_of(errors.reason_of(type(error)), str(error))
    assert (type(again), str(again)) == (type(error), str(error))
    assert type(errors.error_of("LATER_KIND", "why")) is errors.RelabelError
