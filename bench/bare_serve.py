"""The bare server behind Ray Serve: what Serve costs by itself, of what the service's calls take.

python -m bench.bare_serve PORT HTTP_PORT BATCH     # started by bench/queue.py
"""

import logging
import signal
import sys
import threading
from typing import Any

import ray
from grpc_health.v1 import health_pb2
from ray import serve
from ray.serve.config import HTTPOptions, gRPCOptions
from ray.serve.grpc_util import RayServegRPCContext

from bench.bare_server import STARTED, Bare
from relabel_service.server.app import wait_until_routed
from relabel_service.server.servicers import SERVICERS
from relabel_service.v1 import relabel_service_pb2 as rpc
from relabel_service.wire.metadata import APPLICATION


class BareInServe:
    """Answers at once, on the replica's own loop."""

    def __init__(self, batch: int) -> None:
        self._bare = Bare(batch)

    async def LeaseItems(self, request: rpc.LeaseItemsRequest) -> Any:
        return await self._bare.LeaseItems(request, None)

    async def SubmitResults(self, request: rpc.SubmitResultsRequest) -> Any:
        return await self._bare.SubmitResults(request, None)

    async def Check(
        self, request: health_pb2.HealthCheckRequest, grpc_context: RayServegRPCContext
    ) -> health_pb2.HealthCheckResponse:
        return health_pb2.HealthCheckResponse(status="SERVING")


def main(port: int, http_port: int, batch: int) -> None:
    stopped = threading.Event()
    ray.init(
        address="local",
        num_cpus=1,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.WARNING,
    )
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    serve.start(
        http_options=HTTPOptions(port=http_port),
        grpc_options=gRPCOptions(port=port, grpc_servicer_functions=SERVICERS),
    )
    deployment = serve.deployment(max_ongoing_requests=1000)(BareInServe)
    serve.run(deployment.bind(batch), name=APPLICATION, route_prefix="/")
    wait_until_routed(f"127.0.0.1:{port}")
    print(STARTED, flush=True)
    stopped.wait()
    ray.shutdown()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
