"""How much others slow a lease down by waiting: with idle streams, and with labelers who wait.

    python -m bench.flood                        # 3,000 idle streams, 1,000 waiting; SQLite
    python -m bench.flood --queue postgresql     # on a PostgreSQL of its own
    python -m bench.flood --streams 300 --waiting 100 --rounds 2

One measured labeler leases a batch and submits it, again and again. Each round measures alone,
then with idle streams (WatchCampaign of one campaign and StreamLeases of another that has nothing
left), then with adjudicators who wait (LeaseItems with wait) in the measured campaign, where none
is in dispute: each change there might be theirs. The ratios are of p99 within one run; the machine
does both sides' work, and another labeler works beside the measured one.
"""

import asyncio
import json
import os
import statistics
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import grpc
import numpy as np
import typer

from bench.queue import Queue
from relabel_service.client import Client
from relabel_service.v1 import leases_pb2, relabel_service_pb2_grpc
from relabel_service.v1 import relabel_service_pb2 as rpc
from relabel_service.wire.metadata import APPLICATION, APPLICATION_KEY, LABELER_KEY
from tests.support.campaigns import write_findings
from tests.support.postgres import PostgresServer
from tests.support.servers import ServerProcess

MEASURED, EMPTY = "campaigns/measured", "campaigns/empty"
EACH = 50  # streams of one caller
WAIT_S = 60
SETTLE_S = 3.0
BATCH = 50
ALONE, IDLE, WAITING = "alone", "idle streams", "waiting labelers"


def main(
    streams: Annotated[int, typer.Option(help="idle ones")] = 3000,
    waiting: Annotated[int, typer.Option(help="labelers who wait")] = 1000,
    rounds: Annotated[int, typer.Option(help="of the three measurements")] = 3,
    seconds: Annotated[float, typer.Option(help="of each measurement")] = 10.0,
    batch: Annotated[int, typer.Option(help="items a lease")] = BATCH,
    items: Annotated[int, typer.Option(help="of the measured campaign")] = 300_000,
    queue: Annotated[Queue, typer.Option(help="kind of database")] = Queue.SQLITE,
) -> None:
    """Measure, and print one JSON line."""
    with _server(queue, items) as address:
        times_ms = asyncio.run(_rounds(address, streams, waiting, rounds, seconds, batch))
    p99 = {
        name: [round(float(np.percentile(each, 99)), 1) for each in times_ms[name]]
        for name in times_ms
    }
    middle = {name: statistics.median(values) for name, values in p99.items()}
    figures = {
        "queue": queue.value,
        "lease_p99_ms": p99,
        "lease_p50_ms": {
            name: round(float(np.percentile(np.concatenate(each), 50)), 1)
            for name, each in times_ms.items()
        },
        "ratios_of_p99": {name: round(middle[name] / middle[ALONE], 2) for name in (IDLE, WAITING)},
        "num_leases": {name: sum(map(len, each)) for name, each in times_ms.items()},
        "load_average": round(os.getloadavg()[0], 1),
    }  # fmt: skip
    print(json.dumps(figures))


@contextmanager
def _server(queue: Queue, items: int) -> Iterator[str]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="flood-")))
        queue_url = None
        if queue is Queue.POSTGRESQL:
            database = PostgresServer()
            stack.callback(database.close)
            queue_url = database.create_database("queue")
        server = stack.enter_context(ServerProcess(folder, queue_url=queue_url))
        with Client(server.address, labeler="admin") as admin:
            for name, num in ((MEASURED, items), (EMPTY, 2)):
                (folder / str(num)).mkdir()
                uri = write_findings(folder / str(num), num)
                admin.create_campaign(name, findings_uri=uri, run_id="run")
            # Somebody has its items leased for a day: nothing is left for those who wait.
            assert len(admin.lease(EMPTY, max_items=2, duration_s=24 * 3600.0)) == 2
        yield server.address


async def _rounds(
    address: str, streams: int, waiting: int, rounds: int, seconds: float, batch: int
) -> dict[str, list[list[float]]]:
    times_ms: dict[str, list[list[float]]] = {ALONE: [], IDLE: [], WAITING: []}
    for _ in range(rounds):
        times_ms[ALONE].append(await _measure(address, seconds, batch))
        async with _open(address, streams, stream=True):
            times_ms[IDLE].append(await _measure(address, seconds, batch))
        async with _open(address, waiting, stream=False):
            times_ms[WAITING].append(await _measure(address, seconds, batch))
    return times_ms


async def _measure(address: str, seconds: float, batch: int) -> list[float]:
    """Milliseconds of each lease of one labeler, while another one works beside it."""
    ends = time.monotonic() + seconds
    measured, _ = await asyncio.gather(
        _label(address, "ann", ends, batch), _label(address, "bob", ends, batch)
    )
    return measured


async def _label(address: str, name: str, ends: float, batch: int) -> list[float]:
    times_ms = []
    async with _channel(address) as stub:
        while (began := time.monotonic()) < ends:
            lease = rpc.LeaseItemsRequest(
                parent=MEASURED, max_items=batch, request_id=str(uuid.uuid4())
            )
            leases = (await stub.LeaseItems(lease, metadata=_who(name))).leases
            times_ms.append(1000 * (time.monotonic() - began))
            results = [
                leases_pb2.Result(token=one.token, decision=leases_pb2.DECISION_ACCEPT)
                for one in leases
            ]
            submit = rpc.SubmitResultsRequest(
                parent=MEASURED, results=results, request_id=str(uuid.uuid4())
            )
            await stub.SubmitResults(submit, metadata=_who(name))
    return times_ms


@asynccontextmanager
async def _open(address: str, num: int, *, stream: bool) -> AsyncIterator[None]:
    """So many calls that last and have nothing to do, until the block ends."""
    async with _channel(address) as stub:
        ended: Counter[str] = Counter()
        open_one = _idle if stream else _wait
        calls = [
            asyncio.ensure_future(_kept_open(open_one, stub, number, ended))
            for number in range(num)
        ]
        await asyncio.sleep(num / 200)
        await _label(address, "cyd", time.monotonic() + SETTLE_S, BATCH)  # behind their first tries
        try:
            yield
        finally:
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
            print(f"{num} calls were open; ended and opened again: {dict(ended)}", flush=True)


async def _kept_open(
    open_one: Callable[[Any, int], Awaitable[None]], stub: Any, number: int, ended: Counter[str]
) -> None:
    """Open it again when it ends, as a frontend does."""
    while True:
        try:
            await open_one(stub, number)
            ended["OK"] += 1
        except grpc.aio.AioRpcError as error:
            ended[f"{error.code().name}: {(error.details() or '')[:200]}"] += 1
            await asyncio.sleep(1)


async def _idle(stub: Any, number: int) -> None:
    who = _who(f"stream-{number // EACH}")
    if number % 2:
        call = stub.WatchCampaign(rpc.WatchCampaignRequest(name=EMPTY), metadata=who)
    else:
        request = rpc.StreamLeasesRequest(parent=EMPTY, max_outstanding=1)
        call = stub.StreamLeases(request, metadata=who)
    async for _ in call:
        pass


async def _wait(stub: Any, number: int) -> None:
    request = rpc.LeaseItemsRequest(
        parent=MEASURED,
        adjudicate=True,
        wait={"seconds": WAIT_S},
        request_id=str(uuid.uuid4()),
    )
    await stub.LeaseItems(request, metadata=_who(f"waiting-{number}"))


@asynccontextmanager
async def _channel(address: str) -> AsyncIterator[Any]:
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        yield relabel_service_pb2_grpc.RelabelServiceStub(channel)  # type: ignore[no-untyped-call]


def _who(name: str) -> tuple[tuple[str, str], ...]:
    return ((LABELER_KEY, name), (APPLICATION_KEY, APPLICATION))


if __name__ == "__main__":
    typer.run(main)
