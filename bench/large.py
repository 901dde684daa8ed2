"""A large campaign from import to publication: time, peak memory, and calls at each size.

    python -m bench.large                                    # 10,000, then 1,000,000 findings
    python -m bench.large --items 100000 --queue postgresql  # on a PostgreSQL of its own

Each size runs in a process of its own, without Serve, so that memory is this work's alone:
its growth above what the process had when the step began. bench/queue.py measures calls
through Serve. p99 of the largest queue over that of the smallest says how flat calls are.
"""

import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import psutil
import pyarrow as pa
import typer

from bench.queue import Queue
from relabel_service.queue.store import open_store
from relabel_service.server.auth import Caller
from relabel_service.server.rate_limits import Limits
from relabel_service.server.service import LeaseService
from relabel_service.tables import delta, schemas
from relabel_service.v1 import campaigns_pb2, leases_pb2
from relabel_service.v1 import relabel_service_pb2 as rpc
from tests.support.campaigns import ADMIN, CAMPAIGN, create_request, finding, request_id
from tests.support.postgres import PostgresServer

WRITTEN = 10_000  # findings written at once
CALLS = 300  # pairs measured, after WARM_UP
WARM_UP = 20
LARGE_BATCH = 1000
NUM_LABELERS = 8


@dataclass
class Figures:
    """Of one size."""

    num_items: int
    seconds: dict[str, float] = field(default_factory=dict)
    peak_mib: dict[str, float] = field(default_factory=dict)
    lease_ms: tuple[float, float] = (0.0, 0.0)
    """p50, p99 of one call."""
    submit_ms: tuple[float, float] = (0.0, 0.0)
    load_average: float = 0.0

    def measure(self, step: str, work: Callable[[], Any]) -> None:
        """Do it; its seconds, and by how much it made the process larger at most."""
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew (Linux)
        before = psutil.Process().memory_info().rss
        began = time.monotonic()
        work()
        self.seconds[step] = round(time.monotonic() - began, 1)
        self.peak_mib[step] = round((_peak_bytes() - before) / 2**20, 1)


def main(
    items: Annotated[list[int] | None, typer.Option(help="sizes, one after another")] = None,
    batch: Annotated[int, typer.Option(help="items of a measured call")] = 50,
    queue: Annotated[Queue, typer.Option(help="kind of database")] = Queue.SQLITE,
) -> None:
    """Measure and print one JSON line for each size, and one that compares their calls."""
    found = [_apart(number, batch, queue) for number in items or [10_000, 1_000_000]]
    first, last = found[0], found[-1]
    print(
        json.dumps(
            {
                "from": first.num_items,
                "to": last.num_items,
                "lease_p99_ratio": round(last.lease_ms[1] / first.lease_ms[1], 2),
                "submit_p99_ratio": round(last.submit_ms[1] / first.submit_ms[1], 2),
            }
        )
    )


def _apart(num_items: int, batch: int, queue: Queue) -> Figures:
    """Measure in a process of its own."""
    with (
        tempfile.TemporaryDirectory(prefix="large-bench-") as folder,
        ExitStack() as stack,
        multiprocessing.get_context("spawn").Pool(1) as pool,
    ):
        queue_url = f"sqlite:///{folder}/queue.db"
        if queue is Queue.POSTGRESQL:
            database = PostgresServer()
            stack.callback(database.close)
            queue_url = database.create_database("queue")
        findings_uri = _write(Path(folder), num_items)
        figures = pool.apply(_run, (num_items, batch, queue_url, findings_uri, folder))
    print(json.dumps(vars(figures)), flush=True)
    return figures


def _run(num_items: int, batch: int, queue_url: str, findings_uri: str, folder: str) -> Figures:
    figures = Figures(num_items)
    store = open_store(queue_url)
    service = LeaseService(store, limits=Limits(max_response_bytes=2**30))
    figures.measure("import", lambda: _import(service, findings_uri))
    lease_s, submit_s = _calls(service, batch, min(CALLS, num_items // batch - WARM_UP))
    figures.lease_ms, figures.submit_ms = _percentiles(lease_s), _percentiles(submit_s)
    figures.measure("label", lambda: _label_all(service))
    figures.measure("stats", lambda: _stats(service))
    figures.measure("finalize", lambda: _finalize(service, f"{folder}/results"))
    store.close()
    figures.load_average = round(os.getloadavg()[0], 1)
    return figures


def _write(folder: Path, num_items: int) -> str:
    """Findings as a mine run writes them, never all in memory."""

    def batches() -> Iterator[pa.RecordBatch]:
        for start in range(0, num_items, WRITTEN):
            ranks = range(start, min(start + WRITTEN, num_items))
            rows = [finding(rank, suspicion=1 - rank / num_items) for rank in ranks]
            yield from pa.Table.from_pylist(rows, schemas.FINDINGS).to_batches()

    def reader() -> pa.RecordBatchReader:
        return pa.RecordBatchReader.from_batches(schemas.FINDINGS, batches())

    uri = str(folder / "findings")
    delta.append_once(uri, reader, app_id="run")
    return uri


def _import(service: LeaseService, findings_uri: str) -> None:
    state = service.CreateCampaign(create_request(findings_uri), ADMIN).campaign.state
    while state == campaigns_pb2.CAMPAIGN_STATE_IMPORTING:
        state = service.GetCampaign(rpc.GetCampaignRequest(name=CAMPAIGN), ADMIN).campaign.state


def _calls(service: LeaseService, batch: int, number: int) -> tuple[list[float], list[float]]:
    lease_s, submit_s = [], []
    for place in range(WARM_UP + number):
        caller = Caller(f"labeler-{place % NUM_LABELERS}")
        began = time.perf_counter()
        leases = _lease(service, caller, batch)
        leased = time.perf_counter()
        request = _answers(leases)
        sent = time.perf_counter()
        service.SubmitResults(request, caller)
        done = time.perf_counter()
        if place >= WARM_UP:
            lease_s.append(leased - began)
            submit_s.append(done - sent)
    return lease_s, submit_s


def _label_all(service: LeaseService) -> None:
    caller = Caller("labeler-0")
    while leases := _lease(service, caller, LARGE_BATCH):
        service.SubmitResults(_answers(leases), caller)


def _lease(service: LeaseService, caller: Caller, batch: int) -> list[leases_pb2.Lease]:
    request = rpc.LeaseItemsRequest(parent=CAMPAIGN, max_items=batch, request_id=request_id())
    return list(service.LeaseItems(request, caller).leases)


def _answers(leases: list[leases_pb2.Lease]) -> rpc.SubmitResultsRequest:
    return rpc.SubmitResultsRequest(
        parent=CAMPAIGN,
        request_id=request_id(),
        results=[
            leases_pb2.Result(token=one.token, decision=leases_pb2.DECISION_ACCEPT)
            for one in leases
        ],
    )


def _stats(service: LeaseService) -> None:
    service.GetCampaignStats(rpc.GetCampaignStatsRequest(name=CAMPAIGN), ADMIN)


def _finalize(service: LeaseService, results_uri: str) -> None:
    request = rpc.FinalizeCampaignRequest(
        name=CAMPAIGN, results_uri=results_uri, request_id=request_id()
    )
    service.FinalizeCampaign(request, ADMIN)


def _percentiles(times_s: list[float]) -> tuple[float, float]:
    p50, p99 = np.percentile(np.array(times_s) * 1000, [50, 99])
    return round(float(p50), 2), round(float(p99), 2)


def _peak_bytes() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    [peak] = [line for line in lines if line.startswith("VmHWM")]
    return int(peak.split()[1]) * 1024


if __name__ == "__main__":
    typer.run(main)
