"""Every call is counted by how it ended, and whoever changes something is written down."""

import asyncio
import json
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from relabel_service.errors import NotFound, PermissionDenied, Unauthenticated, Unavailable
from relabel_service.server import admin_log, audit
from relabel_service.server.auth import ALLOWED, Caller
from relabel_service.server.calling import Calling
from relabel_service.server.calls import Calls
from relabel_service.server.metrics import METRICS, LastingGauges, MeasuredStore
from relabel_service.server.queue_metrics import QueueMetrics
from relabel_service.server.settings import ServeSettings
from relabel_service.v1 import leases_pb2
from relabel_service.v1 import relabel_service_pb2 as rpc
from tests.conftest import Start
from tests.support.campaigns import (
    ADMIN,
    CAMPAIGN,
    create_request,
    request_id,
    write_findings,
)
from tests.support.people import Person

Key = tuple[str, tuple[tuple[str, str], ...]]


class Recorded:
    """Instruments that keep what they are given, and refuse what METRICS does not name."""

    def __init__(self) -> None:
        self.values: dict[Key, float] = {}
        self.nums: Counter[Key] = Counter()

    def add(self, name: str, value: float = 1, **labels: str) -> None:
        assert value > 0
        key = self._key("counter", name, labels)
        self.values[key] = self.values.get(key, 0) + value

    def set(self, name: str, value: float, **labels: str) -> None:
        self.values[self._key("gauge", name, labels)] = value

    def observe(self, name: str, value: float, **labels: str) -> None:
        assert value >= 0
        self.nums[self._key("histogram", name, labels)] += 1

    def of(self, name: str, **labels: str) -> float | None:
        key = name, tuple(sorted(labels.items()))
        return self.nums.get(key) or self.values.get(key)

    def _key(self, kind: str, name: str, labels: dict[str, str]) -> Key:
        assert METRICS[name].kind == kind
        assert set(METRICS[name].labels) == labels.keys()
        return name, tuple(sorted(labels.items()))


def test_gauges_are_set_again_while_they_are_not_0() -> None:
    recorded = Recorded()
    gauges = LastingGauges(recorded)
    gauges.set("relabel_import_rows", 7, campaign="a")
    gauges.set("relabel_import_rows", 8, campaign="a")
    gauges.set("relabel_import_rows", 9, campaign="b")
    gauges.set("relabel_import_rows", 0, campaign="b")
    gauges.add("relabel_lease_expiries", 2, campaign="a")
    recorded.values.clear()
    gauges.repeat()
    assert recorded.values == {("relabel_import_rows", (("campaign", "a"),)): 8}


@pytest.fixture(autouse=True)
def no_audit_log() -> Iterator[None]:
    yield
    audit.open_log("")


class NoAuthenticator:
    may_block = False

    def caller(self, metadata: object, peer: str) -> Caller:
        raise Unauthenticated("nobody is known here")


def by(caller: Caller) -> Calling:
    return Calling("a token", lambda: caller)


def refused() -> Caller:
    raise Unauthenticated("who?")


class Kept(logging.Handler):
    """As Serve's handler of a replica's log."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(self.format(record))


def test_lines_go_to_the_replicas_log_where_no_file_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = Kept()
    log = tmp_path / "audit.jsonl"
    request = rpc.PauseCampaignRequest(name=CAMPAIGN, request_id=request_id())
    serve_log = logging.getLogger("ray.serve")
    serve_log.addHandler(kept)
    try:
        audit.open_log("")
        audit.write("PauseCampaign", request, who="ann", outcome="OK")
        audit.open_log(str(log))
        audit.write("PauseCampaign", request, who="bob", outcome="OK")
    finally:
        serve_log.removeHandler(kept)
    assert [json.loads(line)["who"] for line in kept.messages] == ["ann"]
    assert [json.loads(line)["who"] for line in log.read_text().splitlines()] == ["bob"]
    assert "bob" not in capsys.readouterr().err


def test_calls_are_counted_and_written_down(tmp_path: Path) -> None:
    recorded = Recorded()
    log = tmp_path / "audit.jsonl"
    findings = write_findings(tmp_path, 3)
    settings = ServeSettings(f"sqlite:///{tmp_path}/queue.db", audit_log=str(log))
    ann = Caller("ann-secret")

    async def work() -> None:
        calls = Calls(settings, NoAuthenticator(), recorded)
        created = create_request(findings)
        await calls.unary("CreateCampaign", created, by(ADMIN))
        lease = rpc.LeaseItemsRequest(parent=CAMPAIGN, max_items=3, request_id=request_id())
        response = await calls.unary("LeaseItems", lease, by(ann))
        assert isinstance(response, rpc.LeaseItemsResponse)
        tokens = [lease.token for lease in response.leases]
        submit = rpc.SubmitResultsRequest(parent=CAMPAIGN, request_id=request_id())
        for token in (tokens[0], "stale"):
            submit.results.append(
                leases_pb2.Result(
                    token=token, decision=leases_pb2.DECISION_ACCEPT, comment="private"
                )
            )
        await calls.unary("SubmitResults", submit, by(ann))
        pause = rpc.PauseCampaignRequest(name="campaigns/none", request_id=request_id())
        with pytest.raises(NotFound):
            await calls.unary("PauseCampaign", pause, by(ADMIN))
        with pytest.raises(PermissionDenied):
            await calls.unary("PauseCampaign", pause, by(ann))
        with pytest.raises(Unauthenticated):
            await calls.unary("PauseCampaign", pause, Calling("a token", refused))
        with pytest.raises(Unauthenticated):
            await calls.identified("PauseCampaign", Calling("a token", refused))
        watch = calls.stream("WatchCampaign", rpc.WatchCampaignRequest(name=CAMPAIGN), by(ann))
        async with aclosing(watch):
            await anext(watch)
            assert recorded.of("relabel_streams_open", method="WatchCampaign") == 1

    asyncio.run(work())
    assert recorded.of("relabel_calls", method="LeaseItems", outcome="OK") == 1
    assert recorded.of("relabel_calls", method="PauseCampaign", outcome="NOT_FOUND") == 1
    assert recorded.of("relabel_calls", method="PauseCampaign", outcome="UNAUTHENTICATED") == 2
    assert recorded.of("relabel_calls", method="WatchCampaign", outcome="CANCELLED") == 1
    assert recorded.values["relabel_streams_open", (("method", "WatchCampaign"),)] == 0
    assert recorded.of("relabel_call_seconds", method="SubmitResults") == 1
    assert recorded.of("relabel_answers", outcome="accepted") == 1
    assert recorded.of("relabel_answers", outcome="stale") == 1
    assert recorded.of("relabel_store_seconds", method="write")
    assert "ann-secret" not in str(recorded.values) + str(recorded.nums)
    written = log.read_text()
    lines = [json.loads(line) for line in written.splitlines()]
    assert [(line["who"], line["method"], line["outcome"]) for line in lines] == [
        ("admin", "CreateCampaign", "OK"),
        ("ann-secret", "LeaseItems", "OK"),
        ("ann-secret", "SubmitResults", "OK"),
        ("admin", "PauseCampaign", "NOT_FOUND"),
        ("ann-secret", "PauseCampaign", "PERMISSION_DENIED"),
        ("", "PauseCampaign", "UNAUTHENTICATED"),
        ("", "PauseCampaign", "UNAUTHENTICATED"),
    ]
    assert "private" not in written
    assert "a token" not in written
    assert log.stat().st_mode & 0o777 == 0o600


def test_admin_calls_and_changes_are_audited() -> None:
    admins = {method for method, roles in ALLOWED.items() if roles == {"admin"}}
    reads = {"GetCampaign", "ListCampaigns", "ReadItem", "ListLeases", "GetCampaignStats"}
    reads |= {"ListAdminActions"}
    assert (admins - reads) | {"LeaseItems", "SubmitResults"} <= audit.AUDITED
    assert admins - reads == admin_log.LOGGED
    assert ALLOWED.keys() - audit.AUDITED == reads | {"WatchCampaign"}


def test_a_stopping_replica_ends_what_lasts(tmp_path: Path) -> None:
    findings = write_findings(tmp_path, 1)
    settings = ServeSettings(f"sqlite:///{tmp_path}/queue.db")

    async def work() -> None:
        calls = Calls(settings, NoAuthenticator())
        await calls.unary("CreateCampaign", create_request(findings), by(ADMIN))
        watch = calls.stream("WatchCampaign", rpc.WatchCampaignRequest(name=CAMPAIGN), by(ADMIN))
        await anext(watch)
        leases = [_lease(calls, name, wait_s=60) for name in ("ann", "bob")]
        first, second = (asyncio.ensure_future(each) for each in leases)
        await asyncio.wait({first, second}, return_when=asyncio.FIRST_COMPLETED)
        calls.drain()
        await _drained(watch)
        assert sorted([await first, await second]) == [0, 1]
        with pytest.raises(Unavailable):
            await anext(
                calls.stream("WatchCampaign", rpc.WatchCampaignRequest(name=CAMPAIGN), by(ADMIN))
            )
        assert await _lease(calls, "cyd", wait_s=0) == 0  # short calls go on

    asyncio.run(asyncio.wait_for(work(), 60))


async def _lease(calls: Calls, name: str, *, wait_s: int) -> int:
    """How many items are leased."""
    request = rpc.LeaseItemsRequest(parent=CAMPAIGN, request_id=request_id())
    request.wait.seconds = wait_s
    response = await calls.unary("LeaseItems", request, by(Caller(name)))
    assert isinstance(response, rpc.LeaseItemsResponse)
    return len(response.leases)


async def _drained(stream: AsyncGenerator[Any, None]) -> None:
    with pytest.raises(Unavailable, match="stopping"):
        async for _ in stream:
            pass


def test_gauges_of_a_campaign_follow_its_items_and_go_with_it(start: Start) -> None:
    service = start(num_items=4)
    recorded = Recorded()
    metrics = QueueMetrics(MeasuredStore(start.store, recorded), recorded)
    ann = Person(service, "ann")
    lease, *_ = ann.lease(2)
    ann.say(lease, "spam")
    start.clock.now += 10
    metrics.look()
    assert _items(recorded) == {"open": 2, "leased": 1, "done": 1, "skipped": 0, "escalated": 0}
    assert recorded.of("relabel_oldest_open_item_age_seconds", campaign="test") == 10
    assert recorded.of("relabel_import_rows", campaign="test") == 4
    start.clock.now += 300
    metrics.look()
    assert _items(recorded)["open"] == 3
    assert recorded.of("relabel_lease_expiries", campaign="test") == 1
    ann.lease(2, lease_duration={"seconds": 60})
    start.clock.now += 59
    metrics.look()
    assert recorded.of("relabel_lease_expiries", campaign="test") == 1
    start.clock.now += 2
    for _ in range(2):  # each is counted once
        metrics.look()
        assert recorded.of("relabel_lease_expiries", campaign="test") == 3
    finalize = rpc.FinalizeCampaignRequest(
        name=CAMPAIGN, results_uri=str(start.folder / "results"), request_id=request_id()
    )
    service.FinalizeCampaign(finalize, ADMIN)
    metrics.look()
    assert set(_items(recorded).values()) == {0}
    campaigns = {dict(labels).get("campaign") for _, labels in recorded.values}
    assert campaigns == {"test", None}


def _items(recorded: Recorded) -> dict[str, float]:
    return {
        dict(labels)["state"]: value
        for (name, labels), value in recorded.values.items()
        if name == "relabel_items"
    }
