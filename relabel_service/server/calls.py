"""Every call of the contract, whichever transport brought it: app.py speaks gRPC, http.py HTTP.

Owns who may call, the threads of the blocking store, and calls that wait or stream. Knows neither
codes nor headers: what is wrong is raised as RelabelError's family.
"""

import asyncio
import functools
import logging
import operator
import threading
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, contextmanager
from typing import Any, TypeVar

from google.protobuf.message import Message

from relabel_service.errors import Unauthenticated, Unavailable
from relabel_service.queue.stats import Report
from relabel_service.queue.store import POOL_SIZE, open_when_reachable
from relabel_service.queue.vacancies import Vacancies
from relabel_service.server import admin_log, audit
from relabel_service.server.auth import (
    LEEWAY_S,
    MAX_NAME,
    Authenticator,
    Caller,
    answering_for,
    check_allowed,
    on_behalf_of,
)
from relabel_service.server.calling import Calling
from relabel_service.server.campaign_rpcs import Look, stats_response
from relabel_service.server.health import Health
from relabel_service.server.item_media import Media
from relabel_service.server.item_stream import in_chunks
from relabel_service.server.labeling_calls import LabelingCalls, Response, wait_s
from relabel_service.server.lease_rpcs import WAITS_FOR_ITEMS, Leased, role_of
from relabel_service.server.metrics import Instruments, MeasuredStore, NoInstruments
from relabel_service.server.queue_metrics import QueueMetrics
from relabel_service.server.rate_limits import Rate
from relabel_service.server.regular_exports import RegularExports
from relabel_service.server.service import LeaseService
from relabel_service.server.settings import ServeSettings
from relabel_service.server.streams import (
    Feeds,
    Shared,
    Slots,
    ending,
    unless,
    until,
    with_heartbeats,
)
from relabel_service.server.table_prefixes import check_tables
from relabel_service.server.together import AT_ONCE
from relabel_service.server.validation import campaign_of, check_message
from relabel_service.server.waiting import TURNS_AT_ONCE, WaitingRooms
from relabel_service.v1 import campaigns_pb2, items_pb2, leases_pb2
from relabel_service.v1 import relabel_service_pb2 as rpc
from relabel_service.wire.metadata import LABELER_KEY, TOKEN_KEY

WATCH_S = 1.0
WATCH_SHARE = 0.05  # of one thread's time: counting a million results takes long
KEPT_FROM_S, KEPT_MOST_S = 0.5, 60.0  # counts that took so long are given again for a while
# Threads of their own, so that none keeps another waiting: for short calls (as many writers may
# share a commit), for the turns of calls that wait, and for counting. One imports.
NUM_THREADS = POOL_SIZE - TURNS_AT_ONCE - AT_ONCE - 3
NUM_LOOKING = 2
MAX_CALLS = 1000  # short calls that run or wait for a thread, of all callers
MAX_STREAMS = 4000  # calls that last, of all callers; watches of health apart
MAX_HEALTH_WATCHES = 500
NUM_DECODING = 2  # threads of their own for pictures and sounds: decoding takes long
MAX_DECODED, MAX_DECODED_EACH = 64, 32  # that are decoded or wait for it, in all and of one caller
EXPIRED = "the token has expired, and the stream ends with it; open another with a new token"
EXPIRED_WAITING = "the token has expired while the call waited; ask again with a new token"
HEARTBEATS: dict[str, Message] = {
    "StreamLeases": rpc.StreamLeasesResponse(heartbeat=True),
    "WatchCampaign": rpc.WatchCampaignResponse(heartbeat=True),
}

STOPPING = "this replica is stopping; connect again"
NO_INSTRUMENTS = NoInstruments()
STATUS = operator.attrgetter("status")

T = TypeVar("T")

logger = logging.getLogger("ray.serve")


class Calls:
    """Each call on a thread; made and used within one event loop."""

    def __init__(
        self,
        settings: ServeSettings,
        authenticator: Authenticator,
        instruments: Instruments = NO_INSTRUMENTS,
    ) -> None:
        limits = settings.limits
        self._instruments = instruments
        self._num_streams: Counter[str] = Counter()
        self._draining = asyncio.Event()
        audit.open_log(settings.audit_log)
        self.limits = limits
        self._heartbeat_s = settings.heartbeat_s
        self._table_prefixes = settings.table_prefixes
        self._media = Media(settings.media_prefixes)
        self._authenticator = authenticator
        self._rate = Rate(limits)
        self._threads = ThreadPoolExecutor(NUM_THREADS, "calls")
        self._turns = ThreadPoolExecutor(TURNS_AT_ONCE, "turns")
        self._looking = ThreadPoolExecutor(NUM_LOOKING, "looking")
        self._decoding = ThreadPoolExecutor(NUM_DECODING, "decoding")
        opened = open_when_reachable(settings.queue_url, on_wait=logger.warning)
        self._store = store = MeasuredStore(opened, instruments)
        QueueMetrics(store, instruments).start()
        RegularExports(store, settings.exports).start()
        self._rooms = WaitingRooms(self._look_for_items)
        self._service = LeaseService(
            store,
            limits=limits,
            on_change=self._rooms.changed,
            retention_days=settings.retention_days,
        )
        self._labeling = LabelingCalls(self._service, self._threads)
        background = self._service.background
        threading.Thread(target=background.run, name="background", daemon=True).start()
        self._health = Health(self._service.check_health)
        self._short = Slots(each=limits.max_calls, total=MAX_CALLS, what="short calls")
        self._streams = Slots(
            each=limits.max_streams, total=MAX_STREAMS, what="calls that wait or stream"
        )
        self._health_watches = Slots(
            each=MAX_HEALTH_WATCHES, total=MAX_HEALTH_WATCHES, what="watches of health"
        )
        self._decoded = Slots(
            each=MAX_DECODED_EACH, total=MAX_DECODED, what="calls for pictures and sounds"
        )
        self._looks: Feeds[Look] = Feeds(every_s=WATCH_S, share=WATCH_SHARE)
        self._counts: Shared[Report] = Shared(
            kept_from_s=KEPT_FROM_S, share=WATCH_SHARE, most_s=KEPT_MOST_S
        )
        self._lasting: dict[str, Callable[[Any, Caller], AsyncGenerator[Message, None]]] = {
            "StreamLeases": self._stream_leases,
            "ReadItem": self._read_item,
            "WatchCampaign": self._watch_campaign,
        }

    def calling(self, metadata: Mapping[str, str], peer: str) -> Calling:
        """metadata: keys in lower case. peer: as gRPC writes it, `ipv4:127.0.0.1:5000`."""
        claimed = (metadata.get(TOKEN_KEY) or metadata.get(LABELER_KEY) or peer)[-MAX_NAME:]
        labeler = on_behalf_of(metadata)

        def admit(caller: Caller) -> Caller:
            admitted = answering_for(caller, labeler)
            self._rate.spend(admitted.name)
            return admitted

        verify = functools.partial(self._authenticator.caller, metadata, peer)
        return Calling(claimed, verify, labeler, admit)

    async def identified(self, method: str, calling: Calling) -> Calling:
        """The same, once it is verified: before anything more of a request is read."""
        callers: list[Caller] = []
        try:
            with self._short.take(calling.claimed):
                identify = calling.noted(callers).identify
                return calling.known(await _on(self._threads, identify))
        except BaseException as error:
            self._note_end(method, None, calling, callers, audit.outcome_of(error))
            raise

    def drain(self) -> None:
        """The replica is about to stop: streams end with Unavailable, so that their callers go on
        with another one, and calls that wait for items get what there is. Others go on."""
        self._draining.set()

    async def check_health(self) -> None:
        """Raises Unavailable when the queue database does not answer."""
        await self._health.check()

    async def watch_health(self) -> AsyncGenerator[bool, None]:
        """Whether the queue database answers, now and each second. Raises Exhausted."""
        with self._health_watches.take("health"):
            while True:
                yield await self.is_healthy()
                await asyncio.sleep(WATCH_S)

    async def is_healthy(self) -> bool:
        try:
            await self._health.check()
        except Exception as error:
            logger.warning("%s", error)
            return False
        return True

    async def unary(self, method: str, request: Any, calling: Calling) -> Message:
        """The response of a call that does not stream."""
        began = time.perf_counter()
        with self._recorded(method, request, calling) as known:
            response = await self._unary(method, request, known)
        took_s = time.perf_counter() - began
        self._instruments.observe("relabel_call_seconds", took_s, method=method)
        if isinstance(response, rpc.SubmitResultsResponse):
            self._count_answers(response)
        return response

    @contextmanager
    def _recorded(self, method: str, request: object, calling: Calling) -> Iterator[Calling]:
        """Count how the call ends, and write who made it down where it changes something."""
        callers: list[Caller] = []
        outcome = "OK"
        try:
            yield calling.noted(callers)
        except BaseException as error:
            outcome = audit.outcome_of(error)
            raise
        finally:
            self._note_end(method, request, calling, callers, outcome)

    def _note_end(
        self,
        method: str,
        request: object,
        calling: Calling,
        callers: Sequence[Caller],
        outcome: str,
    ) -> None:
        """callers: who has proven a name; none where nobody did."""
        self._instruments.add("relabel_calls", method=method, outcome=outcome)
        who = callers[0].via or callers[0].name if callers else ""
        audit.write(method, request, who=who, on_behalf_of=calling.on_behalf_of, outcome=outcome)

    def _count_answers(self, response: rpc.SubmitResultsResponse) -> None:
        for status, num in Counter(map(STATUS, response.outcomes)).items():
            name = leases_pb2.ResultStatus.Name(status).removeprefix("RESULT_STATUS_").lower()
            self._instruments.add("relabel_answers", num, outcome=name)

    async def _unary(self, method: str, request: Any, calling: Calling) -> Message:
        if method == "LeaseItems":
            return await self._lease_items(request, calling)
        with self._short.take(calling.claimed):
            if method == "SubmitResults":
                submitted: rpc.SubmitResultsResponse
                _, submitted = await self._labeled(method, request, calling)
                return submitted
            if method == "GetCampaignStats":
                return await self._count(request, calling)
            return await _on(self._threads, self._call, method, request, calling)

    async def stream(
        self, method: str, request: Any, calling: Calling
    ) -> AsyncGenerator[Message, None]:
        """The responses of a call that streams."""
        with self._recorded(method, request, calling) as known, self._counted(method):
            async with aclosing(self._stream(method, request, known)) as responses:
                async for response in responses:
                    yield response

    @contextmanager
    def _counted(self, method: str) -> Iterator[None]:
        """Within it, one more call lasts: a stream, or one that waits for items."""
        try:
            self._count_stream(method, 1)
            yield
        finally:
            self._count_stream(method, -1)

    def _count_stream(self, method: str, change: int) -> None:
        self._num_streams[method] += change
        num = self._num_streams[method]
        self._instruments.set("relabel_streams_open", num, method=method)

    async def _stream(
        self, method: str, request: Any, calling: Calling
    ) -> AsyncGenerator[Message, None]:
        with self._short.take(calling.claimed):
            caller = await _on(self._threads, self._admitted, method, request, calling)
        responses = until(
            self._draining, self._lasting[method](request, caller), error=Unavailable(STOPPING)
        )
        if method in HEARTBEATS:
            heartbeat = HEARTBEATS[method]
            responses = with_heartbeats(responses, every_s=self._heartbeat_s, heartbeat=heartbeat)
        if caller.expires_at is not None:
            failure = Unauthenticated(EXPIRED)
            responses = ending(responses, after_s=_valid_s(caller), failure=failure)
        with self._streams.take(caller.name):
            async with aclosing(responses) as stream:
                async for response in stream:
                    yield response

    async def item(self, name: str, calling: Calling) -> items_pb2.Item:
        """An item, for who holds a lease on it. name: the item's."""
        request = rpc.ReadItemRequest(name=name)
        with self._recorded("ReadItem", request, calling) as known:
            return items_pb2.Item.FromString(await self._read(request, known))

    async def media(self, name: str, calling: Calling) -> tuple[bytes, str]:
        """Bytes and media type of what an item shows, for who holds a lease on it.

        name: the item's. Raises NotFound for items without a picture or sound.
        """
        request = rpc.ReadItemRequest(name=name)
        with self._recorded("ReadItem", request, calling) as known:
            encoded = await self._read(request, known)
            with self._decoded.take(calling.claimed):
                return await _on(self._decoding, self._media.of, encoded)

    async def _read(self, request: rpc.ReadItemRequest, calling: Calling) -> bytes:
        def read() -> bytes:
            caller = self._admitted("ReadItem", request, calling)
            return self._service.read_item(request, caller)

        with self._short.take(calling.claimed):
            return await _on(self._threads, read)

    def _call(self, method: str, request: Any, calling: Calling) -> Message:
        caller = self._admitted(method, request, calling)
        make: Callable[[Any, Caller], Message] = getattr(self._service, method)
        if method not in admin_log.LOGGED:
            return make(request, caller)
        with admin_log.recorded(self._store, method, request, caller):
            return make(request, caller)

    def _admitted(self, method: str, request: Any, calling: Calling) -> Caller:
        caller = calling.identify()
        check_message(request, method, self.limits)
        check_allowed(caller, method, campaign_of(request))
        check_tables(request, method, caller, self._table_prefixes)
        return caller

    async def _count(self, request: rpc.GetCampaignStatsRequest, calling: Calling) -> Message:
        """Counted once for all who ask meanwhile, on threads of its own."""
        admitted = functools.partial(self._admitted, "GetCampaignStats", request, calling)
        caller = await _on(self._threads, admitted)
        count = functools.partial(_on, self._looking, self._service.count, request.name)
        return stats_response(await self._counts.get(request.name, count), caller)

    async def _lease_items(
        self, request: rpc.LeaseItemsRequest, calling: Calling
    ) -> rpc.LeaseItemsResponse:
        """Waits for its turn where nothing is free and the request would wait."""
        began = time.monotonic()
        response: rpc.LeaseItemsResponse
        with self._short.take(calling.claimed):
            caller, response = await self._labeled("LeaseItems", request, calling)
        left_s, valid_s = began + wait_s(request) - time.monotonic(), _valid_s(caller)
        if response.leases or left_s <= 0:
            return response
        lease = functools.partial(_on, self._turns, self._service.LeaseItems, request, caller)

        async def leases() -> rpc.LeaseItemsResponse | None:
            response = await lease(may_wait=True)
            return response if response.leases else None

        with self._streams.take(caller.name), self._counted("LeaseItems"):
            waiting = self._rooms.first(
                campaign_of(request),
                leases,
                role=role_of(request),
                labeler=caller.name,
                within_s=min(left_s, valid_s),
            )
            waited = await unless(self._draining, waiting)
            if waited is not None:
                return waited
            if valid_s < left_s and not self._draining.is_set():
                raise Unauthenticated(EXPIRED_WAITING)
            return await lease()

    async def _labeled(self, method: str, request: Any, calling: Calling) -> Response:
        """Who calls, and the response to SubmitResults, or to LeaseItems without waiting."""
        if self._authenticator.may_block:
            calling = calling.known(await _on(self._threads, calling.identify))
        admit = functools.partial(self._admitted, method, request, calling)
        return await self._labeling.make(method, request, admit)

    async def _look_for_items(self, campaign: str, labelers: frozenset[str]) -> Vacancies:
        return await _on(self._turns, self._service.look_for_items, campaign, labelers)

    async def _stream_leases(
        self, request: rpc.StreamLeasesRequest, caller: Caller
    ) -> AsyncGenerator[Message, None]:
        step = functools.partial(_on, self._turns, self._service.next_leases, request, caller)

        async def not_empty() -> Leased | None:
            leased = await step()
            return None if leased == WAITS_FOR_ITEMS else leased

        wait = functools.partial(
            self._rooms.first, campaign_of(request), role=role_of(request), labeler=caller.name
        )
        leased = await step()
        while not leased.is_over:
            if leased.response is not None:
                yield leased.response
            if leased.is_full:
                waited = await wait(step, below=request.max_outstanding)
            else:
                waited = await wait(not_empty)
            leased = waited or WAITS_FOR_ITEMS

    async def _read_item(
        self, request: rpc.ReadItemRequest, caller: Caller
    ) -> AsyncGenerator[Message, None]:
        encoded = await _on(self._threads, self._service.read_item, request, caller)
        for chunk in in_chunks(encoded):
            yield rpc.ReadItemResponse(chunk=chunk)

    async def _watch_campaign(
        self, request: rpc.WatchCampaignRequest, caller: Caller
    ) -> AsyncGenerator[Message, None]:
        last = None
        look = functools.partial(_on, self._looking, self._service.look, request.name)
        async with aclosing(self._looks.follow(request.name, look)) as looks:
            async for seen in looks:
                response = seen.shown_to(caller)
                if response != last:
                    yield response
                last = response
                if response.campaign.state == campaigns_pb2.CAMPAIGN_STATE_FINALIZED:
                    return


def _valid_s(caller: Caller) -> float:
    """How long the token is still good for that says who calls."""
    if caller.expires_at is None:
        return float("inf")
    return caller.expires_at + LEEWAY_S - time.time()


async def _on(threads: ThreadPoolExecutor, call: Callable[..., T], *given: Any, **named: Any) -> T:
    bound = functools.partial(call, *given, **named)
    return await asyncio.get_running_loop().run_in_executor(threads, bound)
