"""Rows that cannot be items end an import and are told; nothing is importing for ever."""

import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from relabel_service.errors import InvalidInput, WrongState
from relabel_service.queue import findings_reader, import_items
from relabel_service.server import campaign_rpcs
from relabel_service.server.service import LeaseService
from relabel_service.tables import delta, schemas
from relabel_service.v1 import campaigns_pb2
from relabel_service.v1 import relabel_service_pb2 as rpc
from tests.conftest import Start
from tests.support.campaigns import ADMIN, CAMPAIGN, create_request, finding, request_id
from tests.support.people import Person

CLOSED = campaigns_pb2.CAMPAIGN_STATE_CLOSED
NAN = math.nan


def write(folder: Path, rows: list[dict[str, Any]], schema: pa.Schema = schemas.FINDINGS) -> str:
    uri = str(folder / "findings")
    delta.append_once(uri, pa.Table.from_pylist(rows, schema), app_id="run")
    return uri


def suggested(**other: Any) -> dict[str, Any]:
    return {"suggestions": [{"label": "spam", "probability": 0.9} | other]}


def get(service: LeaseService) -> campaigns_pb2.Campaign:
    return service.GetCampaign(rpc.GetCampaignRequest(name=CAMPAIGN), ADMIN).campaign


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "suspicion is null": ({"suspicion": None}, "has suspicion None"),
    "suspicion is NaN": ({"suspicion": NAN}, "has suspicion nan"),
    "suspicion beyond 1": ({"suspicion": 1.5}, "has suspicion 1.5"),
    "no label": ({"human_label": None}, "has no human_label"),
    "no content": ({"content": None}, "has no content"),
    "no id": ({"id": None}, "row None has no id"),
    "another task": ({"task": "click_through_rate"}, "'click_through_rate', where"),
    "a suggestion without a label": (suggested(label=None), "without a label"),
    "a probability of NaN": (suggested(probability=NAN), "probability nan"),
    "no probability": (suggested(probability=None), "probability None"),
    "NUL": ({"unit": "a\x00b"}, "unit with NUL"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_row_that_cannot_be_an_item_ends_the_import(
    start: Start, tmp_path: Path, name: str
) -> None:
    other, fault = BAD[name]
    rows = [finding(rank) for rank in range(6)]
    rows[4] |= other
    service = LeaseService(start.store)
    request = create_request(write(tmp_path, rows))
    for _ in range(2):  # sent again, it says the same
        ended = service.CreateCampaign(request, ADMIN).campaign
        assert (ended.state, ended.num_imported) == (CLOSED, 0)
        assert ended.failure.reason == "INVALID_INPUT"
        assert f"1 of 6 rows cannot be asked about: row {rows[4]['id']!r}" in ended.failure.message
        assert fault in ended.failure.message
    assert get(service) == ended
    [listed] = service.ListCampaigns(rpc.ListCampaignsRequest(), ADMIN).campaigns
    assert (listed.state, listed.failure) == (ended.state, ended.failure)
    with pytest.raises(WrongState, match="closed"):
        Person(service, "ann").lease()


def test_boxes_that_do_not_parse_are_told_by_their_task(start: Start, tmp_path: Path) -> None:
    tokens = {"task": "token_classification", "content": '["a", "b"]', "human_label": "[]"}
    rows = [finding(rank, suggestions=[], **tokens) for rank in range(3)]
    rows[1]["human_label"] = "{"
    rows[2]["content"] = "no list"
    ended = (
        LeaseService(start.store)
        .CreateCampaign(create_request(write(tmp_path, rows)), ADMIN)
        .campaign
    )
    assert ended.state == CLOSED
    assert "2 of 3 rows" in ended.failure.message
    assert "row 'row-1' has a human_label that is not of token_classification" in (
        ended.failure.message
    )


def test_many_faults_are_counted_and_the_first_told(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(findings_reader, "STEP", 2)
    rows = [finding(rank, suspicion=0.5 if rank < 3 else None) for rank in range(9)]
    service = LeaseService(start.store)
    ended = service.CreateCampaign(create_request(write(tmp_path, rows)), ADMIN).campaign
    assert (ended.state, ended.num_imported) == (CLOSED, 2)
    assert "6 of 9 rows cannot be asked about: row 'row-3'" in ended.failure.message
    assert "; …" in ended.failure.message
    assert "row-6" not in ended.failure.message


def test_where_there_is_no_time_to_look_at_all_rows_that_is_told(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(findings_reader, "STEP", 2)
    monkeypatch.setattr(campaign_rpcs, "IMPORT_S", 0.0)
    rows = [finding(rank, suspicion=None) for rank in range(9)]
    service = LeaseService(start.store)
    ended = service.CreateCampaign(create_request(write(tmp_path, rows)), ADMIN).campaign
    assert "at least 2 of 9 rows" in ended.failure.message


@pytest.mark.parametrize(
    ("ranks", "fault"),
    [
        ([0, 1, 1], "1 of 3 rows cannot be asked about: row 'row-2' has rank 1, as another row"),
        ([0, None, 2], "row 'row-1' has rank None"),
        ([0, 1, 3], "row 'row-2' has rank 3, where ranks go from 0 to 2"),
        ([-1, 1, 2], "rank -1"),
    ],
)
def test_ranks_that_are_not_each_once_make_no_campaign(
    start: Start, tmp_path: Path, ranks: list[Any], fault: str
) -> None:
    rows = [finding(0, id=f"row-{index}") | {"rank": rank} for index, rank in enumerate(ranks)]
    with pytest.raises(InvalidInput, match=fault):
        LeaseService(start.store).CreateCampaign(create_request(write(tmp_path, rows)), ADMIN)


REQUIRED = [name for name in schemas.FINDINGS.names
            if name not in ("signals", "preferred_label", "copies", "run_id")]  # fmt: skip


@pytest.mark.parametrize("name", REQUIRED)
def test_a_missing_column_or_one_of_another_type_makes_no_campaign(
    start: Start, tmp_path: Path, name: str
) -> None:
    place = schemas.FINDINGS.names.index(name)
    missing = write(tmp_path, [finding(0)], schemas.FINDINGS.remove(place))
    service = LeaseService(start.store)
    with pytest.raises(InvalidInput, match=f"has no column {name}"):
        service.CreateCampaign(create_request(missing), ADMIN)
    other = tmp_path / "other"
    other.mkdir()
    schema = schemas.FINDINGS.set(place, pa.field(name, pa.binary()))
    uri = write(other, [finding(0) | {name: b"1"}], schema)
    with pytest.raises(InvalidInput, match=f"has the column {name} of binary"):
        service.CreateCampaign(create_request(uri), ADMIN)


@pytest.mark.parametrize("kind", ["gold", "audit"])
def test_gold_and_audit_rows_are_looked_at_before_and_when_they_are_read(
    start: Start, tmp_path: Path, kind: str
) -> None:
    service, findings = LeaseService(start.store), write(tmp_path, [finding(0)])
    schema = schemas.FINDINGS.append(pa.field("gold_label", pa.string()))
    uri = str(tmp_path / kind)
    rows = [finding(0, human_label=None) | {"gold_label": "ham"}]
    delta.append_once(uri, pa.Table.from_pylist(rows, schema), app_id="run")
    other = {"rate": 0.5} if kind == "gold" else {"population": 9}
    settings: dict[str, Any] = {kind: {"uri": uri, "run_id": "run", **other}}
    with pytest.raises(InvalidInput, match=r"1 of 1 rows .*'row-0' has no human_label") as refused:
        service.CreateCampaign(create_request(findings, **settings), ADMIN)
    assert refused.value.violations[0].field == f"campaign.{kind}.uri"
    with pytest.MonkeyPatch.context() as patched:  # as if the table had been written since
        patched.setattr(campaign_rpcs, "check_samples", lambda *_, **__: None)
        ended = service.CreateCampaign(create_request(findings, **settings), ADMIN).campaign
    assert ended.state == CLOSED
    assert f"{kind} row 'row-0' has no human_label" in ended.failure.message


def test_a_class_that_only_audit_items_have_does_not_stop_an_import(
    start: Start, tmp_path: Path
) -> None:
    findings, audit = write(tmp_path, [finding(0)]), str(tmp_path / "audit")
    rows = pa.Table.from_pylist([finding(0, human_label="spam")], schemas.FINDINGS)
    delta.append_once(audit, rows, app_id="run")
    request = create_request(
        findings,
        item_order=campaigns_pb2.ITEM_ORDER_BY_CLASS,
        audit={"uri": audit, "run_id": "run", "population": 9},
    )
    made = LeaseService(start.store).CreateCampaign(request, ADMIN).campaign
    assert (made.state, made.num_items) == (campaigns_pb2.CAMPAIGN_STATE_ACTIVE, 2)


def test_an_import_that_cannot_go_on_is_ended_by_closing(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(findings_reader, "STEP", 2)
    monkeypatch.setattr(campaign_rpcs, "IMPORT_S", 0.0)
    service = LeaseService(start.store)
    uri = write(tmp_path, [finding(rank) for rank in range(6)])
    service.CreateCampaign(create_request(uri), ADMIN)
    (tmp_path / "findings").rename(tmp_path / "gone")
    service.background.round(turn_s=0.0)
    assert get(service).failure.reason == "NOT_FOUND"
    request = rpc.CloseCampaignRequest(name=CAMPAIGN, request_id=request_id())
    assert service.CloseCampaign(request, ADMIN).campaign.state == CLOSED
    (tmp_path / "gone").rename(tmp_path / "findings")
    start.clock.now += 60  # it would have tried again by now
    service.background.round(turn_s=1.0)
    ended = get(service)
    assert (ended.state, ended.num_imported) == (CLOSED, 2)


def test_a_fault_of_the_service_is_told_without_its_details(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise KeyError("secret")

    service = LeaseService(start.store)
    with monkeypatch.context() as patched:
        patched.setattr(import_items, "_item", broken)
        made = service.CreateCampaign(create_request(write(tmp_path, [finding(0)])), ADMIN).campaign
    assert "its log says why" in made.failure.message
    assert "secret" not in made.failure.message
    start.clock.now += 60
    service.background.round(turn_s=60.0)
    assert get(service).state == campaigns_pb2.CAMPAIGN_STATE_ACTIVE
