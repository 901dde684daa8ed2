"""The Ray Serve application: gRPC in front of LeaseService. The only Ray import here.

    relabel serve                              # or, in a Serve config:
    import_path: relabel_service.server.app:app
    args: {queue_url: "sqlite:////data/queue.db"}

Owns the transport: who calls, which code an error becomes, threads for the
blocking store. Serve's proxy must be given servicers.SERVICERS.
"""

import asyncio
import functools
import logging
import os
import re
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import replace
from typing import Any, TypeVar

import grpc
import ray
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc
from ray import serve
from ray.exceptions import RayError
from ray.serve import Application
from ray.serve._private.constants import RAY_SERVE_ENABLE_HA_PROXY
from ray.serve.config import HTTPOptions, gRPCOptions
from ray.serve.grpc_util import RayServegRPCContext

from relabel_service.errors import Exhausted, InvalidInput, RelabelError, Unavailable
from relabel_service.queue.stats import Report
from relabel_service.queue.store import (
    POOL_SIZE,
    absolute_url,
    open_when_reachable,
    shown,
    wait_for_server,
)
from relabel_service.queue.vacancies import Vacancies
from relabel_service.server.auth import (
    MAX_NAME,
    ONE_KEY_RULE,
    Authenticator,
    AuthSettings,
    Caller,
    LocalAuthenticator,
    OpenAuthenticator,
    TokenAuthenticator,
    check_allowed,
    is_loopback,
)
from relabel_service.server.campaign_rpcs import Look, stats_response
from relabel_service.server.health import Health
from relabel_service.server.item_stream import in_chunks
from relabel_service.server.lease_rpcs import WAITS_FOR_ITEMS, Leased, role_of
from relabel_service.server.rate_limits import Limits, Rate
from relabel_service.server.service import LeaseService
from relabel_service.server.servicers import SERVICERS
from relabel_service.server.settings import LOCAL_ONLY, OPEN, STARTED, ServeSettings, settings_from
from relabel_service.server.streams import Feeds, Shared, Slots
from relabel_service.server.validation import campaign_of, check_message
from relabel_service.server.waiting import TURNS_AT_ONCE, WaitingRooms
from relabel_service.v1 import campaigns_pb2
from relabel_service.v1 import relabel_service_pb2 as rpc
from relabel_service.wire.errors import DETAILS_KEY, to_wire
from relabel_service.wire.metadata import APPLICATION, LABELER_KEY, TOKEN_KEY

SERVICE = rpc.DESCRIPTOR.services_by_name["RelabelService"]
ROUTED_WITHIN_S = 30.0
WATCH_S = 1.0
WATCH_SHARE = 0.05  # of one thread's time: counting a million results takes long
# Threads of their own, so that none keeps another waiting: for short calls (as many writers may
# share a commit), for the turns of calls that wait, and for counting. One imports.
KEPT_FROM_S, KEPT_MOST_S = 0.5, 60.0  # counts that took so long are given again for a while
NUM_THREADS = POOL_SIZE - TURNS_AT_ONCE - 3
NUM_LOOKING = 2
MAX_CALLS = 1000  # short calls that run or wait for a thread, of all callers
MAX_STREAMS = 4000  # calls that last, of all callers; watches of health apart
MAX_HEALTH_WATCHES = 500
# Of Serve's own queue, which would hold up the calls that last and the short ones alike.
MAX_ONGOING_REQUESTS = 2 * (MAX_STREAMS + MAX_HEALTH_WATCHES)

M = TypeVar("M", bound=Message)
T = TypeVar("T")

logger = logging.getLogger("ray.serve")


class RelabelService:
    """Each RPC of relabel_service.proto, and grpc.health.v1's, on a thread."""

    def __init__(
        self, queue_url: str, auth: AuthSettings | str, limits: Limits, retention_days: float
    ) -> None:
        self._authenticator = _authenticator(auth)
        self._limits = limits
        self._rate = Rate(limits)
        self._threads = ThreadPoolExecutor(NUM_THREADS, "calls")
        self._turns = ThreadPoolExecutor(TURNS_AT_ONCE, "turns")
        self._looking = ThreadPoolExecutor(NUM_LOOKING, "looking")
        store = open_when_reachable(queue_url, on_wait=logger.warning)
        self._rooms = WaitingRooms(self._look_for_items)
        self._service = LeaseService(
            store, limits=limits, on_change=self._rooms.changed, retention_days=retention_days
        )
        background = self._service.background
        threading.Thread(target=background.run, name="background", daemon=True).start()
        self._health = Health(self._service.check_health)
        self._calls = Slots(each=limits.max_calls, total=MAX_CALLS, what="short calls")
        self._streams = Slots(
            each=limits.max_streams, total=MAX_STREAMS, what="calls that wait or stream"
        )
        self._health_watches = Slots(
            each=MAX_HEALTH_WATCHES, total=MAX_HEALTH_WATCHES, what="watches of health"
        )
        self._looks: Feeds[Look] = Feeds(every_s=WATCH_S, share=WATCH_SHARE)
        self._counts: Shared[Report] = Shared(
            kept_from_s=KEPT_FROM_S, share=WATCH_SHARE, most_s=KEPT_MOST_S
        )

    async def check_health(self) -> None:
        """Ray Serve's: a replica that cannot reach its database is replaced by another."""
        await self._health.check()

    async def _on_thread(self, call: Callable[..., T], *arguments: Any, **named: Any) -> T:
        return await _on(self._threads, call, *arguments, **named)

    async def Check(
        self, request: health_pb2.HealthCheckRequest, grpc_context: RayServegRPCContext
    ) -> health_pb2.HealthCheckResponse:
        """grpc.health.v1: whether the queue database answers."""
        if not _is_known(request):
            grpc_context.set_code(StatusCode.NOT_FOUND)
            grpc_context.set_details(f"no such service; ask for {SERVICE.full_name}")
            return health_pb2.HealthCheckResponse()
        return await self._status()

    async def Watch(
        self, request: health_pb2.HealthCheckRequest, grpc_context: RayServegRPCContext
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """grpc.health.v1: the same, now and after each change."""
        last = None
        try:
            with self._health_watches.take("health"):
                while True:
                    health = health_pb2.HealthCheckResponse(status="SERVICE_UNKNOWN")
                    if _is_known(request):
                        health = await self._status()
                    if health != last:
                        yield health
                    last = health
                    await asyncio.sleep(WATCH_S)
        except Exhausted as error:
            _refuse("Watch", error, grpc_context)
            yield health_pb2.HealthCheckResponse()  # what carries the status (Ray 2.60)

    async def _status(self) -> health_pb2.HealthCheckResponse:
        try:
            await self._health.check()
        except Unavailable as error:
            logger.warning("%s", error)
            return health_pb2.HealthCheckResponse(status="NOT_SERVING")
        return health_pb2.HealthCheckResponse(status="SERVING")

    async def LeaseItems(
        self, request: rpc.LeaseItemsRequest, grpc_context: RayServegRPCContext
    ) -> rpc.LeaseItemsResponse:
        """Waits for its turn where nothing is free and the request would wait."""
        try:
            began = time.monotonic()
            with self._calls.take(_claimed_name(grpc_context)):
                caller, response = await self._on_thread(self._first_leases, request, grpc_context)
            left_s = began + _wait_s(request) - time.monotonic()
            if response.leases or left_s <= 0:
                return response
            lease = functools.partial(_on, self._turns, self._service.LeaseItems, request, caller)

            async def leases() -> rpc.LeaseItemsResponse | None:
                response = await lease(may_wait=True)
                return response if response.leases else None

            with self._streams.take(caller.name):
                found = await self._rooms.first(
                    campaign_of(request),
                    leases,
                    role=role_of(request),
                    labeler=caller.name,
                    within_s=left_s,
                )
                return found or await lease()
        except Exception as error:
            _refuse("LeaseItems", error, grpc_context)
        return rpc.LeaseItemsResponse()

    def _first_leases(
        self, request: rpc.LeaseItemsRequest, context: RayServegRPCContext
    ) -> tuple[Caller, rpc.LeaseItemsResponse]:
        caller = self._admitted("LeaseItems", request, context)
        may_wait = _wait_s(request) > 0
        return caller, self._service.LeaseItems(request, caller, may_wait=may_wait)

    async def _look_for_items(self, campaign: str, labelers: frozenset[str]) -> Vacancies:
        return await _on(self._turns, self._service.look_for_items, campaign, labelers)

    async def StreamLeases(
        self, request: rpc.StreamLeasesRequest, grpc_context: RayServegRPCContext
    ) -> AsyncIterator[rpc.StreamLeasesResponse]:
        try:
            caller = await self._on_thread(self._admitted, "StreamLeases", request, grpc_context)
            step = functools.partial(_on, self._turns, self._service.next_leases, request, caller)

            async def not_empty() -> Leased | None:
                leased = await step()
                return None if leased == WAITS_FOR_ITEMS else leased

            wait = functools.partial(
                self._rooms.first,
                campaign_of(request),
                role=role_of(request),
                labeler=caller.name,
            )
            with self._streams.take(caller.name):
                leased = await step()
                while not leased.is_over:
                    if leased.response is not None:
                        yield leased.response
                    if leased.is_full:
                        waited = await wait(step, below=request.max_outstanding)
                    else:
                        waited = await wait(not_empty)
                    leased = waited or WAITS_FOR_ITEMS
        except Exception as error:
            _refuse("StreamLeases", error, grpc_context)
            yield rpc.StreamLeasesResponse()  # what carries the status (Ray 2.60)

    async def ReadItem(
        self, request: rpc.ReadItemRequest, grpc_context: RayServegRPCContext
    ) -> AsyncIterator[rpc.ReadItemResponse]:
        try:
            caller = await self._on_thread(self._admitted, "ReadItem", request, grpc_context)
            with self._streams.take(caller.name):
                encoded = await self._on_thread(self._service.read_item, request, caller)
                for chunk in in_chunks(encoded):
                    yield rpc.ReadItemResponse(chunk=chunk)
        except Exception as error:
            _refuse("ReadItem", error, grpc_context)
            yield rpc.ReadItemResponse()  # what carries the status (Ray 2.60)

    async def GetCampaignStats(
        self, request: rpc.GetCampaignStatsRequest, grpc_context: RayServegRPCContext
    ) -> rpc.GetCampaignStatsResponse:
        """Counted once for all who ask meanwhile, on threads of its own."""
        try:
            with self._calls.take(_claimed_name(grpc_context)):
                admitted = functools.partial(self._admitted, "GetCampaignStats", request)
                caller = await self._on_thread(admitted, grpc_context)
                count = functools.partial(_on, self._looking, self._service.count, request.name)
                counts = await self._counts.get(request.name, count)
                return stats_response(counts, caller)
        except Exception as error:
            _refuse("GetCampaignStats", error, grpc_context)
        return rpc.GetCampaignStatsResponse()

    async def WatchCampaign(
        self, request: rpc.WatchCampaignRequest, grpc_context: RayServegRPCContext
    ) -> AsyncIterator[rpc.WatchCampaignResponse]:
        last = None
        try:
            caller = await self._on_thread(self._admitted, "WatchCampaign", request, grpc_context)
            look = functools.partial(_on, self._looking, self._service.look, request.name)
            with self._streams.take(caller.name):
                async with aclosing(self._looks.follow(request.name, look)) as looks:
                    async for seen in looks:
                        response = seen.shown_to(caller)
                        if response != last:
                            yield response
                        last = response
                        if response.campaign.state == campaigns_pb2.CAMPAIGN_STATE_FINALIZED:
                            return
        except Exception as error:
            _refuse("WatchCampaign", error, grpc_context)
            yield rpc.WatchCampaignResponse()  # what carries the status (Ray 2.60)

    async def _respond(
        self, method: str, request: Message, context: RayServegRPCContext, empty: M
    ) -> M:
        """Run the blocking call on a thread; on failure set the code and send `empty`.

        An exception that left a handler would show the caller a stack trace with
        pids and addresses (Ray 2.60), so none does.
        """
        try:
            with self._calls.take(_claimed_name(context)):
                return await self._on_thread(self._call, method, request, context)
        except Exception as error:
            _refuse(method, error, context)
        return empty

    def _call(self, method: str, request: Any, context: RayServegRPCContext) -> Any:
        caller = self._admitted(method, request, context)
        return getattr(self._service, method)(request, caller)

    def _admitted(self, method: str, request: Any, context: RayServegRPCContext) -> Caller:
        metadata = dict(context.invocation_metadata())
        caller = self._authenticator.caller(metadata, context.peer())
        self._rate.spend(caller.name)
        check_message(request, method, self._limits)
        check_allowed(caller, method, campaign_of(request))
        return caller


async def _on(threads: ThreadPoolExecutor, call: Callable[..., T], *given: Any, **named: Any) -> T:
    bound = functools.partial(call, *given, **named)
    return await asyncio.get_running_loop().run_in_executor(threads, bound)


def _claimed_name(context: RayServegRPCContext) -> str:
    """Who calls, as far as that is known before it is verified: calls are capped by it."""
    metadata = dict(context.invocation_metadata())
    claimed = metadata.get(TOKEN_KEY) or metadata.get(LABELER_KEY) or context.peer()
    return claimed if len(claimed) <= MAX_NAME else claimed[-MAX_NAME:]


def _wait_s(request: rpc.LeaseItemsRequest) -> float:
    return float(request.wait.seconds + request.wait.nanos / 1e9)


def _is_known(request: object) -> bool:
    named = isinstance(request, health_pb2.HealthCheckRequest)
    return named and request.service in ("", SERVICE.full_name)  # type: ignore[attr-defined]


def _refuse(method: str, error: Exception, context: RayServegRPCContext) -> None:
    if isinstance(error, RelabelError):
        code, message, details = to_wire(error)
        context.set_trailing_metadata([(DETAILS_KEY, details)])  # type: ignore[list-item]
    else:
        logger.error("%s failed", method, exc_info=error)
        code, message = StatusCode.INTERNAL, "the service failed; its log says why"
    context.set_code(code)
    context.set_details(message)


def _handler(method: MethodDescriptor) -> Callable[..., Awaitable[Message]]:
    response_type = message_factory.GetMessageClass(method.output_type)

    async def handle(
        self: RelabelService, request: Message, grpc_context: RayServegRPCContext
    ) -> Message:
        return await self._respond(method.name, request, grpc_context, response_type())

    handle.__name__ = method.name
    return handle


for _method in SERVICE.methods:
    if not hasattr(RelabelService, _method.name):
        setattr(RelabelService, _method.name, _handler(_method))


def app(args: Mapping[str, Any]) -> Application:
    """Build the application from a Serve config's args: see settings.settings_from."""
    return application(settings_from(args))


def application(settings: ServeSettings) -> Application:
    """Raises InvalidInput where callers could not be identified."""
    _check_callers_are_seen(settings)
    deployment = serve.deployment(
        num_replicas=settings.num_replicas,
        max_ongoing_requests=MAX_ONGOING_REQUESTS,
        graceful_shutdown_timeout_s=10,
    )
    return deployment(RelabelService).bind(
        settings.queue_url, settings.auth, settings.limits, settings.retention_days
    )


def _check_callers_are_seen(settings: ServeSettings) -> None:
    if settings.auth == LOCAL_ONLY and RAY_SERVE_ENABLE_HA_PROXY:
        raise InvalidInput.of(
            "auth",
            "is not set, and HAProxy hides which callers are on this machine; "
            f"{ONE_KEY_RULE}, or auth: {OPEN} behind a gateway that authenticates",
        )


def _authenticator(auth: AuthSettings | str) -> Authenticator:
    if isinstance(auth, AuthSettings):
        return TokenAuthenticator(auth)
    return OpenAuthenticator() if auth == OPEN else LocalAuthenticator()


def start(*, queue_url: str, host: str, port: int, http_port: int) -> None:
    """Serve this machine's callers from the Ray cluster this process is connected to."""
    run(ServeSettings(queue_url), host=host, port=port, http_port=http_port)


def run(settings: ServeSettings, *, host: str, port: int, http_port: int) -> None:
    """Serve from the Ray cluster this process is connected to.

    Serve 2.60 binds the gRPC port on all interfaces, whatever `host` says: it is HTTP's.
    Raises Unavailable, with the reason, when the service does not start.
    """
    built = application(replace(settings, queue_url=absolute_url(settings.queue_url)))
    try:
        serve.start(
            http_options=HTTPOptions(host=host, port=http_port),
            grpc_options=gRPCOptions(port=port, grpc_servicer_functions=SERVICERS),
        )
        # The proxy routes gRPC, too, only to an application that has a route prefix (Ray 2.60).
        serve.run(built, name=APPLICATION, route_prefix="/")
    except (RayError, RuntimeError) as error:
        raise Unavailable(f"the service did not start: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """The sentence within what Serve raises when a port is taken or a replica does not start.

    Of a replica Serve's error has only the name: its traceback is in the deployment's status,
    and like any traceback ends with the error itself (Ray 2.60).
    """
    text = str(error)
    if application := serve.status().applications.get(APPLICATION):
        failed = [
            deployment.message
            for deployment in application.deployments.values()
            if deployment.status.value == "DEPLOY_FAILED"
        ]
        text = "".join(failed) or text
    last = [line for line in text.splitlines() if line and not line.startswith(" ")][-1]
    return re.sub(r"^[\w.]+(Error|InvalidInput|Unavailable|WrongState): ", "", last)


def wait_until_routed(address: str) -> None:
    """Return once calls reach the application: proxies learn of it a moment after serve.run.

    Raises Unavailable when it is not serving within ROUTED_WITHIN_S.
    """
    ends = time.monotonic() + ROUTED_WITHIN_S
    with grpc.insecure_channel(address) as channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        while True:
            try:
                state = check(health_pb2.HealthCheckRequest(), timeout=ROUTED_WITHIN_S).status
                if state == health_pb2.HealthCheckResponse.SERVING:
                    return
                reason = "its queue database does not answer"
            except grpc.RpcError as error:
                reason = f"{error.code().name}: {error.details()}"
            if time.monotonic() > ends:
                raise Unavailable(f"{address} does not serve after {ROUTED_WITHIN_S:g} s: {reason}")
            time.sleep(0.1)


def serve_until_stopped(
    settings: ServeSettings, *, host: str, port: int, http_port: int, until_input_ends: bool = False
) -> None:
    """Start a Ray node of its own and serve until SIGINT or SIGTERM.

    until_input_ends: or until standard input ends, as it does when whoever started this dies.
    The node ends with this process; what was accepted is in the queue database.
    Raises InvalidInput when callers from other machines are expected and cannot be identified.
    """
    if settings.auth == LOCAL_ONLY and not is_loopback(host):
        raise InvalidInput.of(
            "host",
            f"{host} is not this machine's own, and no auth key is set; set one, "
            "or auth to open behind a gateway that authenticates",
        )
    _check_callers_are_seen(settings)  # before Ray starts
    if until_input_ends:
        threading.Thread(target=_stop_when_input_ends, name="input", daemon=True).start()
    wait_for_server(settings.queue_url, on_wait=_say)
    stopped = threading.Event()
    ray.init(
        address="local",  # not a cluster that somebody else has started on this machine
        num_cpus=settings.num_replicas,  # a replica's slot, not a share of the machine
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.WARNING,
    )
    for number in (signal.SIGINT, signal.SIGTERM):  # after ray.init, which sets its own
        signal.signal(number, lambda *_: stopped.set())
    run(settings, host=host, port=port, http_port=http_port)
    wait_until_routed(f"127.0.0.1:{port}")
    print(f"{STARTED} on port {port}, queue {shown(settings.queue_url)}", flush=True)
    stopped.wait()
    serve.shutdown()  # type: ignore[no-untyped-call]
    ray.shutdown()


def _say(what: str) -> None:
    print(f"relabel: {what}", file=sys.stderr, flush=True)


def _stop_when_input_ends() -> None:
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)
