"""What an operator sees and does: metrics, audit lines, a stop that loses no call."""

import json
import os
import re
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from relabel_service.client import Client
from relabel_service.errors import NotFound, Unavailable
from relabel_service.server.metrics import METRICS
from relabel_service.v1 import leases_pb2
from tests.support.campaigns import write_findings
from tests.support.ports import free_port
from tests.support.servers import ServerProcess

SHOWN_WITHIN_S = 120.0
OFTEN = {"RAY_metrics_report_interval_ms": "1000"}  # Ray's processes report every 10 s (2.60)


@pytest.fixture
def observed(tmp_path: Path) -> Iterator[tuple[ServerProcess, int]]:
    """A service with an audit log in its folder, and the port of its metrics."""
    port = free_port()
    options = ("--metrics-port", str(port), "--audit-log", str(tmp_path / "audit.jsonl"))
    with ServerProcess(tmp_path, options=options, environment=os.environ | OFTEN) as server:
        yield server, port


def samples(port: int) -> list[str]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as response:
        text: str = response.read().decode()
    return [line for line in text.splitlines() if line.startswith("ray_relabel_")]


def value(lines: list[str], name: str, **labels: str) -> float | None:
    for line in lines:
        found = re.fullmatch(r"(\w+)\{(.*)\} (\S+)", line)
        if found and found[1] == name:
            shown = dict(re.findall(r'(\w+)="([^"]*)"', found[2]))
            if labels.items() <= shown.items():
                return float(found[3])
    return None


def shown_in_time(port: int, name: str, **labels: str) -> list[str]:
    """The metrics once one of them is there: Ray reports them from time to time."""
    ends = time.monotonic() + SHOWN_WITHIN_S
    while True:
        lines = samples(port)
        if value(lines, name, **labels):
            return lines
        assert time.monotonic() < ends, f"{name} {labels} is not in {lines}"
        time.sleep(0.5)


def test_prometheus_the_audit_log_and_the_last_call_tell_what_was_done(
    observed: tuple[ServerProcess, int], tmp_path: Path
) -> None:
    server, port = observed
    ann = Client(server.address, labeler="secret-ann", max_attempts=2)  # it is not back later
    ann.create_campaign("test", findings_uri=write_findings(tmp_path, 4), run_id="run")
    leases = ann.lease("test", max_items=3)
    result = leases_pb2.Result(token=leases[0].token, decision=leases_pb2.DECISION_ACCEPT)
    ann.submit("test", [result])
    with pytest.raises(NotFound):
        ann.pause("no-such")
    with ThreadPoolExecutor(2) as pool:
        watch = ann.watch("test")
        next(watch)
        shown_in_time(port, "ray_relabel_streams_open", method="WatchCampaign")
        lines = shown_in_time(port, "ray_relabel_items", campaign="test", state="done")
        assert value(lines, "ray_relabel_items", campaign="test", state="leased") == 2
        assert value(lines, "ray_relabel_answers_total", outcome="accepted") == 1
        refused = {"method": "PauseCampaign", "outcome": "NOT_FOUND"}
        assert value(lines, "ray_relabel_calls_total", **refused) == 1
        assert value(lines, "ray_relabel_streams_open", method="WatchCampaign") == 1
        assert value(lines, "ray_relabel_call_seconds_count", method="LeaseItems") == 1
        assert value(lines, "ray_relabel_store_seconds_count", method="write")
        names = {re.sub(r"^ray_|(_total|_bucket|_count|_sum)?\{.*", "", line) for line in lines}
        assert names == METRICS.keys() - {"relabel_lease_expiries"}  # none has expired yet
        assert "secret-ann" not in "\n".join(lines)

        bob = Client(server.address, labeler="bob")
        [other] = bob.lease("test")
        waiting = pool.submit(bob.lease, "test", wait_s=40)  # in one call
        shown_in_time(port, "ray_relabel_streams_open", method="LeaseItems")
        began = time.monotonic()
        assert server.stop() == 0
        print(f"stopped in {time.monotonic() - began:.1f} s")
        assert waiting.result() == []
        with pytest.raises(Unavailable):
            for _ in watch:
                pass
    audited = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    assert [(one["who"], one["method"], one["campaign"], one["outcome"]) for one in audited] == [
        ("secret-ann", "CreateCampaign", "test", "OK"),
        ("secret-ann", "LeaseItems", "test", "OK"),
        ("secret-ann", "SubmitResults", "test", "OK"),
        ("secret-ann", "PauseCampaign", "no-such", "NOT_FOUND"),
        ("bob", "LeaseItems", "test", "OK"),
        ("bob", "LeaseItems", "test", "OK"),
    ]
    assert other.token not in (tmp_path / "audit.jsonl").read_text()
