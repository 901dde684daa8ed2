"""The rendered Serve config, deployed as KubeRay deploys it, in HAProxy mode.

A Ray head of its own gets the manifest's environment and, through the dashboard's REST API,
the manifest's config; only ports and the queue's folder are this machine's.
"""

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from relabel_service.client import Client
from relabel_service.errors import NotFound, Unauthenticated
from relabel_service.server.auth import mint
from tests.support.manifests import ROOT, pod_templates, render, serve_config
from tests.support.ports import free_port, free_ports

START_TIMEOUT_S = 120.0
POLL_S = 0.2
NUM_PORTS = 40  # in each of the replicas' port ranges

SECRET = secrets.token_hex(32)

[SERVICE] = [d for d in render("k8s/base/serve") if d["kind"] == "RayService"]


@dataclass(frozen=True)
class Deployed:
    """A running deployment: its ports, its files and its Ray processes."""

    grpc_port: int
    http_port: int
    side_ports: frozenset[int]  # what HAProxy mode binds besides; the policy must close them
    queue: Path
    ray: psutil.Process


@pytest.fixture(scope="module")
def deployed() -> Iterator[Deployed]:
    folder = Path(tempfile.mkdtemp(prefix="rs", dir="/tmp"))  # Ray's socket paths must be short
    try:
        with _running(folder) as one:
            yield one
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_health_answers_the_probe(deployed: Deployed) -> None:
    # As the kubelet asks: no metadata that would name the application.
    with grpc.insecure_channel(f"127.0.0.1:{deployed.grpc_port}") as channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        state = check(health_pb2.HealthCheckRequest(), timeout=10).status
    assert state == health_pb2.HealthCheckResponse.SERVING


def test_calls_and_errors_pass_the_proxy(deployed: Deployed) -> None:
    token = mint(SECRET.encode(), "operator", role="admin", lifetime_s=600)
    with Client(f"127.0.0.1:{deployed.grpc_port}", token=token) as client:
        assert list(client.list_campaigns()) == []
        with pytest.raises(NotFound, match="no campaign 'none'"):
            client.stats("campaigns/none")
    assert deployed.queue.exists()


def test_http_passes_the_proxy_beside_grpc(deployed: Deployed) -> None:
    token = mint(SECRET.encode(), "operator", role="admin", lifetime_s=600)
    address = f"http://127.0.0.1:{deployed.http_port}"
    with httpx.Client(base_url=address, headers={"authorization": f"Bearer {token}"}) as client:
        path = "/relabel_service.v1.RelabelService"
        assert client.post(f"{path}/ListCampaigns", json={}).json() == {}
        unknown = client.post(f"{path}/GetCampaignStats", json={"name": "campaigns/none"})
        assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")
        assert client.get("/").headers["content-type"] == "text/html; charset=utf-8"


def test_a_caller_without_a_token_is_refused(deployed: Deployed) -> None:
    with (
        Client(f"127.0.0.1:{deployed.grpc_port}", labeler="operator") as client,
        pytest.raises(Unauthenticated, match="Bearer"),
    ):
        client.stats("campaigns/none")


def test_haproxy_binds_no_port_but_the_known(deployed: Deployed) -> None:
    served = {deployed.grpc_port, deployed.http_port}
    # A HAProxy that loads its configuration anew is two processes, of which one ends.
    _until(lambda: served <= _ports_of("haproxy", deployed.ray), deployed.queue.parent)
    assert _ports_of("haproxy", deployed.ray) <= deployed.side_ports | served


@contextmanager
def _running(folder: Path) -> Iterator[Deployed]:
    ports = (free_port() for _ in range(8))
    gcs, dashboard, agent, client, http_port, grpc_port, stats, metrics = ports
    token = secrets.token_hex(32)
    side, environment = _environment(folder, token=token, stats=stats, metrics=metrics)
    command = [
        *(str(Path(sys.executable).with_name("ray")), "start", "--head", "--block"),
        *("--node-ip-address=127.0.0.1", f"--port={gcs}", f"--dashboard-port={dashboard}"),
        *(f"--dashboard-agent-listen-port={agent}", f"--ray-client-server-port={client}"),
        *("--num-cpus=2", f"--temp-dir={folder}", "--disable-usage-stats"),
    ]
    with (folder / "head.log").open("wb") as output:
        head = subprocess.Popen(
            command, env=environment, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        _until(lambda: _get(f"http://127.0.0.1:{agent}/api/healthz"), folder)
        address = f"http://127.0.0.1:{dashboard}/api/serve/applications/"
        config = _config(folder, http_port=http_port, grpc_port=grpc_port)
        _until(lambda: _get(address, token=token, body=config), folder)
        _until(lambda: _is_running(_get(address, token=token)), folder)
        _until(lambda: _get(f"http://127.0.0.1:{http_port}/-/healthz"), folder)
        yield Deployed(grpc_port, http_port, side, folder / "queue.db", psutil.Process(head.pid))
    finally:
        _end(head)


def _environment(
    folder: Path, *, token: str, stats: int, metrics: int
) -> tuple[frozenset[int], dict[str, str]]:
    """The side ports in use, and the manifest's environment with this machine's ports."""
    env = pod_templates(SERVICE)["head"]["spec"]["containers"][0]["env"]
    # Serve tries the next one when one is taken.
    replicas_http, replicas_grpc = free_ports(NUM_PORTS), free_ports(NUM_PORTS)
    fallback = free_port()
    proxy = "RAY_SERVE_HAPROXY"
    settings = {one["name"]: one["value"] for one in env if "value" in one} | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": token,
        "RELABEL_JWT_SECRET": SECRET,
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(replicas_http[0]),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(replicas_http[-1]),
        "RAY_SERVE_DIRECT_INGRESS_MIN_GRPC_PORT": str(replicas_grpc[0]),
        "RAY_SERVE_DIRECT_INGRESS_MAX_GRPC_PORT": str(replicas_grpc[-1]),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(fallback),
        f"{proxy}_STATS_PORT": str(stats),
        f"{proxy}_METRICS_PORT": str(metrics),
        f"{proxy}_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        f"{proxy}_SOCKET_PATH": str(folder / "admin.sock"),
        f"{proxy}_METRICS_SOCKET_PATH": str(folder / "metrics.sock"),
        f"{proxy}_SERVER_STATE_BASE": str(folder),
        f"{proxy}_SERVER_STATE_FILE": str(folder / "server-state"),
    }
    side = frozenset({*replicas_http, *replicas_grpc, fallback, stats, metrics})
    inherited = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    return side, inherited | settings


def _config(folder: Path, *, http_port: int, grpc_port: int) -> bytes:
    config = serve_config(SERVICE)
    config["http_options"]["port"] = http_port
    config["grpc_options"]["port"] = grpc_port
    config["applications"][0]["args"]["queue_url"] = f"sqlite:///{folder / 'queue.db'}"
    return json.dumps(config).encode()


def _get(address: str, *, token: str = "", body: bytes | None = None) -> bytes:
    request = urllib.request.Request(address, data=body, method="PUT" if body else "GET")
    request.add_header("Authorization", f"Bearer {token}")
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=30) as response:
        content: bytes = response.read()
        return content


def _is_running(details: bytes) -> bool:
    applications: dict[str, Any] = json.loads(details)["applications"]
    return [one["status"] for one in applications.values()] == ["RUNNING"]


def _until(holds: Callable[[], object], folder: Path) -> None:
    """Ask again until it neither fails to connect nor answers false; then give up, loudly."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            if holds() is not False:
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            pass  # not up yet
        time.sleep(POLL_S)
    logs = [folder / "head.log", *folder.glob("session_*/logs/serve/*.log")]
    ends = (f"{log.name}: {log.read_text('utf-8')[-2000:]}" for log in logs)
    raise TimeoutError("\n".join((f"not up after {START_TIMEOUT_S} s", *ends)))


def _ports_of(name: str, ray: psutil.Process) -> set[int]:
    found: set[int] = set()
    for process in ray.children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if process.name() == name:
                connections = process.net_connections(kind="tcp")
                found |= {c.laddr.port for c in connections if c.status == psutil.CONN_LISTEN}
    return found


def _end(head: subprocess.Popen[bytes]) -> None:
    """Kill the head and all that it started: asked politely, replicas drain for 30 s."""
    family = psutil.Process(head.pid).children(recursive=True)
    head.kill()
    head.wait()
    for process in family:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(family, timeout=30)
