"""What a real nginx with TLS does to calls and streams, and what the client makes of it.

The service behind it is scripted.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from relabel_service import Client
from relabel_service.errors import Exhausted, RelabelError, Unavailable
from relabel_service.v1 import leases_pb2
from relabel_service.v1 import relabel_service_pb2 as rpc
from tests.support.certificates import Certificates, write_certificates
from tests.support.nginx import PLAIN, Nginx, documented
from tests.support.ports import free_port
from tests.unit.test_reconnecting import HEARTBEAT, Scripted, leased, serving, until_cancelled

DOCUMENTED, IMPATIENT, MUTUAL = (free_port() for _ in range(3))


class Answering(Scripted):
    def SubmitResults(self, request: rpc.SubmitResultsRequest, context: Any) -> Any:
        outcomes = [leases_pb2.ResultOutcome(token=each.token) for each in request.results]
        return rpc.SubmitResultsResponse(outcomes=outcomes)


@pytest.fixture
def scripted() -> Answering:
    return Answering()


@pytest.fixture
def made(tmp_path: Path) -> Certificates:
    return write_certificates(tmp_path)


@pytest.fixture
def nginx(scripted: Answering, made: Certificates, tmp_path: Path) -> Iterator[Nginx]:
    with serving(scripted) as address:
        port = int(address.rpartition(":")[2])

        def plain(listen: int, more: str) -> str:
            return PLAIN.format(
                port=listen, more=more, grpc=port, server=made.server, server_key=made.server_key
            )

        servers = [
            documented(made, listen=DOCUMENTED, grpc=port, http=port),
            plain(IMPATIENT, "grpc_read_timeout 1s;"),
            plain(MUTUAL, f"ssl_client_certificate {made.ca}; ssl_verify_client on;"),
        ]
        (tmp_path / "nginx").mkdir()
        with Nginx(tmp_path / "nginx", "\n".join(servers)) as started:
            yield started


@pytest.fixture
def connect(nginx: Nginx, made: Certificates) -> Iterator[Callable[..., Client]]:
    clients = []

    def connect(port: int, **options: Any) -> Client:
        chosen: dict[str, Any] = {"token": "secret", "tls": True, "ca_file": str(made.ca)} | options
        clients.append(Client(f"localhost:{port}", **chosen))
        return clients[-1]

    yield connect
    for client in clients:
        client.close()


def test_a_stream_that_nginx_cuts_off_goes_on(
    scripted: Answering, connect: Callable[..., Client]
) -> None:
    scripted.streams = [[leased("a"), until_cancelled], [until_cancelled], [HEARTBEAT, leased("c")]]
    scripted.in_force = [[], ["a"], ["a", "b"], ["a", "b"]]
    leases = connect(IMPATIENT).stream_leases("demo", max_outstanding=9)
    assert [lease.token for lease in leases] == ["a", "b", "c"]
    assert scripted.streams == []


def test_the_documented_gateway_lets_through_what_nginx_does_not_by_default(
    connect: Callable[..., Client],
) -> None:
    results = [leases_pb2.Result(token=f"t{number}", comment="c" * 10_000) for number in range(150)]
    assert len(connect(DOCUMENTED).submit("demo", results)) == 150
    with pytest.raises(Exhausted, match="client_max_body_size"):
        connect(IMPATIENT).submit("demo", results)


def test_a_gateway_that_wants_a_certificate_gets_one(
    connect: Callable[..., Client], made: Certificates
) -> None:
    shown = {"client_certificate": str(made.client), "client_key": str(made.client_key)}
    assert connect(MUTUAL, **shown).lease("demo") == []
    with pytest.raises(RelabelError, match="400"):
        connect(MUTUAL, max_attempts=1).lease("demo")


def test_a_gateway_that_nobody_vouches_for_is_not_talked_to(connect: Callable[..., Client]) -> None:
    with pytest.raises(Unavailable, match=r"(?i)certificate"):
        connect(DOCUMENTED, ca_file="", max_attempts=1).lease("demo")
