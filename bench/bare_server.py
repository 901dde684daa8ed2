"""A bare grpc.aio server that answers with the payload of the lease service and does nothing.

python -m bench.bare_server PORT BATCH     # started by bench/queue.py
"""

import asyncio
import sys
from typing import Any

import grpc

from relabel_service.v1 import leases_pb2, relabel_service_pb2_grpc
from relabel_service.v1 import relabel_service_pb2 as rpc

STARTED = "serving"


def lease(place: int) -> leases_pb2.Lease:
    """One lease as tests.support.campaigns.finding makes it."""
    made = leases_pb2.Lease(token=f"{place:024d}")
    item = made.item
    item.name, item.row_id = f"campaigns/bench/items/{place:016x}", f"row-{place}"
    item.content.text.text, item.human_label.class_label.class_name = f"text {place}", "ham"
    suggestion = item.suggestions.add(probability=0.9)
    suggestion.label.class_label.class_name = "spam"
    item.suspicion, item.rank, item.reason = 0.9, place, "the model says spam"
    made.expire_time.GetCurrentTime()
    return made


class Bare(relabel_service_pb2_grpc.RelabelServiceServicer):
    def __init__(self, batch: int) -> None:
        self._leases = rpc.LeaseItemsResponse(leases=[lease(place) for place in range(batch)])

    async def LeaseItems(self, request: rpc.LeaseItemsRequest, context: Any) -> Any:
        return self._leases

    async def SubmitResults(self, request: rpc.SubmitResultsRequest, context: Any) -> Any:
        return rpc.SubmitResultsResponse(
            outcomes=[
                leases_pb2.ResultOutcome(
                    token=result.token, status=leases_pb2.RESULT_STATUS_ACCEPTED
                )
                for result in request.results
            ]
        )


async def serve(port: int, batch: int) -> None:
    server = grpc.aio.server()
    relabel_service_pb2_grpc.add_RelabelServiceServicer_to_server(Bare(batch), server)  # type: ignore[no-untyped-call]
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    print(STARTED, flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2])))
