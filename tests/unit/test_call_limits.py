"""Each limit that Calls puts on calls has a test: sizes, numbers, durations, tokens, addresses."""

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from relabel_service.errors import Exhausted, InvalidInput, PermissionDenied, Unauthenticated
from relabel_service.server import calls as calls_module
from relabel_service.server import item_media
from relabel_service.server.auth import ADMIN as ADMIN_ROLE
from relabel_service.server.auth import LEEWAY_S, Caller, LocalAuthenticator
from relabel_service.server.calling import Calling
from relabel_service.server.calls import Calls
from relabel_service.server.rate_limits import Limits
from relabel_service.server.settings import MAX_HEARTBEAT_S, ServeSettings
from relabel_service.server.waiting import WaitingRooms
from relabel_service.v1 import relabel_service_pb2 as rpc
from tests.support.campaigns import ADMIN, CAMPAIGN, create_request, request_id, write_findings
from tests.unit.test_metrics import Recorded

ANN = Caller("ann")
WATCH = rpc.WatchCampaignRequest(name=CAMPAIGN)
STREAM = rpc.StreamLeasesRequest(parent=CAMPAIGN, max_outstanding=5)
LASTING = [("WatchCampaign", WATCH), ("StreamLeases", STREAM)]
ENDS_S = 60.0  # a test that would take longer has failed

Run = Callable[..., None]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs work(calls) with one campaign of one item. settings: of the service."""

    def run(work: Callable[[Calls], Coroutine[Any, Any, None]], **settings: Any) -> None:
        findings = write_findings(tmp_path, 1)

        async def whole() -> None:
            calls = Calls(
                ServeSettings(f"sqlite:///{tmp_path}/queue.db", **settings), LocalAuthenticator()
            )
            await calls.unary("CreateCampaign", create_request(findings), by(ADMIN))
            await work(calls)

        asyncio.run(asyncio.wait_for(whole(), ENDS_S))

    return run


def by(caller: Caller) -> Calling:
    return Calling(caller.name, lambda: caller)


def lease(wait_s: int = 0) -> rpc.LeaseItemsRequest:
    request = rpc.LeaseItemsRequest(parent=CAMPAIGN, request_id=request_id())
    request.wait.seconds = wait_s
    return request


def expiring(name: str = "ann") -> Caller:
    """A caller whose token is good for the blink of an eye, the leeway included."""
    return Caller(name, expires_at=time.time() - LEEWAY_S + 0.3)


def get(name: str = CAMPAIGN) -> rpc.GetCampaignRequest:
    return rpc.GetCampaignRequest(name=name)


async def take_the_item(calls: Calls) -> None:
    response = await calls.unary("LeaseItems", lease(), by(Caller("bob")))
    assert isinstance(response, rpc.LeaseItemsResponse)
    assert len(response.leases) == 1


@pytest.mark.parametrize(("asked_s", "at_most_s"), [(60, 50), (50, 50), (3, 3)])
def test_a_call_waits_at_most_50_s(
    run: Run, monkeypatch: pytest.MonkeyPatch, asked_s: int, at_most_s: int
) -> None:
    waited_s = []

    async def first(*_: Any, within_s: float, **__: Any) -> None:
        waited_s.append(within_s)

    async def work(calls: Calls) -> None:
        await take_the_item(calls)
        monkeypatch.setattr(WaitingRooms, "first", first)
        response = await calls.unary("LeaseItems", lease(asked_s), by(ANN))
        assert response == rpc.LeaseItemsResponse()

    run(work)
    [seen_s] = waited_s
    assert 0 < seen_s <= at_most_s
    assert seen_s > at_most_s - 3  # less what the first look took


def test_a_waiting_call_ends_with_its_token(run: Run) -> None:
    async def work(calls: Calls) -> None:
        await take_the_item(calls)
        began = time.time()
        with pytest.raises(Unauthenticated, match="expired while the call waited"):
            await calls.unary("LeaseItems", lease(60), by(expiring()))
        assert time.time() >= began

    run(work)


def test_what_comes_free_before_the_token_ends_is_given(run: Run) -> None:
    async def work(calls: Calls) -> None:
        caller = Caller("ann", expires_at=time.time() + 600)
        response = await calls.unary("LeaseItems", lease(60), by(caller))
        assert isinstance(response, rpc.LeaseItemsResponse)
        assert len(response.leases) == 1

    run(work)


@pytest.mark.parametrize(("method", "request_"), LASTING)
def test_a_stream_ends_with_its_token(run: Run, method: str, request_: Any) -> None:
    async def work(calls: Calls) -> None:
        stream = calls.stream(method, request_, by(expiring()))
        with pytest.raises(Unauthenticated, match="the stream ends with it"):
            await read_all(stream)

    run(work)


async def read_all(stream: AsyncGenerator[Any, None]) -> None:
    async with aclosing(stream):
        async for _ in stream:
            pass


@pytest.mark.parametrize(("method", "request_"), LASTING)
def test_a_silent_stream_has_heartbeats(run: Run, method: str, request_: Any) -> None:
    async def work(calls: Calls) -> None:
        async with aclosing(calls.stream(method, request_, by(ANN))) as stream:
            seen: set[bool] = set()
            while seen != {True, False}:  # a heartbeat, and something else
                response: Any = await anext(stream)
                seen.add(response.heartbeat)

    run(work, heartbeat_s=0.05)


@pytest.mark.parametrize("heartbeat_s", [0.0, -1.0, MAX_HEARTBEAT_S + 0.1, float("nan")])
def test_heartbeats_come_often_enough_and_not_without_end(heartbeat_s: float) -> None:
    with pytest.raises(InvalidInput, match="heartbeat_s"):
        ServeSettings("sqlite:///queue.db", heartbeat_s=heartbeat_s)
    assert ServeSettings("sqlite:///queue.db", heartbeat_s=MAX_HEARTBEAT_S).heartbeat_s == 30


def test_tables_lie_under_the_services_prefixes(run: Run, tmp_path: Path) -> None:
    async def work(calls: Calls) -> None:
        for method, request in naming_tables("/etc/results"):
            with pytest.raises(PermissionDenied, match="this service opens tables under"):
                await calls.unary(method, request, by(ADMIN))

    run(work, table_prefixes=(str(tmp_path),))


def test_tables_lie_under_the_tokens_prefixes(run: Run, tmp_path: Path) -> None:
    narrow = Caller("eve", frozenset({ADMIN_ROLE}), table_prefixes=(str(tmp_path),))

    async def work(calls: Calls) -> None:
        for method, request in naming_tables("/etc/results"):
            with pytest.raises(PermissionDenied, match="'eve' may name tables under"):
                await calls.unary(method, request, by(narrow))

    run(work)


def naming_tables(uri: str) -> list[tuple[str, Any]]:
    return [
        ("CreateCampaign", create_request(uri)),
        (
            "FinalizeCampaign",
            rpc.FinalizeCampaignRequest(name=CAMPAIGN, results_uri=uri, request_id=request_id()),
        ),
        (
            "ExportAnswers",
            rpc.ExportAnswersRequest(name=CAMPAIGN, results_uri=uri, request_id=request_id()),
        ),
    ]


def test_requests_have_at_most_so_many_bytes(run: Run) -> None:
    async def work(calls: Calls) -> None:
        await calls.unary("GetCampaign", get(), by(ANN))
        with pytest.raises(Exhausted, match="send at most 1000"):
            await calls.unary("GetCampaign", get("x" * 1000), by(ANN))

    run(work, limits=Limits(max_request_bytes=1000))


def test_short_calls_of_one_caller_are_capped(run: Run) -> None:
    asked, answered = threading.Event(), threading.Event()

    def verify() -> Caller:
        asked.set()
        answered.wait(ENDS_S)
        return ANN

    async def work(calls: Calls) -> None:
        slow = asyncio.create_task(calls.unary("GetCampaign", get(), Calling("ann", verify)))
        await asyncio.to_thread(asked.wait, ENDS_S)
        with pytest.raises(Exhausted, match="1 short calls are open from this caller"):
            await calls.unary("GetCampaign", get(), by(ANN))
        await calls.unary("GetCampaign", get(), by(Caller("bob")))
        answered.set()
        await slow
        await calls.unary("GetCampaign", get(), by(ANN))

    run(work, limits=Limits(max_calls=1))


def test_calls_that_last_are_capped_by_caller(run: Run) -> None:
    async def work(calls: Calls) -> None:
        await take_the_item(calls)
        async with aclosing(calls.stream("WatchCampaign", WATCH, by(ANN))) as watch:
            await anext(watch)
            for method, request in LASTING:
                with pytest.raises(Exhausted, match="1 calls that wait or stream"):
                    await anext(calls.stream(method, request, by(ANN)))
            with pytest.raises(Exhausted, match="1 calls that wait or stream"):
                await calls.unary("LeaseItems", lease(60), by(ANN))
        async with aclosing(calls.stream("WatchCampaign", WATCH, by(ANN))) as watch:
            await anext(watch)

    run(work, limits=Limits(max_streams=1))


def test_short_calls_of_everybody_are_capped(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls_module, "MAX_CALLS", 1)
    asked, answered = threading.Event(), threading.Event()

    def verify() -> Caller:
        asked.set()
        answered.wait(ENDS_S)
        return ANN

    async def work(calls: Calls) -> None:
        slow = asyncio.create_task(calls.unary("GetCampaign", get(), Calling("ann", verify)))
        await asyncio.to_thread(asked.wait, ENDS_S)
        with pytest.raises(Exhausted, match="1 short calls are open; ask again later"):
            await calls.unary("GetCampaign", get(), by(Caller("bob")))
        answered.set()
        await slow

    run(work)


def test_calls_of_everybody_that_last_are_capped(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls_module, "MAX_STREAMS", 1)

    async def work(calls: Calls) -> None:
        async with aclosing(calls.stream("WatchCampaign", WATCH, by(ANN))) as watch:
            await anext(watch)
            with pytest.raises(Exhausted, match="1 calls that wait or stream are open; ask"):
                await anext(calls.stream("WatchCampaign", WATCH, by(Caller("bob"))))

    run(work)


def test_watches_of_health_are_capped(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls_module, "MAX_HEALTH_WATCHES", 1)

    async def work(calls: Calls) -> None:
        async with aclosing(calls.watch_health()) as watch:
            assert await anext(watch)
            with pytest.raises(Exhausted, match="1 watches of health"):
                await anext(calls.watch_health())

    run(work)


def test_calls_a_second_are_capped_by_caller(run: Run) -> None:
    async def work(calls: Calls) -> None:
        def calling(name: str) -> Calling:
            return calls.calling({"relabel-labeler": name}, "ipv4:127.0.0.1:5000")

        await calls.unary("GetCampaign", get(), calling("ann"))
        with pytest.raises(Exhausted, match="'ann' calls more than"):
            await calls.unary("GetCampaign", get(), calling("ann"))
        await calls.unary("GetCampaign", get(), calling("bob"))

    run(work, limits=Limits(burst=1, calls_per_s=0.001))


def test_pictures_are_decoded_apart_from_short_calls_and_capped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as pictures are decoded, others' calls go on; and each is counted as ReadItem."""
    recorded = Recorded()
    decoding, decoded = threading.Semaphore(0), threading.Event()

    def of(self: item_media.Media, encoded: bytes) -> tuple[bytes, str]:
        decoding.release()
        decoded.wait(ENDS_S)
        return b"picture", "image/png"

    monkeypatch.setattr(item_media.Media, "of", of)
    monkeypatch.setattr(calls_module, "MAX_DECODED_EACH", calls_module.NUM_DECODING + 1)
    findings = write_findings(tmp_path, 1)

    async def work() -> None:
        settings = ServeSettings(f"sqlite:///{tmp_path}/queue.db")
        calls = Calls(settings, LocalAuthenticator(), recorded)
        await calls.unary("CreateCampaign", create_request(findings), by(ADMIN))
        response = await calls.unary("LeaseItems", lease(), by(ANN))
        assert isinstance(response, rpc.LeaseItemsResponse)
        name = response.leases[0].item.name
        shown = [
            asyncio.create_task(calls.media(name, by(ANN)))
            for _ in range(calls_module.NUM_DECODING + 1)
        ]
        for _ in range(calls_module.NUM_DECODING):
            await asyncio.to_thread(decoding.acquire)
        assert (await calls.item(name, by(ANN))).name == name
        while sum(calls._decoded._taken.values()) < len(shown):
            await calls.unary("GetCampaign", get(), by(ANN))
        with pytest.raises(Exhausted, match="calls for pictures and sounds"):
            await calls.media(name, by(ANN))
        decoded.set()
        assert [await each for each in shown] == [(b"picture", "image/png")] * len(shown)

    asyncio.run(asyncio.wait_for(work(), ENDS_S))
    num = calls_module.NUM_DECODING + 2
    assert recorded.of("relabel_calls", method="ReadItem", outcome="OK") == num
    assert recorded.of("relabel_calls", method="ReadItem", outcome="EXHAUSTED") == 1
