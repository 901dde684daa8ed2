"""The Ray Serve application: gRPC in front of LeaseService. The only Ray import here.

    relabel serve                              # or, in a Serve config:
    import_path: relabel_service.serve:app
    args: {queue_url: "sqlite:////data/queue.db"}

Owns the transport: who calls, which code an error becomes, threads for the
blocking store. Serve's proxy must be given GRPC_SERVICERS.
"""

import asyncio
import logging
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import grpc
import ray
from google.protobuf import message_factory
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest
from google.rpc.status_pb2 import Status
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc
from ray import serve
from ray.serve import Application
from ray.serve.config import HTTPOptions, gRPCOptions
from ray.serve.grpc_util import RayServegRPCContext

from relabel_service.errors import (
    AlreadyExists,
    Conflict,
    DeadlineExceeded,
    InvalidInput,
    NotFound,
    RelabelError,
    Unauthenticated,
    Unavailable,
    WrongState,
)
from relabel_service.queue.store import check_replicas, open_store
from relabel_service.requests import LABELER_KEY
from relabel_service.service import LeaseService
from relabel_service.v1 import relabel_service_pb2 as rpc

APPLICATION = "relabel"
SERVICE = rpc.DESCRIPTOR.services_by_name["RelabelService"]
DETAILS_KEY = "grpc-status-details-bin"  # google.rpc.Status, as grpcio-status reads it
GRPC_SERVICERS = [
    "relabel_service.v1.relabel_service_pb2_grpc.add_RelabelServiceServicer_to_server",
    "grpc_health.v1.health_pb2_grpc.add_HealthServicer_to_server",
]

ROUTED_WITHIN_S = 30.0

CODES: dict[type[RelabelError], StatusCode] = {
    InvalidInput: StatusCode.INVALID_ARGUMENT,
    NotFound: StatusCode.NOT_FOUND,
    AlreadyExists: StatusCode.ALREADY_EXISTS,
    Conflict: StatusCode.ABORTED,
    WrongState: StatusCode.FAILED_PRECONDITION,
    Unauthenticated: StatusCode.UNAUTHENTICATED,
    Unavailable: StatusCode.UNAVAILABLE,
    DeadlineExceeded: StatusCode.DEADLINE_EXCEEDED,
}

M = TypeVar("M", bound=Message)

logger = logging.getLogger("ray.serve")


class RelabelService:
    """Answers each RPC of relabel_service.proto, and grpc.health.v1's, on a thread."""

    def __init__(self, queue_url: str) -> None:
        self._service = LeaseService(open_store(queue_url))

    async def Check(
        self, request: health_pb2.HealthCheckRequest, grpc_context: RayServegRPCContext
    ) -> health_pb2.HealthCheckResponse:
        """grpc.health.v1: whether the queue database answers."""
        if request.service not in ("", SERVICE.full_name):
            grpc_context.set_code(StatusCode.NOT_FOUND)
            grpc_context.set_details(f"no service {request.service!r}; ask for {SERVICE.full_name}")
            return health_pb2.HealthCheckResponse()
        try:
            await asyncio.to_thread(self._service.check_health)
        except Exception:
            logger.exception("the queue database does not answer")
            return health_pb2.HealthCheckResponse(status="NOT_SERVING")
        return health_pb2.HealthCheckResponse(status="SERVING")


def _handler(method: MethodDescriptor) -> Callable[..., Awaitable[Message]]:
    response_type = message_factory.GetMessageClass(method.output_type)

    async def handle(
        self: RelabelService, request: Message, grpc_context: RayServegRPCContext
    ) -> Message:
        call = getattr(self._service, method.name)
        return await _answer(call, request, grpc_context, response_type())

    handle.__name__ = method.name
    return handle


for _method in SERVICE.methods:
    setattr(RelabelService, _method.name, _handler(_method))


async def _answer(
    call: Callable[[Any, str], M], request: Message, context: RayServegRPCContext, empty: M
) -> M:
    """Run the blocking call on a thread; on failure set the code and send `empty`.

    An exception that left a handler would show the caller a stack trace with
    pids and addresses (Ray 2.60), so none does.
    """
    try:
        return await asyncio.to_thread(call, request, _labeler(context))
    except RelabelError as error:
        _refuse(context, CODES[type(error)], error)
    except Exception:
        logger.exception("%s failed", call.__name__)
        context.set_code(StatusCode.INTERNAL)
        context.set_details("the service failed; its log says why")
    return empty


def _labeler(context: RayServegRPCContext) -> str:
    labeler = dict(context.invocation_metadata()).get(LABELER_KEY, "")
    if not labeler:
        raise Unauthenticated(f"call metadata names no {LABELER_KEY}; send who is answering")
    return str(labeler)


def _refuse(context: RayServegRPCContext, code: StatusCode, error: RelabelError) -> None:
    context.set_code(code)
    context.set_details(str(error))
    if not isinstance(error, InvalidInput):
        return
    violations = [
        BadRequest.FieldViolation(field=v.field, description=v.description)
        for v in error.violations
    ]
    detail = AnyMessage()
    detail.Pack(BadRequest(field_violations=violations))
    status = Status(code=code.value[0], message=str(error), details=[detail])
    context.set_trailing_metadata([(DETAILS_KEY, status.SerializeToString())])


def app(args: Mapping[str, str]) -> Application:
    """Build the application. args: queue_url, the queue database's SQLAlchemy URL; replicas.

    Raises InvalidInput, for one when SQLite is to serve several replicas: it has
    one writer, and OK must mean one durable truth.
    """
    if not args.get("queue_url"):
        raise InvalidInput.of("args.queue_url", "is not set; name the queue database's URL")
    num_replicas = int(args.get("replicas", 1))
    check_replicas(args["queue_url"], num_replicas)
    deployment = serve.deployment(
        num_replicas=num_replicas, max_ongoing_requests=1000, graceful_shutdown_timeout_s=10
    )
    return deployment(RelabelService).bind(args["queue_url"])


def start(*, queue_url: str, num_replicas: int, host: str, port: int, http_port: int) -> None:
    """Serve gRPC on host:port from the Ray cluster this process is connected to."""
    application = app({"queue_url": queue_url, "replicas": str(num_replicas)})
    serve.start(
        http_options=HTTPOptions(host=host, port=http_port),
        grpc_options=gRPCOptions(port=port, grpc_servicer_functions=GRPC_SERVICERS),
    )
    # The proxy routes gRPC, too, only to an application that has a route prefix (Ray 2.60).
    serve.run(application, name=APPLICATION, route_prefix="/")


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
    *, queue_url: str, num_replicas: int, host: str, port: int, http_port: int
) -> None:
    """Start a Ray node of its own and serve until SIGINT or SIGTERM.

    The node ends with this process; what was answered OK is in the queue database.
    """
    check_replicas(queue_url, num_replicas)
    stopped = threading.Event()
    ray.init(
        num_cpus=num_replicas,  # a replica's slot, not a share of the machine
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.WARNING,
    )
    for number in (signal.SIGINT, signal.SIGTERM):  # after ray.init, which sets its own
        signal.signal(number, lambda *_: stopped.set())
    start(queue_url=queue_url, num_replicas=num_replicas, host=host, port=port, http_port=http_port)
    wait_until_routed(f"127.0.0.1:{port}")
    print(f"serving gRPC on {host}:{port}, queue {queue_url}", flush=True)
    stopped.wait()
    serve.shutdown()  # type: ignore[no-untyped-call]
    ray.shutdown()
