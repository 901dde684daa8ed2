"""Serve's HAProxy mode on ports and files of its own, so that several Ray nodes share a machine."""

from pathlib import Path

from tests.support.ports import free_port, free_ports

NUM_PORTS = 20  # of replicas: Serve tries the next one when one is taken
PROXY = "RAY_SERVE_HAPROXY"


def own_places(folder: Path) -> dict[str, str]:
    """Environment variables. folder: for HAProxy's files."""
    replicas_http, replicas_grpc = free_ports(NUM_PORTS), free_ports(NUM_PORTS)
    return {
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(replicas_http[0]),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(replicas_http[-1]),
        "RAY_SERVE_DIRECT_INGRESS_MIN_GRPC_PORT": str(replicas_grpc[0]),
        "RAY_SERVE_DIRECT_INGRESS_MAX_GRPC_PORT": str(replicas_grpc[-1]),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(free_port()),
        f"{PROXY}_STATS_PORT": str(free_port()),
        f"{PROXY}_METRICS_PORT": str(free_port()),
        f"{PROXY}_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        f"{PROXY}_SOCKET_PATH": str(folder / "admin.sock"),
        f"{PROXY}_METRICS_SOCKET_PATH": str(folder / "metrics.sock"),
        f"{PROXY}_SERVER_STATE_BASE": str(folder),
        f"{PROXY}_SERVER_STATE_FILE": str(folder / "server-state"),
    }
