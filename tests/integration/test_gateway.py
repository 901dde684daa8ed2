"""The service behind real gateways with TLS, as behind-a-gateway.md sets them and worse."""

import math
import ssl
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from relabel_service import Client, confirm
from relabel_service.errors import Exhausted, Unavailable
from relabel_service.server.auth import mint
from relabel_service.v1 import campaigns_pb2, leases_pb2, relabel_service_pb2_grpc
from relabel_service.v1 import relabel_service_pb2 as rpc
from relabel_service.wire.metadata import APPLICATION
from tests.integration.conftest import HEARTBEAT_S, SECRET
from tests.support import envoy
from tests.support.campaigns import write_findings
from tests.support.certificates import Certificates, write_certificates
from tests.support.envoy import Envoy
from tests.support.nginx import PLAIN, Nginx, documented
from tests.support.ports import free_port
from tests.support.servers import ServerProcess

PATIENCE_S = 4
NUM_HEARTBEATS = math.ceil(PATIENCE_S / HEARTBEAT_S)  # in which patience would end
DOCUMENTED, DEFAULTS, IMPATIENT, MUTUAL = (free_port() for _ in range(4))


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return write_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module", params=["nginx", "envoy"])
def gateway(
    request: pytest.FixtureRequest,
    guarded: ServerProcess,
    certificates: Certificates,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Nginx | Envoy]:
    makes: dict[str, Callable[..., Nginx | Envoy]] = {"nginx": nginx_before, "envoy": envoy_before}
    folder = tmp_path_factory.mktemp(request.param)
    with makes[request.param](guarded, certificates, folder) as started:
        yield started


def nginx_before(server: ServerProcess, certificates: Certificates, folder: Path) -> Nginx:
    def plain(port: int, more: str) -> str:
        made = {"server": certificates.server, "server_key": certificates.server_key}
        return PLAIN.format(port=port, more=more, grpc=server.port, **made)

    servers = [
        documented(certificates, listen=DOCUMENTED, grpc=server.port, http=server.http_port),
        plain(DEFAULTS, f"grpc_read_timeout {PATIENCE_S}s;"),
        plain(IMPATIENT, "grpc_read_timeout 1s;"),
        plain(MUTUAL, f"ssl_client_certificate {certificates.ca}; ssl_verify_client on;"),
    ]
    return Nginx(folder, "\n".join(servers))


def envoy_before(server: ServerProcess, certificates: Certificates, folder: Path) -> Envoy:
    config = envoy.documented(
        certificates, listen=DOCUMENTED, grpc=server.port, http=server.http_port
    )
    envoy.add_listener(config, port=DEFAULTS, idle_timeout=f"{PATIENCE_S}s")
    envoy.add_listener(config, port=IMPATIENT, idle_timeout="1s")
    envoy.add_listener(config, port=MUTUAL, client_ca=certificates.ca)
    return Envoy(folder, config)


def token(name: str, role: str = "labeler") -> str:
    return mint(SECRET.encode(), name, role=role, lifetime_s=600)


@pytest.fixture
def connect(gateway: Nginx | Envoy, certificates: Certificates) -> Iterator[Callable[..., Client]]:
    clients = []

    def connect(port: int, name: str = "ann", role: str = "labeler", **options: Any) -> Client:
        made: dict[str, Any] = {
            "token": token(name, role),
            "tls": True,
            "ca_file": str(certificates.ca),
        }
        clients.append(Client(f"localhost:{port}", **(made | options)))
        return clients[-1]

    yield connect
    for client in clients:
        client.close()


@pytest.fixture
def admin(connect: Callable[..., Client]) -> Client:
    return connect(DOCUMENTED, "admin", "admin")


@pytest.fixture
def campaign(admin: Client, tmp_path: Path) -> str:
    uri = write_findings(tmp_path, 4)
    return admin.create_campaign(f"c-{uuid.uuid4().hex}", findings_uri=uri, run_id="run").name


def test_calls_and_waits_pass_the_documented_gateway(
    connect: Callable[..., Client], campaign: str
) -> None:
    ann, bob = connect(DOCUMENTED), connect(DOCUMENTED, "bob")
    leases = ann.lease(campaign, max_items=4)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(bob.lease, campaign, wait_s=30)
        ann.release(campaign, [leases[0].token])
        [lease] = waiting.result()
    bob.submit(campaign, [confirm(lease)])
    assert ann.stats(campaign).num_done == 1


def test_http_passes_the_documented_gateway(
    certificates: Certificates, admin: Client, campaign: str
) -> None:
    address = f"https://localhost:{DOCUMENTED}"
    context = ssl.create_default_context(cafile=str(certificates.ca))
    headers = {"authorization": f"Bearer {token('admin', 'admin')}"}
    with httpx.Client(base_url=address, verify=context, headers=headers, timeout=60) as http:
        assert "<html" in http.get("/").text
        called = http.post(
            "/relabel_service.v1.RelabelService/GetCampaign", json={"name": campaign}
        )
        assert called.json()["campaign"]["name"] == campaign
        with http.stream("GET", f"/{campaign}/events") as events:
            lines = events.iter_lines()
            assert next(lines) == "event: campaign"
            # The service's HTTP proxy and the gateway pass each on as it comes.
            assert next(line for line in lines if line.startswith(":")) == ": still here"
            admin.pause(campaign)
            assert next(line for line in lines if "PAUSED" in line)


def test_heartbeats_keep_a_silent_stream_from_being_cut_off(
    certificates: Certificates, connect: Callable[..., Client], admin: Client, campaign: str
) -> None:
    credentials = grpc.ssl_channel_credentials(certificates.ca.read_bytes())
    who = (("authorization", f"Bearer {token('ann')}"), ("application", APPLICATION))
    with grpc.secure_channel(f"localhost:{DEFAULTS}", credentials) as channel:
        stub: Any = relabel_service_pb2_grpc.RelabelServiceStub(channel)  # type: ignore[no-untyped-call]
        stream = stub.WatchCampaign(rpc.WatchCampaignRequest(name=campaign), metadata=who)
        assert next(stream).campaign.name == campaign
        heard = [each.heartbeat for each in islice(stream, NUM_HEARTBEATS)]
        assert heard == [True] * NUM_HEARTBEATS
        admin.pause(campaign)
        assert next(each for each in stream if not each.heartbeat).campaign.name == campaign
        stream.cancel()


def test_a_stream_that_is_cut_off_brings_every_item_once(
    gateway: Nginx | Envoy, connect: Callable[..., Client], admin: Client, campaign: str
) -> None:
    ann = connect(IMPATIENT)
    ranks = []
    for lease in ann.stream_leases(campaign, max_outstanding=2):
        ranks.append(lease.item.rank)
        if len(ranks) in (1, 3):  # two come at once, then nothing until it is cut off
            gateway.wait_until_cut_off()
        ann.submit(campaign, [confirm(lease)])
        if len(ranks) == 4:
            admin.close_campaign(campaign)
    assert sorted(ranks) == [0, 1, 2, 3]


def test_watching_goes_on_when_it_is_cut_off(
    gateway: Nginx | Envoy,
    connect: Callable[..., Client],
    admin: Client,
    campaign: str,
    tmp_path: Path,
) -> None:
    seen = connect(IMPATIENT).watch(campaign)
    states = [next(seen).campaign.state]
    for change in (admin.pause, admin.resume):
        gateway.wait_until_cut_off()
        change(campaign)
        states.append(next(seen).campaign.state)
    admin.finalize(campaign, results_uri=str(tmp_path / "results"))
    *_, last = seen
    paused, active = campaigns_pb2.CAMPAIGN_STATE_PAUSED, campaigns_pb2.CAMPAIGN_STATE_ACTIVE
    assert states == [active, paused, active]
    assert last.campaign.state == campaigns_pb2.CAMPAIGN_STATE_FINALIZED


def test_a_body_over_the_gateways_limit_is_told_as_that(
    gateway: Nginx | Envoy, connect: Callable[..., Client], campaign: str
) -> None:
    results = [
        leases_pb2.Result(token=f"t{number}", decision="DECISION_SKIP", comment="c" * 10_000)
        for number in range(150)
    ]
    outcomes = connect(DOCUMENTED).submit(campaign, results)
    assert {outcome.status for outcome in outcomes} == {leases_pb2.RESULT_STATUS_STALE}
    if gateway.name == "envoy":  # has none
        assert len(connect(DEFAULTS).submit(campaign, results)) == len(results)
        return
    with pytest.raises(Exhausted, match="client_max_body_size"):
        connect(DEFAULTS).submit(campaign, results)


def test_a_gateway_that_wants_a_certificate_gets_one(
    gateway: Nginx | Envoy,
    connect: Callable[..., Client],
    certificates: Certificates,
    campaign: str,
) -> None:
    shown = {
        "client_certificate": str(certificates.client),
        "client_key": str(certificates.client_key),
    }
    assert connect(MUTUAL, **shown).get_campaign(campaign).name == campaign
    says = {"nginx": "400", "envoy": "failed to connect"}[gateway.name]  # Envoy ends the handshake
    with pytest.raises(Exception, match=says):
        connect(MUTUAL, max_attempts=1).get_campaign(campaign)


def test_a_gateway_that_nobody_vouches_for_is_not_talked_to(connect: Callable[..., Client]) -> None:
    with pytest.raises(Unavailable, match=r"(?i)certificate"):
        connect(DOCUMENTED, ca_file="", max_attempts=1).get_campaign("demo")
