"""Every call of the contract, whichever transport brought it: app.py speaks gRPC, http.py HTTP.

Owns who may call, the threads of the blocking store, and calls that wait or stream. Knows neither
codes nor headers: what is wrong is raised as RelabelError's family.
"""

import asyncio
import functools
import logging
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import Any, TypeVar

from google.protobuf.message import Message

from relabel_service.queue.store import open_when_reachable
from relabel_service.server.auth import Authenticator, Caller, check_allowed
from relabel_service.server.campaign_rpcs import Look
from relabel_service.server.health import Health
from relabel_service.server.item_media import Media
from relabel_service.server.item_stream import in_chunks
from relabel_service.server.rate_limits import Limits, Rate
from relabel_service.server.regular_exports import NO_EXPORTS, ExportSettings, RegularExports
from relabel_service.server.service import LeaseService
from relabel_service.server.streams import Feeds, Slots, with_heartbeats
from relabel_service.server.validation import campaign_of, check_message
from relabel_service.v1 import campaigns_pb2, items_pb2
from relabel_service.v1 import relabel_service_pb2 as rpc

POLL_S = 0.25  # how often a waiting call looks for free items
WATCH_S = 1.0
WATCH_SHARE = 0.05  # of one thread's time: counting a million results takes long
NUM_THREADS = 32
MAX_STREAMS = 4000  # calls that last, of all callers; watches of health apart
MAX_HEALTH_WATCHES = 500
HEARTBEAT_S = 20.0  # gateways end what is silent for 60 s by default (nginx)
HEARTBEATS: dict[str, Message] = {
    "StreamLeases": rpc.StreamLeasesResponse(heartbeat=True),
    "WatchCampaign": rpc.WatchCampaignResponse(heartbeat=True),
}

Identify = Callable[[], Caller]
"""Who calls. Raises Unauthenticated, or Exhausted for who calls too often. May block."""

T = TypeVar("T")

logger = logging.getLogger("ray.serve")


class Calls:
    """Each call on a thread; made and used within one event loop."""

    def __init__(
        self,
        queue_url: str,
        authenticator: Authenticator,
        limits: Limits,
        media: Media,
        exports: ExportSettings = NO_EXPORTS,
    ) -> None:
        self.limits = limits
        self._media = media
        self._authenticator = authenticator
        self._rate = Rate(limits)
        self._threads = ThreadPoolExecutor(NUM_THREADS)  # as many writers may share a commit
        store = open_when_reachable(queue_url, on_wait=logger.warning)
        self._service = LeaseService(store, limits=limits)
        RegularExports(store, exports).start()
        self._health = Health(self._service.check_health)
        self._streams = Slots(each=limits.max_streams, total=MAX_STREAMS)
        self._health_watches = Slots(each=MAX_HEALTH_WATCHES, total=MAX_HEALTH_WATCHES)
        self._looks: Feeds[Look] = Feeds(every_s=WATCH_S, share=WATCH_SHARE)
        self._lasting: dict[str, Callable[[Any, Caller], AsyncGenerator[Message, None]]] = {
            "StreamLeases": self._stream_leases,
            "ReadItem": self._read_item,
            "WatchCampaign": self._watch_campaign,
        }

    def identify(self, metadata: Mapping[str, str], peer: str) -> Caller:
        """metadata: keys in lower case. peer: as gRPC writes it, `ipv4:127.0.0.1:5000`."""
        caller = self._authenticator.caller(metadata, peer)
        self._rate.spend(caller.name)
        return caller

    async def on_thread(self, call: Callable[..., T], *arguments: Any, **named: Any) -> T:
        bound = functools.partial(call, *arguments, **named)
        return await asyncio.get_running_loop().run_in_executor(self._threads, bound)

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

    async def unary(self, method: str, request: Any, identify: Identify) -> Message:
        """The response of a call that does not stream."""
        if method == "LeaseItems":
            return await self._lease_items(request, identify)
        return await self.on_thread(self._call, method, request, identify)

    async def stream(
        self, method: str, request: Any, identify: Identify
    ) -> AsyncGenerator[Message, None]:
        """The responses of a call that streams."""
        caller = await self.on_thread(self._admitted, method, request, identify)
        responses = self._lasting[method](request, caller)
        if method in HEARTBEATS:
            heartbeat = HEARTBEATS[method]
            responses = with_heartbeats(responses, every_s=HEARTBEAT_S, heartbeat=heartbeat)
        with self._streams.take(caller.name):
            async with aclosing(responses) as stream:
                async for response in stream:
                    yield response

    async def item(self, name: str, identify: Identify) -> items_pb2.Item:
        """An item, for who holds a lease on it. name: the item's."""
        return items_pb2.Item.FromString(await self.on_thread(self._read, name, identify))

    async def media(self, name: str, identify: Identify) -> tuple[bytes, str]:
        """Bytes and media type of what an item shows, for who holds a lease on it.

        name: the item's. Raises NotFound for items without a picture or sound.
        """
        return await self.on_thread(lambda: self._media.of(self._read(name, identify)))

    def _read(self, name: str, identify: Identify) -> bytes:
        request = rpc.ReadItemRequest(name=name)
        caller = self._admitted("ReadItem", request, identify)
        return self._service.read_item(request, caller)

    def _call(self, method: str, request: Any, identify: Identify) -> Message:
        caller = self._admitted(method, request, identify)
        response: Message = getattr(self._service, method)(request, caller)
        return response

    def _admitted(self, method: str, request: Any, identify: Identify) -> Caller:
        caller = identify()
        check_message(request, method, self.limits)
        check_allowed(caller, method, campaign_of(request))
        return caller

    async def _lease_items(
        self, request: rpc.LeaseItemsRequest, identify: Identify
    ) -> rpc.LeaseItemsResponse:
        """Asks again while nothing is free and the request would wait."""
        began = time.monotonic()
        caller, response = await self.on_thread(self._first_leases, request, identify)
        ends = began + _wait_s(request)
        if response.leases or time.monotonic() >= ends:
            return response
        with self._streams.take(caller.name):
            while not response.leases and (left_s := ends - time.monotonic()) > 0:
                await asyncio.sleep(min(left_s, POLL_S))
                is_last = time.monotonic() >= ends
                lease = self._service.LeaseItems
                response = await self.on_thread(lease, request, caller, may_wait=not is_last)
        return response

    def _first_leases(
        self, request: rpc.LeaseItemsRequest, identify: Identify
    ) -> tuple[Caller, rpc.LeaseItemsResponse]:
        caller = self._admitted("LeaseItems", request, identify)
        may_wait = _wait_s(request) > 0
        return caller, self._service.LeaseItems(request, caller, may_wait=may_wait)

    async def _stream_leases(
        self, request: rpc.StreamLeasesRequest, caller: Caller
    ) -> AsyncGenerator[Message, None]:
        next_leases = self._service.next_leases
        while (response := await self.on_thread(next_leases, request, caller)) is not None:
            if response.leases:
                yield response
            else:
                await asyncio.sleep(POLL_S)

    async def _read_item(
        self, request: rpc.ReadItemRequest, caller: Caller
    ) -> AsyncGenerator[Message, None]:
        encoded = await self.on_thread(self._service.read_item, request, caller)
        for chunk in in_chunks(encoded):
            yield rpc.ReadItemResponse(chunk=chunk)

    async def _watch_campaign(
        self, request: rpc.WatchCampaignRequest, caller: Caller
    ) -> AsyncGenerator[Message, None]:
        last = None
        look = functools.partial(self.on_thread, self._service.look, request.name)
        async with aclosing(self._looks.follow(request.name, look)) as looks:
            async for seen in looks:
                response = seen.shown_to(caller)
                if response != last:
                    yield response
                last = response
                if response.campaign.state == campaigns_pb2.CAMPAIGN_STATE_FINALIZED:
                    return


def _wait_s(request: rpc.LeaseItemsRequest) -> float:
    return float(request.wait.seconds + request.wait.nanos / 1e9)
