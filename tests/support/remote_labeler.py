"""A labeler, who is the admin too, in a process of its own, which a test may put on another host.

    python -m tests.support.remote_labeler 127.0.0.1:9000

Commands (remote.py): `create FINDINGS_URI`, `finalize RESULTS_URI`; `label`, which leases one item
and answers it, and says its row; `health`, which says what grpc.health.v1 does. No call is tried
again.
"""

import sys
from collections.abc import Sequence

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from relabel_service import accept
from relabel_service.client import Client
from relabel_service.v1 import leases_pb2
from relabel_service.wire.errors import from_wire
from relabel_service.wire.metadata import APPLICATION, APPLICATION_KEY
from tests.support.remote import Remote, answer_commands

CAMPAIGN = "partition"
DEADLINE_S = 90.0  # longer than any limit of the service's


class RemoteLabeler(Remote):
    """prefix: of the command, which says where it runs."""

    def __init__(self, address: str, *, prefix: Sequence[str]) -> None:
        super().__init__([*prefix, sys.executable, "-m", __name__, address])


def _run(client: Client, health: health_pb2_grpc.HealthStub, what: str, uri: str = "") -> str:
    if what == "create":
        client.create_campaign(CAMPAIGN, findings_uri=uri, run_id="run")
    elif what == "finalize":
        client.finalize(CAMPAIGN, results_uri=uri)
    elif what == "label":
        [lease] = client.lease(CAMPAIGN, max_items=1)
        [outcome] = client.submit(CAMPAIGN, [accept(lease)])
        return f"{leases_pb2.ResultStatus.Name(outcome.status)} {lease.item.row_id}"
    elif what == "health":
        try:
            metadata = ((APPLICATION_KEY, APPLICATION),)
            answer = health.Check(
                health_pb2.HealthCheckRequest(), timeout=DEADLINE_S, metadata=metadata
            )
        except grpc.RpcError as error:
            raise from_wire(error) from error
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))
    else:
        raise ValueError(what)
    return "ok"


def main(address: str) -> None:
    with (
        Client(address, labeler="ann", deadline_s=DEADLINE_S, max_attempts=1) as client,
        grpc.insecure_channel(address) as channel,
    ):
        health = health_pb2_grpc.HealthStub(channel)
        answer_commands(lambda what: _run(client, health, *what))


if __name__ == "__main__":
    main(sys.argv[1])
