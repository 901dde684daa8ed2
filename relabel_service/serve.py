"""The Ray Serve application: gRPC in front of LeaseService. The only Ray import here.

    relabel serve                              # or, in a Serve config:
    import_path: relabel_service.serve:app
    args: {queue_url: "sqlite:////data/queue.db"}

Owns the transport: who calls, which code an error becomes, threads for the
blocking store. Serve's proxy must be given GRPC_SERVICER.
"""

import asyncio
import logging
import signal
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import ray
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest
from google.rpc.status_pb2 import Status
from grpc import StatusCode
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
from relabel_service.queue.schema import open_queue
from relabel_service.requests import LABELER_KEY
from relabel_service.service import LeaseService
from relabel_service.v1 import relabel_service_pb2 as rpc

APPLICATION = "relabel"
DETAILS_KEY = "grpc-status-details-bin"  # google.rpc.Status, as grpcio-status reads it
GRPC_SERVICER = "relabel_service.v1.relabel_service_pb2_grpc.add_RelabelServiceServicer_to_server"

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


@serve.deployment(num_replicas=1, max_ongoing_requests=1000)
class RelabelService:
    """One replica: SQLite has one writer, and OK must mean one durable truth."""

    def __init__(self, queue_url: str) -> None:
        self._service = LeaseService(open_queue(queue_url))

    async def CreateCampaign(
        self, request: rpc.CreateCampaignRequest, grpc_context: RayServegRPCContext
    ) -> rpc.CreateCampaignResponse:
        return await _answer(
            self._service.CreateCampaign, request, grpc_context, rpc.CreateCampaignResponse()
        )

    async def GetCampaign(
        self, request: rpc.GetCampaignRequest, grpc_context: RayServegRPCContext
    ) -> rpc.GetCampaignResponse:
        return await _answer(
            self._service.GetCampaign, request, grpc_context, rpc.GetCampaignResponse()
        )

    async def ListCampaigns(
        self, request: rpc.ListCampaignsRequest, grpc_context: RayServegRPCContext
    ) -> rpc.ListCampaignsResponse:
        return await _answer(
            self._service.ListCampaigns, request, grpc_context, rpc.ListCampaignsResponse()
        )

    async def LeaseItems(
        self, request: rpc.LeaseItemsRequest, grpc_context: RayServegRPCContext
    ) -> rpc.LeaseItemsResponse:
        return await _answer(
            self._service.LeaseItems, request, grpc_context, rpc.LeaseItemsResponse()
        )

    async def ExtendLeases(
        self, request: rpc.ExtendLeasesRequest, grpc_context: RayServegRPCContext
    ) -> rpc.ExtendLeasesResponse:
        return await _answer(
            self._service.ExtendLeases, request, grpc_context, rpc.ExtendLeasesResponse()
        )

    async def ReleaseLeases(
        self, request: rpc.ReleaseLeasesRequest, grpc_context: RayServegRPCContext
    ) -> rpc.ReleaseLeasesResponse:
        return await _answer(
            self._service.ReleaseLeases, request, grpc_context, rpc.ReleaseLeasesResponse()
        )

    async def SubmitResults(
        self, request: rpc.SubmitResultsRequest, grpc_context: RayServegRPCContext
    ) -> rpc.SubmitResultsResponse:
        return await _answer(
            self._service.SubmitResults, request, grpc_context, rpc.SubmitResultsResponse()
        )

    async def GetCampaignStats(
        self, request: rpc.GetCampaignStatsRequest, grpc_context: RayServegRPCContext
    ) -> rpc.GetCampaignStatsResponse:
        return await _answer(
            self._service.GetCampaignStats, request, grpc_context, rpc.GetCampaignStatsResponse()
        )

    async def FinalizeCampaign(
        self, request: rpc.FinalizeCampaignRequest, grpc_context: RayServegRPCContext
    ) -> rpc.FinalizeCampaignResponse:
        return await _answer(
            self._service.FinalizeCampaign, request, grpc_context, rpc.FinalizeCampaignResponse()
        )


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


def app(args: dict[str, str]) -> Application:
    """Build the application. args: queue_url, the queue database's SQLAlchemy URL."""
    if not args.get("queue_url"):
        raise InvalidInput.of("args.queue_url", "is not set; name the queue database's URL")
    return RelabelService.bind(args["queue_url"])  # type: ignore[attr-defined, no-any-return]


def start(*, queue_url: str, host: str, port: int, http_port: int) -> None:
    """Serve gRPC on host:port from the Ray cluster this process is connected to."""
    serve.start(
        http_options=HTTPOptions(host=host, port=http_port),
        grpc_options=gRPCOptions(port=port, grpc_servicer_functions=[GRPC_SERVICER]),
    )
    serve.run(app({"queue_url": queue_url}), name=APPLICATION, route_prefix=None)


def serve_until_stopped(*, queue_url: str, host: str, port: int, http_port: int) -> None:
    """Start a Ray node of its own and serve until SIGINT or SIGTERM.

    The node ends with this process; what was answered OK is in the queue database.
    """
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.WARNING)
    start(queue_url=queue_url, host=host, port=port, http_port=http_port)
    print(f"serving gRPC on {host}:{port}, queue {queue_url}", flush=True)
    stopped.wait()
    serve.shutdown()  # type: ignore[no-untyped-call]
    ray.shutdown()
