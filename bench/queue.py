"""Speed of the queue through Serve, against a bare gRPC server and a real Label Studio.

The bare server gives the same payload from memory and keeps nothing; it is measured by itself
and behind Serve, which shows what of the difference is Serve's.

    python -m bench.queue                       # about 5 minutes; prints a table and JSON
    python -m bench.queue --batch 200           # of larger batches
    python -m bench.queue --queue postgresql    # on a PostgreSQL of its own
    python -m bench.queue --against 588a8ae     # beside that release, on both: bench/releases.py
    python -m bench.queue --label-studio /tmp/label-studio/bin/label-studio
                                                # bench/label_studio.py says how to install it

One client is one labeler with a connection of its own: it leases a batch and submits it,
again and again. Ratios hold within one run on one machine; the machine does both sides' work,
and the load average at the end of each measurement says who else was at work.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import grpc
import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from bench import bare_server
from bench.label_studio import label_studio as running_label_studio
from bench.releases import Measured, compare
from relabel_service.client import Client
from relabel_service.v1 import leases_pb2, relabel_service_pb2_grpc
from relabel_service.v1 import relabel_service_pb2 as rpc
from relabel_service.wire.metadata import APPLICATION, APPLICATION_KEY, LABELER_KEY
from tests.support.campaigns import write_findings
from tests.support.ports import free_port
from tests.support.postgres import PostgresServer
from tests.support.servers import ServerProcess

CAMPAIGN = "campaigns/bench"
HAPROXY = {"RAY_SERVE_ENABLE_HA_PROXY": "1", "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"}
WARM_UP_S = 1.0
NUM_ITEMS = 1_000_000
RELEASE_CLIENTS = 64  # beside a release


class Queue(StrEnum):
    SQLITE = "sqlite"
    POSTGRESQL = "postgresql"


@dataclass
class Load:
    """What the clients of one run saw."""

    num_items: int = 0
    num_all: int = 0
    """With those before and after what is measured."""
    lease_s: list[float] = field(default_factory=list)
    submit_s: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Figures:
    server: str
    num_clients: int
    items_per_s: float
    lease_ms: tuple[float, float] = (0.0, 0.0)
    """p50, p99 of one call."""
    submit_ms: tuple[float, float] = (0.0, 0.0)
    load_average: float = field(default_factory=lambda: round(os.getloadavg()[0], 1))


def main(
    clients: Annotated[list[int] | None, typer.Option(help="concurrent clients")] = None,
    batch: Annotated[int, typer.Option(help="items a call")] = 50,
    seconds: Annotated[float, typer.Option(help="of each measurement")] = 10.0,
    items: Annotated[int | None, typer.Option(help="in the queue at first")] = None,
    queue: Annotated[Queue, typer.Option(help="kind of database")] = Queue.SQLITE,
    haproxy: Annotated[bool, typer.Option(help="in the deployed mode")] = True,
    label_studio: Annotated[Path | None, typer.Option(help="its program")] = None,
    against: Annotated[str, typer.Option(help="commit of a release to measure beside")] = "",
    turns: Annotated[int, typer.Option(help="of each side, beside a release")] = 5,
    only: Annotated[Queue | None, typer.Option(help="of the databases, beside a release")] = None,
) -> None:
    """Measure, print, and exit non-zero when a call failed."""
    if against:
        _beside(against, batch, seconds, turns, [only] if only else [*Queue], items)
        return
    numbers = clients or [1, 16, 64]
    found: list[Figures] = []
    with _bare(batch) as address:
        found += [_measure("bare", address, number, batch, seconds) for number in numbers]
    with _bare_in_serve(batch, haproxy=haproxy) as address:
        found += [_measure("bare in Serve", address, number, batch, seconds) for number in numbers]
    with _ours(items or NUM_ITEMS, queue, haproxy=haproxy) as address:
        found += [_measure("relabel", address, number, batch, seconds) for number in numbers]
    if label_studio:
        found += _label_studio(label_studio, numbers, seconds)
    Console().print(_table(found))
    print(json.dumps([vars(one) for one in found]))


def _beside(
    release: str,
    batch: int,
    seconds: float,
    turns: int,
    queues: list[Queue],
    items: int | None,
) -> None:
    def measure(address: str) -> Measured:
        load = asyncio.run(
            _load(address, num_clients=RELEASE_CLIENTS, batch=batch, seconds=seconds)
        )
        return load.num_items / seconds, load.num_all

    for queue in queues:
        figures = compare(
            release, queue.value, measure, turns=turns, seconds=seconds + WARM_UP_S, items=items
        )
        print(json.dumps(figures), flush=True)


def _measure(name: str, address: str, num_clients: int, batch: int, seconds: float) -> Figures:
    load = asyncio.run(_load(address, num_clients=num_clients, batch=batch, seconds=seconds))
    return Figures(
        name,
        num_clients,
        items_per_s=load.num_items / seconds,
        lease_ms=_percentiles(load.lease_s),
        submit_ms=_percentiles(load.submit_s),
    )


async def _load(address: str, *, num_clients: int, batch: int, seconds: float) -> Load:
    load = Load()
    starts = time.monotonic() + WARM_UP_S
    workers = [
        _worker(address, number, batch, load, starts=starts, ends=starts + seconds)
        for number in range(num_clients)
    ]
    await asyncio.gather(*workers)
    return load


async def _worker(
    address: str, number: int, batch: int, load: Load, *, starts: float, ends: float
) -> None:
    metadata = (
        (LABELER_KEY, f"labeler-{number}-{uuid.uuid4().hex[:8]}"),
        (APPLICATION_KEY, APPLICATION),
    )
    options = [("grpc.use_local_subchannel_pool", 1)]  # a connection for each client
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        stub: Any = relabel_service_pb2_grpc.RelabelServiceStub(channel)  # type: ignore[no-untyped-call]
        while (began := time.monotonic()) < ends:
            request = rpc.LeaseItemsRequest(
                parent=CAMPAIGN, max_items=batch, request_id=str(uuid.uuid4())
            )
            leases = (await stub.LeaseItems(request, metadata=metadata)).leases
            leased = time.monotonic()
            if not leases:
                raise RuntimeError("the queue ran empty; start with more --items")
            results = [
                leases_pb2.Result(token=lease.token, decision=leases_pb2.DECISION_ACCEPT)
                for lease in leases
            ]
            submit = rpc.SubmitResultsRequest(
                parent=CAMPAIGN, results=results, request_id=str(uuid.uuid4())
            )
            sent = time.monotonic()
            outcomes = (await stub.SubmitResults(submit, metadata=metadata)).outcomes
            done = time.monotonic()
            if any(one.status != leases_pb2.RESULT_STATUS_ACCEPTED for one in outcomes):
                raise RuntimeError("a result was not accepted")
            load.num_all += len(outcomes)
            if starts <= done <= ends:
                load.num_items += len(outcomes)
                load.lease_s.append(leased - began)
                load.submit_s.append(done - sent)


@contextmanager
def _bare(batch: int) -> Iterator[str]:
    port = free_port()
    with _running(["bench.bare_server", str(port), str(batch)], os.environ):
        yield f"127.0.0.1:{port}"


@contextmanager
def _bare_in_serve(batch: int, *, haproxy: bool) -> Iterator[str]:
    port = free_port()
    environment = os.environ | (HAPROXY if haproxy else {}) | {"RAY_USAGE_STATS_ENABLED": "0"}
    arguments = ["bench.bare_serve", str(port), str(free_port()), str(batch)]
    with _running(arguments, environment):
        yield f"127.0.0.1:{port}"


@contextmanager
def _running(arguments: list[str], environment: Mapping[str, str]) -> Iterator[None]:
    """A module of bench/ that says when it has started, until the block ends."""
    command = [sys.executable, "-m", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        if not any(line.strip() == bare_server.STARTED for line in process.stdout):
            raise RuntimeError(f"{' '.join(arguments)} ended before it served")
        try:
            yield
        finally:
            process.terminate()


@contextmanager
def _ours(items: int, queue: Queue, *, haproxy: bool) -> Iterator[str]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="queue-bench-")))
        queue_url = None
        if queue is Queue.POSTGRESQL:
            database = PostgresServer()
            stack.callback(database.close)
            queue_url = database.create_database("queue")
        # HAProxy hides who is near, and the measured callers are all on this machine.
        options, environment = (("--open",), HAPROXY) if haproxy else ((), {})
        server = ServerProcess(
            folder, queue_url=queue_url, options=options, environment=os.environ | environment
        )
        stack.enter_context(server)
        with Client(server.address, labeler="admin") as admin:
            began = time.monotonic()
            admin.create_campaign("bench", findings_uri=write_findings(folder, items), run_id="run")
            print(f"{items} findings written and imported in {time.monotonic() - began:.1f} s")
        yield server.address


def _label_studio(program: Path, numbers: list[int], seconds: float) -> list[Figures]:
    with (
        tempfile.TemporaryDirectory(prefix="label-studio-") as folder,
        running_label_studio(program, Path(folder), num_tasks=5000) as studio,
    ):
        return [
            Figures("Label Studio", number, studio.items_per_s(num_clients=number, seconds=seconds))
            for number in numbers
        ]


def _percentiles(times_s: list[float]) -> tuple[float, float]:
    p50, p99 = np.percentile(np.array(times_s) * 1000, [50, 99])
    return round(float(p50), 2), round(float(p99), 2)


def _table(found: list[Figures]) -> Table:
    table = Table("server", "clients", "items/s", "lease p50/p99 ms", "submit p50/p99 ms", "ratio")
    ours = {one.num_clients: one.items_per_s for one in found if one.server == "relabel"}
    for one in found:
        ratio = ours[one.num_clients] / one.items_per_s
        table.add_row(
            one.server,
            str(one.num_clients),
            f"{one.items_per_s:.0f}",
            "{} / {}".format(*one.lease_ms),
            "{} / {}".format(*one.submit_ms),
            f"{ratio:.2f}",
        )
    return table


if __name__ == "__main__":
    typer.run(main)
