"""The Ray Serve application: gRPC, and HTTP (http.py), in front of calls.py.

    relabel serve                              # or, in a Serve config:
    import_path: relabel_service.server.app:app
    args: {queue_url: "sqlite:////data/queue.db"}

Owns how the service starts, and gRPC: which code an error becomes. Ray only here and in
ray_node.py. Serve's proxy must be given servicers.SERVICERS.
"""

import gc
import logging
import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

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
from ray.serve.schema import LoggingConfig
from ray.util import metrics as ray_metrics
from starlette.types import ASGIApp

from relabel_service.errors import (
    Exhausted,
    InvalidInput,
    RelabelError,
    Unavailable,
    WrongState,
)
from relabel_service.queue.store import absolute_url, shown, wait_until_reachable
from relabel_service.server import http
from relabel_service.server.auth import (
    ONE_KEY_RULE,
    Authenticator,
    AuthSettings,
    LocalAuthenticator,
    OpenAuthenticator,
    TokenAuthenticator,
)
from relabel_service.server.calling import Calling
from relabel_service.server.calls import MAX_HEALTH_WATCHES, MAX_STREAMS, Calls
from relabel_service.server.metrics import LATENCIES_S, METRICS, LastingGauges, Metric
from relabel_service.server.ray_node import ended_process, kill_node, start_ray_node
from relabel_service.server.servicers import SERVICERS
from relabel_service.server.settings import LOCAL_ONLY, OPEN, STARTED, ServeSettings, settings_from
from relabel_service.v1 import relabel_service_pb2 as rpc
from relabel_service.wire.credentials import is_loopback
from relabel_service.wire.errors import DETAILS_KEY, INTERNAL_MESSAGE, to_wire
from relabel_service.wire.metadata import APPLICATION

SERVICE = rpc.DESCRIPTOR.services_by_name["RelabelService"]
ROUTED_WITHIN_S = 30.0
GC_THRESHOLD = 10_000  # objects more than before, until the newest are looked at; Python has 700
GRACE_S = 10.0  # for calls that run when the service is stopped
# Of Serve's own queue, which would hold up the calls that last and the short ones alike.
MAX_ONGOING_REQUESTS = 2 * (MAX_STREAMS + MAX_HEALTH_WATCHES)

logger = logging.getLogger("ray.serve")


class RayInstruments:
    """METRICS as Ray's, which each node's agent offers to Prometheus, with `ray_` before the name
    and `_total` after a counter's."""

    def __init__(self) -> None:
        self._metrics: dict[str, Any] = {
            name: _ray_metric(name, metric) for name, metric in METRICS.items()
        }

    def add(self, name: str, value: float = 1, **labels: str) -> None:
        self._metrics[name].inc(value, labels)

    def set(self, name: str, value: float, **labels: str) -> None:
        self._metrics[name].set(value, labels)

    def observe(self, name: str, value: float, **labels: str) -> None:
        self._metrics[name].observe(value, labels)


def _ray_metric(name: str, metric: Metric) -> ray_metrics.Metric:
    if metric.kind == "counter":
        return ray_metrics.Counter(name, metric.description, metric.labels)
    if metric.kind == "gauge":
        return ray_metrics.Gauge(name, metric.description, metric.labels)
    return ray_metrics.Histogram(name, metric.description, list(LATENCIES_S), metric.labels)


class RelabelService:
    """Each RPC of relabel_service.proto and grpc.health.v1's; HTTP beside them (http.py)."""

    def __init__(self, settings: ServeSettings) -> None:
        instruments = LastingGauges(RayInstruments())
        instruments.start()
        self._calls = Calls(settings, _authenticator(settings.auth), instruments)
        self._cors_origins = settings.cors_origins
        # Of the replica's process: its rows come and go by the thousand, and the collector would
        # look at what lasts each time, which took a twentieth of the CPU time.
        gc.freeze()
        gc.set_threshold(GC_THRESHOLD)

    def __serve_build_asgi_app__(self) -> ASGIApp:
        return http.build(self._calls, cors_origins=self._cors_origins)

    async def drain(self) -> None:
        """Before the application is deleted: see Calls.drain."""
        self._calls.drain()

    async def check_health(self) -> None:
        """Ray Serve's: a replica that cannot reach its database is replaced by another."""
        await self._calls.check_health()

    async def Check(
        self, request: health_pb2.HealthCheckRequest, grpc_context: RayServegRPCContext
    ) -> health_pb2.HealthCheckResponse:
        """grpc.health.v1: whether the queue database answers."""
        if not _is_known(request):
            grpc_context.set_code(StatusCode.NOT_FOUND)
            grpc_context.set_details(f"no such service; ask for {SERVICE.full_name}")
            return health_pb2.HealthCheckResponse()
        return _health(await self._calls.is_healthy())

    async def Watch(
        self, request: health_pb2.HealthCheckRequest, grpc_context: RayServegRPCContext
    ) -> AsyncGenerator[health_pb2.HealthCheckResponse, None]:
        """grpc.health.v1: the same, now and after each change."""
        last = None
        try:
            async with aclosing(self._calls.watch_health()) as looks:
                async for is_healthy in looks:
                    health = health_pb2.HealthCheckResponse(status="SERVICE_UNKNOWN")
                    if _is_known(request):
                        health = _health(is_healthy)
                    if health != last:
                        yield health
                    last = health
        except Exhausted as error:
            _refuse("Watch", error, grpc_context)
            yield health_pb2.HealthCheckResponse()  # what carries the status (Ray 2.60)

    def _calling(self, context: RayServegRPCContext) -> Calling:
        return self._calls.calling(dict(context.invocation_metadata()), context.peer())


def _health(is_healthy: bool) -> health_pb2.HealthCheckResponse:
    return health_pb2.HealthCheckResponse(status="SERVING" if is_healthy else "NOT_SERVING")


def _is_known(request: object) -> bool:
    named = isinstance(request, health_pb2.HealthCheckRequest)
    return named and request.service in ("", SERVICE.full_name)  # type: ignore[attr-defined]


def _refuse(method: str, error: Exception, context: RayServegRPCContext) -> None:
    if isinstance(error, RelabelError):
        code, message, details = to_wire(error)
        context.set_trailing_metadata([(DETAILS_KEY, details)])  # type: ignore[list-item]
    else:
        logger.error("%s failed", method, exc_info=error)
        code, message = StatusCode.INTERNAL, INTERNAL_MESSAGE
    context.set_code(code)
    context.set_details(message)


def _handler(method: MethodDescriptor) -> Callable[..., Any]:
    """Makes the call; on failure sets the code and sends an empty response.

    An exception that left a handler would show the caller a stack trace with pids and addresses
    (Ray 2.60), so none does.
    """
    response_type = message_factory.GetMessageClass(method.output_type)

    async def respond(
        self: RelabelService, request: Message, grpc_context: RayServegRPCContext
    ) -> Message:
        try:
            calling = self._calling(grpc_context)
            return await self._calls.unary(method.name, request, calling)
        except Exception as error:
            _refuse(method.name, error, grpc_context)
        return response_type()

    async def respond_often(
        self: RelabelService, request: Message, grpc_context: RayServegRPCContext
    ) -> AsyncGenerator[Message, None]:
        try:
            responses = self._calls.stream(method.name, request, self._calling(grpc_context))
            async with aclosing(responses) as stream:
                async for response in stream:
                    yield response
        except Exception as error:
            _refuse(method.name, error, grpc_context)
            yield response_type()  # what carries the status (Ray 2.60)

    handle = respond_often if method.server_streaming else respond
    handle.__name__ = method.name
    return handle


for _method in SERVICE.methods:
    setattr(RelabelService, _method.name, _handler(_method))


def app(args: Mapping[str, Any]) -> Application:
    """Build the application from a Serve config's args: see settings.settings_from."""
    return application(settings_from(args))


def application(settings: ServeSettings, *, drain_look_s: float = 2.0) -> Application:
    """Raises InvalidInput where callers could not be identified.

    drain_look_s: between two looks of a stopping replica at whether calls still run in it; the
    first comes so long after the stop, while proxies on other nodes hear of it.
    """
    _check_callers_are_seen(settings)
    deployment = serve.deployment(
        num_replicas=settings.num_replicas,
        max_ongoing_requests=MAX_ONGOING_REQUESTS,
        graceful_shutdown_wait_loop_s=drain_look_s,
        graceful_shutdown_timeout_s=GRACE_S,
        # Without Serve's own line of every call: audit lines tell what changed, metrics the rest.
        logging_config=LoggingConfig(log_level="WARNING"),
    )
    return deployment(serve.ingress()(RelabelService)).bind(settings)


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
    log = str(Path(settings.audit_log).absolute()) if settings.audit_log else ""
    queue_url = absolute_url(settings.queue_url)  # a replica has another working folder
    here = replace(settings, queue_url=queue_url, audit_log=log)
    built = application(here, drain_look_s=0.1)  # the only proxy is on this node
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
    settings: ServeSettings,
    *,
    host: str,
    port: int,
    http_port: int,
    metrics_port: int = 0,
    until_input_ends: bool = False,
) -> None:
    """Start a Ray node of its own and serve until SIGINT or SIGTERM.

    metrics_port: of the metrics for Prometheus; 0: any free one.
    until_input_ends: or until standard input ends, as it does when whoever started this dies.
    The node ends with this process; what was accepted is in the queue database.
    Raises InvalidInput when callers from other machines are expected and cannot be identified;
    Unavailable or WrongState, with the reason, when the service does not start.
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
    _check_it_can_start(settings, host=host, port=port, http_port=http_port)
    # Ray's processes give way to every other (niceness 15 in 2.60): people wait for this one.
    os.environ.setdefault("RAY_worker_niceness", "0")
    stopped = threading.Event()
    start_ray_node(
        num_cpus=settings.num_replicas,  # a replica's slot, not a share of the machine
        _metrics_export_port=metrics_port or None,
    )
    for number in (signal.SIGINT, signal.SIGTERM):  # after Ray, which sets its own
        signal.signal(number, lambda *_: stopped.set())
    run(settings, host=host, port=port, http_port=http_port)
    wait_until_routed(f"127.0.0.1:{port}")
    page = f"http://{host if is_loopback(host) else socket.gethostname()}:{http_port}/"
    queue = shown(settings.queue_url)
    print(f"{STARTED} on port {port}, the page on {page}, queue {queue}", flush=True)
    # In steps: a signal that comes just before an endless wait begins would not end it (CPython).
    while not stopped.wait(1.0):
        if ended := ended_process():
            _give_up(ended)
    _stop()


def _check_it_can_start(settings: ServeSettings, *, host: str, port: int, http_port: int) -> None:
    """What else Serve would find out after Ray has started, and try several times."""
    try:
        wait_until_reachable(settings.queue_url, on_wait=_say)
        for interface, number in (("", port), (host, http_port)):
            _check_is_free(interface, number)
    except (Unavailable, WrongState) as error:
        raise type(error)(f"the service did not start: {error}") from error


def _check_is_free(host: str, port: int) -> None:
    """host: empty for all interfaces. Raises Unavailable."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        raise Unavailable(
            f"port {port} cannot be listened on ({error.strerror}); stop what listens there, or "
            "name another port"
        ) from error


def _stop() -> None:
    """Let calls end, within GRACE_S, while the proxy still takes their responses to the callers.

    serve.shutdown() ends the proxy beside the replicas (Ray 2.60), so the application goes first;
    what is left of Serve ends with the node.
    """
    try:
        draining = serve.get_app_handle(APPLICATION).broadcast("drain")
        draining.results(timeout_s=GRACE_S)
    except (RayError, RuntimeError, TimeoutError) as error:
        _say(f"streams are cut, since the replicas cannot be told to stop: {error}")
    serve.delete(APPLICATION)
    ray.shutdown()


def _give_up(ended: str) -> NoReturn:
    """Without a part of its node the service answers nobody: whoever watches it starts it again."""
    _say(
        f"Ray's {ended} ended, and the service with it; look for why in Ray's logs (memory?), and "
        "start it again: what was accepted is in the queue database"
    )
    kill_node()
    os._exit(1)  # past Ray's own end, which never comes


def _say(what: str) -> None:
    print(f"relabel: {what}", file=sys.stderr, flush=True)


def _stop_when_input_ends() -> None:
    # Not by sys.stdin, whose lock a thread that waits would hold when the process ends otherwise:
    # Python aborts then.
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
