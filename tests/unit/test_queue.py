"""The lease queue through its RPCs, with the clock in the test's hand."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

from relabel_service.errors import AlreadyExists, Conflict, InvalidInput, NotFound, WrongState
from relabel_service.server import campaign_rpcs
from relabel_service.server.auth import Caller
from relabel_service.server.rate_limits import Limits
from relabel_service.server.service import LeaseService
from relabel_service.v1 import campaigns_pb2, labels_pb2, leases_pb2
from relabel_service.v1 import relabel_service_pb2 as rpc
from tests.conftest import Start
from tests.support.campaigns import ADMIN, CAMPAIGN, create_request, request_id, write_findings
from tests.support.stores import KINDS, new_queue_url

ACCEPTED = leases_pb2.RESULT_STATUS_ACCEPTED
STALE = leases_pb2.RESULT_STATUS_STALE
CLOSED = leases_pb2.RESULT_STATUS_CLOSED
CONFIRM = leases_pb2.DECISION_CONFIRM


def lease_items(service: LeaseService, labeler: str, max_items: int = 1) -> list[leases_pb2.Lease]:
    request = rpc.LeaseItemsRequest(parent=CAMPAIGN, max_items=max_items, request_id=request_id())
    return list(service.LeaseItems(request, Caller(labeler)).leases)


def submit(
    service: LeaseService, labeler: str, *tokens: str, decision: Any = CONFIRM, **other: Any
) -> list[int]:
    results = [leases_pb2.Result(token=token, decision=decision, **other) for token in tokens]
    request = rpc.SubmitResultsRequest(parent=CAMPAIGN, results=results, request_id=request_id())
    return [outcome.status for outcome in service.SubmitResults(request, Caller(labeler)).outcomes]


def stats(service: LeaseService) -> campaigns_pb2.CampaignStats:
    return service.GetCampaignStats(rpc.GetCampaignStatsRequest(name=CAMPAIGN), ADMIN).stats


def finalize(service: LeaseService, uri: Path, etag: str = "") -> campaigns_pb2.Campaign:
    request = rpc.FinalizeCampaignRequest(
        name=CAMPAIGN, results_uri=str(uri), etag=etag, request_id=request_id()
    )
    return service.FinalizeCampaign(request, ADMIN).campaign


def test_items_are_leased_worst_first_and_to_one_labeler_only(start: Start) -> None:
    service = start(num_items=3)
    assert [lease.item.rank for lease in lease_items(service, "ann", 2)] == [0, 1]
    assert [lease.item.rank for lease in lease_items(service, "bob", 9)] == [2]
    assert lease_items(service, "ann", 9) == []


def test_a_lease_cannot_be_accepted_twice(start: Start) -> None:
    service = start()
    [lease] = lease_items(service, "ann")
    assert submit(service, "ann", lease.token) == [ACCEPTED]
    assert submit(service, "ann", lease.token) == [STALE]
    assert stats(service).num_results == 1


def test_a_token_is_stale_once_the_expired_item_went_to_another(start: Start) -> None:
    service = start(num_items=1)
    [old] = lease_items(service, "ann")
    start.clock.now += 301
    [new] = lease_items(service, "bob")
    assert new.num_earlier_attempts == 1
    assert submit(service, "ann", old.token) == [STALE]
    assert submit(service, "bob", new.token) == [ACCEPTED]


def test_late_work_that_nobody_else_took_is_kept(start: Start) -> None:
    service = start(num_items=1)
    [lease] = lease_items(service, "ann")
    start.clock.now += 301
    assert submit(service, "ann", lease.token) == [ACCEPTED]


def test_a_token_of_another_labeler_is_refused(start: Start) -> None:
    service = start()
    [lease] = lease_items(service, "ann")
    assert submit(service, "bob", lease.token) == [STALE]
    assert submit(service, "ann", lease.token) == [ACCEPTED]


def test_extension_holds_an_item_beyond_its_first_expiry(start: Start) -> None:
    service = start(num_items=1)
    [lease] = lease_items(service, "ann")
    start.clock.now += 200
    extend = rpc.ExtendLeasesRequest(
        parent=CAMPAIGN, tokens=[lease.token, "unknown"], request_id=request_id()
    )
    kept, lost = service.ExtendLeases(extend, Caller("ann")).outcomes
    assert kept.expire_time.seconds == start.clock.now + 300
    assert not lost.HasField("expire_time")
    start.clock.now += 200
    assert lease_items(service, "bob") == []


def test_a_released_item_goes_to_the_next_labeler(start: Start) -> None:
    service = start(num_items=1)
    [lease] = lease_items(service, "ann")
    release = rpc.ReleaseLeasesRequest(
        parent=CAMPAIGN, tokens=[lease.token], request_id=request_id()
    )
    assert service.ReleaseLeases(release, Caller("ann")).num_released == 1
    assert [lease.item.rank for lease in lease_items(service, "bob")] == [0]
    assert submit(service, "ann", lease.token) == [STALE]


def test_votes_come_from_different_labelers(start: Start) -> None:
    service = start(num_items=1, votes_required=2)
    [ann] = lease_items(service, "ann")
    assert lease_items(service, "ann") == []
    [bob] = lease_items(service, "bob")
    assert lease_items(service, "cyd") == []
    assert submit(service, "ann", ann.token) == [ACCEPTED]
    assert lease_items(service, "ann") == []
    assert submit(service, "bob", bob.token) == [ACCEPTED]
    assert stats(service).num_done == 1


def test_decisions_move_items_where_the_counts_say(start: Start) -> None:
    service = start(num_items=5)
    confirm, accept, relabel, skip, escalate = (
        lease.token for lease in lease_items(service, "ann", 5)
    )
    spam = labels_pb2.Label(class_label=labels_pb2.ClassLabel(class_name="spam"))
    submit(service, "ann", confirm)
    submit(service, "ann", accept, decision=leases_pb2.DECISION_ACCEPT)
    submit(service, "ann", relabel, decision=leases_pb2.DECISION_RELABEL, label=spam)
    submit(service, "ann", skip, decision=leases_pb2.DECISION_SKIP)
    submit(service, "ann", escalate, decision=leases_pb2.DECISION_ESCALATE)
    counts = stats(service)
    assert (counts.num_done, counts.num_skipped, counts.num_escalated) == (3, 1, 1)
    assert (counts.num_results, counts.num_changed) == (5, 2)


def test_a_repeated_request_gives_the_first_answer_and_changes_nothing(start: Start) -> None:
    service = start()
    request = rpc.LeaseItemsRequest(parent=CAMPAIGN, max_items=1, request_id=request_id())
    first = service.LeaseItems(request, Caller("ann"))
    assert service.LeaseItems(request, Caller("ann")) == first
    assert stats(service).num_leased == 1
    request.max_items = 2
    with pytest.raises(InvalidInput, match="request_id"):
        service.LeaseItems(request, Caller("ann"))


def test_finalizing_closes_publishes_once_and_may_be_sent_again(
    tmp_path: Path, start: Start
) -> None:
    service = start(num_items=2)
    first, late = lease_items(service, "ann", 2)
    submit(service, "ann", first.token, decision=leases_pb2.DECISION_ACCEPT, comment="sure")
    campaign = finalize(service, tmp_path / "results")
    assert campaign.state == campaigns_pb2.CAMPAIGN_STATE_FINALIZED
    assert finalize(service, tmp_path / "results") == campaign
    [row] = DeltaTable(tmp_path / "results").to_pyarrow_table().to_pylist()
    assert (row["id"], row["label"], row["decision"]) == ("row-0", "spam", "accept")
    assert (row["labeler"], row["comment"], row["campaign"]) == ("ann", "sure", "test")
    assert submit(service, "ann", late.token) == [CLOSED]
    with pytest.raises(WrongState, match="finalized"):
        lease_items(service, "bob")
    with pytest.raises(WrongState, match="results"):
        finalize(service, tmp_path / "elsewhere")


def test_finalizing_with_an_old_etag_is_refused(tmp_path: Path, start: Start) -> None:
    with pytest.raises(Conflict, match="etag 2, not 7"):
        finalize(start(), tmp_path / "results", etag="7")


def test_campaigns_are_listed_page_by_page(tmp_path: Path, start: Start) -> None:
    service = start()
    for name in ("b", "a", "c"):
        request = create_request(str(tmp_path / "findings"))
        request.campaign_id = name
        service.CreateCampaign(request, ADMIN)
    names, token = [], ""
    while True:
        page = service.ListCampaigns(rpc.ListCampaignsRequest(page_size=2, page_token=token), ADMIN)
        names += [campaign.name for campaign in page.campaigns]
        token = page.next_page_token
        if not token:
            break
    assert names == ["campaigns/a", "campaigns/b", "campaigns/c", "campaigns/test"]


def test_pages_are_cut_by_bytes_and_leave_classes_out(
    tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = LeaseService(start.store)
    uri = write_findings(tmp_path, 1)
    for number in range(3):
        request = create_request(uri)
        request.campaign_id = f"c-{number}"
        assert service.CreateCampaign(request, ADMIN).campaign.classes
    monkeypatch.setattr(campaign_rpcs, "PAGE_BYTES", 1)
    token = ""
    names: list[str] = []
    while token or not names:
        page = service.ListCampaigns(rpc.ListCampaignsRequest(page_token=token), ADMIN)
        [campaign] = page.campaigns
        assert not campaign.classes
        names.append(campaign.name)
        token = page.next_page_token
    assert names == ["campaigns/c-0", "campaigns/c-1", "campaigns/c-2"]


def test_a_name_is_taken_once(tmp_path: Path, start: Start) -> None:
    service = start()
    with pytest.raises(AlreadyExists, match="'test'"):
        service.CreateCampaign(create_request(str(tmp_path / "findings")), ADMIN)


def test_unknown_things_are_not_found(tmp_path: Path, start: Start) -> None:
    service = start()
    with pytest.raises(NotFound, match="ListCampaigns"):
        service.GetCampaign(rpc.GetCampaignRequest(name="campaigns/none"), ADMIN)
    request = create_request(str(tmp_path / "nowhere"))
    request.campaign_id = "other"
    with pytest.raises(NotFound, match="nowhere"):
        service.CreateCampaign(request, ADMIN)


MALFORMED: list[tuple[Any, list[str]]] = [
    (
        rpc.CreateCampaignRequest(
            campaign_id="No!", campaign=campaigns_pb2.Campaign(votes_required=-1)
        ),
        [
            "campaign_id",
            "campaign.findings_uri",
            "campaign.run_id",
            "campaign.votes_required",
            "request_id",
        ],
    ),
    (rpc.GetCampaignRequest(name="test"), ["name"]),
    (rpc.ListCampaignsRequest(page_size=-1, page_token="é"), ["page_size", "page_token"]),
    (
        rpc.LeaseItemsRequest(parent="x", max_items=1001, lease_duration={"seconds": 0}),
        ["parent", "max_items", "lease_duration", "request_id"],
    ),
    (
        rpc.ExtendLeasesRequest(parent="x", tokens=["a", "", "a"]),
        ["parent", "tokens[1]", "tokens[2]", "request_id"],
    ),
    (
        rpc.ListLeasesRequest(parent="x", page_size=-1, page_token="é"),
        ["parent", "page_size", "page_token"],
    ),
    (rpc.ReleaseLeasesRequest(parent="x"), ["parent", "tokens", "request_id"]),
    (
        rpc.SubmitResultsRequest(parent="x", results=[leases_pb2.Result()]),
        ["parent", "results[0].token", "request_id"],
    ),
    (
        rpc.SubmitResultsRequest(
            parent=CAMPAIGN,
            request_id=request_id(),
            results=[
                leases_pb2.Result(token="a"),
                leases_pb2.Result(token="b", decision=99),  # type: ignore[arg-type]
                leases_pb2.Result(token="c", decision=leases_pb2.DECISION_RELABEL),
                leases_pb2.Result(
                    token="d",
                    decision=leases_pb2.DECISION_RELABEL,
                    label=labels_pb2.Label(class_label=labels_pb2.ClassLabel(class_name="eggs")),
                ),
                leases_pb2.Result(
                    token="e",
                    decision=leases_pb2.DECISION_RELABEL,
                    label=labels_pb2.Label(click=labels_pb2.ClickLabel(clicked=True)),
                ),
                leases_pb2.Result(token="f", decision=CONFIRM, label=labels_pb2.Label()),
            ],
        ),
        [
            "results[0].decision",
            "results[1].decision",
            "results[2].label",
            "results[3].label",
            "results[4].label",
            "results[5].label",
        ],
    ),
    (rpc.GetCampaignStatsRequest(), ["name"]),
    (rpc.PauseCampaignRequest(name="x", etag="y"), ["name", "etag", "request_id"]),
    (rpc.ResumeCampaignRequest(), ["name", "request_id"]),
    (rpc.CloseCampaignRequest(name="campaigns/"), ["name", "request_id"]),
    (rpc.ReopenCampaignRequest(name="x", etag="y"), ["name", "etag", "request_id"]),
    (rpc.ReopenItemsRequest(parent="x"), ["parent", "request_id", "items"]),
    (
        rpc.RequeueSkippedItemsRequest(parent="x", items=["y"], row_ids=["\x00"]),
        ["parent", "items[0]", "row_ids[0]", "request_id", "items"],
    ),
    (
        rpc.ListAdminActionsRequest(parent="x", page_size=-1, page_token="é"),
        ["parent", "page_size", "page_token"],
    ),
    (
        rpc.FinalizeCampaignRequest(name="x", etag="y"),
        ["name", "results_uri", "etag", "request_id"],
    ),
    (rpc.ExportAnswersRequest(name="x"), ["name", "results_uri", "request_id"]),
    (rpc.DeleteCampaignRequest(name="x", etag="y"), ["name", "etag", "request_id"]),
    (
        rpc.ForceReleaseRequest(parent="x", items=["y"], labeler="z"),
        ["parent", "labeler", "items[0]", "request_id"],
    ),
]


@pytest.fixture(scope="module", params=KINDS)
def refusing(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LeaseService]:
    """One for all requests that change nothing."""
    folder = tmp_path_factory.mktemp("refusing")
    made = Start(folder, new_queue_url(request.param, folder))
    yield made()
    made.store.close()


@pytest.mark.parametrize(
    ("request_message", "fields"),
    MALFORMED,
    ids=[type(message).__name__ for message, _ in MALFORMED],
)
def test_each_broken_rule_names_its_field(
    refusing: LeaseService, request_message: Any, fields: list[str]
) -> None:
    method = type(request_message).__name__.removesuffix("Request")
    with pytest.raises(InvalidInput) as refused:
        getattr(refusing, method)(request_message, Caller("ann"))
    assert [violation.field for violation in refused.value.violations] == fields


def test_every_rpc_has_a_malformed_request_above() -> None:
    methods = {method.name for method in rpc.DESCRIPTOR.services_by_name["RelabelService"].methods}
    streams = {"StreamLeases", "ReadItem", "WatchCampaign"}
    assert methods - streams == {
        type(message).__name__.removesuffix("Request") for message, _ in MALFORMED
    }


def test_a_run_without_findings_makes_no_campaign(tmp_path: Path, start: Start) -> None:
    service = start()
    folder = tmp_path / "empty"
    folder.mkdir()
    request = create_request(write_findings(folder, 0))
    request.campaign_id = "empty"
    with pytest.raises(InvalidInput, match="nothing to ask"):
        service.CreateCampaign(request, ADMIN)


def test_an_item_that_is_lost_again_and_again_does_not_keep_the_others_waiting(
    start: Start,
) -> None:
    service = start(num_items=1010)
    first_seen: list[int] = []
    while len(first_seen) < 3:
        [lease] = lease_items(service, "ann")  # and never submits
        first_seen.append(lease.item.rank)
        start.clock.now += 301
    assert first_seen == [0, 1, 2]
    everything = LeaseService(start.store, limits=Limits(max_share=1.0))
    assert lease_items(everything, "bob", 1000)[997].item.rank == 0
