"""The fault tests at full size: promises kept over a million submissions, and hostile requests.

    python -m bench.soak history --submissions 1000000   # hours; everything goes wrong all along
    python -m bench.soak history --minutes 20            # as many as go into that time
    python -m bench.soak hostile --requests 100000       # through the running service
    python -m bench.soak expiry                          # how soon lost items come back
    python -m bench.soak history --submissions 2000      # a small run, to see that it works

Starts its own PostgreSQL and `relabel serve --replicas 2`. Prints one JSON line of figures
and exits 1 when a promise was broken.
"""

import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import grpc
import typer
from deltalake import DeltaTable

from relabel_service.client import Client
from relabel_service.v1 import relabel_service_pb2 as rpc
from relabel_service.wire.metadata import LABELER_KEY
from tests.support.campaigns import write_findings
from tests.support.history import Habits, History, lease_end, run_labelers
from tests.support.hostile import METHODS, hostile_bytes
from tests.support.link import Link
from tests.support.nemesis import Nemesis
from tests.support.postgres import PostgresServer
from tests.support.servers import ServerProcess
from tests.support.small_disk import SmallDisk

app = typer.Typer(no_args_is_help=True, add_completion=False)

VOTES = 2
CALM_S = 5.0  # between two harms
DISK_BYTES, SUBMISSION_BYTES = 512 << 20, 2500  # of the disk that is filled
SERVICE = rpc.DESCRIPTOR.services_by_name["RelabelService"].full_name
LOST_S = 2.0  # how long the leases last that nobody answers
BACK_WITHIN_S = 1.0
ENDING = ("CloseCampaign", "FinalizeCampaign")
STREAM_S = 0.2  # how long a stream that was accepted is listened to


@app.command()
def history(
    submissions: Annotated[int, typer.Option(help="results to be accepted")] = 1_000_000,
    labelers: Annotated[int, typer.Option(help="concurrent clients")] = 16,
    batch: Annotated[int, typer.Option(help="items a lease")] = 50,
    minutes: Annotated[float, typer.Option(help="end early after these; 0: never")] = 0.0,
    seed: int = 0,
) -> None:
    """Label a whole campaign while everything goes wrong, and check what came of it. As root: the
    disk that is filled is mounted."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-")))
        disk = stack.enter_context(SmallDisk(DISK_BYTES + submissions * SUBMISSION_BYTES))
        database = PostgresServer()
        stack.callback(database.close)
        link = stack.enter_context(Link(database.port))
        database.create_database_in(disk.folder, "queue")
        server = stack.enter_context(_server(folder, database.url("queue", port=link.port)))
        admin = stack.enter_context(Client(server.address, labeler="admin", deadline_s=60))
        figures = _history(
            folder, Nemesis(server, database, random.Random(seed), link, disk), admin,
            num_items=submissions // VOTES, num_labelers=labelers, batch=batch, minutes=minutes,
        )  # fmt: skip
    print(json.dumps(figures))
    sys.exit(1 if figures["faults"] else 0)


def _history(
    folder: Path,
    nemesis: Nemesis,
    admin: Client,
    *,
    num_items: int,
    num_labelers: int,
    batch: int,
    minutes: float,
) -> dict[str, Any]:
    campaign = admin.create_campaign(
        "soak", findings_uri=write_findings(folder, num_items), run_id="run",
        votes_required=VOTES, max_votes=VOTES,
    ).name  # fmt: skip
    seen, over, harms = History(), threading.Event(), Counter[str]()
    started = time.monotonic()
    threads = run_labelers(
        nemesis.server.address, campaign, seen, num=num_labelers,
        habits=Habits(batch=batch, lease_s=5.0, abandons=0.02, releases=0.02), is_over=over.is_set,
    )  # fmt: skip
    ends = started + 60 * minutes if minutes else float("inf")
    to_do: list[Callable[[], None]] = []  # each harm once, then each again in another order
    while len(seen.accepted) < 0.9 * VOTES * num_items:  # the rest is done in calm
        time.sleep(CALM_S)
        if time.monotonic() > ends:
            admin.close_campaign(campaign)
            break
        to_do = to_do or nemesis.chance.sample(nemesis.harms(), len(nemesis.harms()))
        harm = to_do.pop()
        harm()
        harms[harm.__name__] += 1
    over.set()
    for thread in threads:
        thread.join()
    labelled_s = time.monotonic() - started
    admin.finalize(campaign, results_uri=str(folder / "results"))
    results = DeltaTable(folder / "results").to_pyarrow_table().to_pylist()
    faults = seen.faults(results, votes_required=VOTES)
    return {
        "results": len(results),
        "accepted": len(seen.accepted),
        "unknown": len(seen.unknown),
        "failed_calls": seen.num_failures,
        "harms": dict(harms),
        "results_per_s": round(len(results) / labelled_s, 1),
        "faults": faults[:20],
    }


@app.command()
def hostile(
    requests: Annotated[int, typer.Option(help="how many to send")] = 100_000,
    clients: Annotated[int, typer.Option(help="concurrent clients")] = 8,
    seed: int = 0,
) -> None:
    """Send malformed and hostile requests through Serve; INTERNAL or UNKNOWN is a fault."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-")))
        server = stack.enter_context(ServerProcess(folder))
        with Client(server.address, labeler="admin") as admin:
            admin.create_campaign("test", findings_uri=write_findings(folder, 50), run_id="run")
        pool = stack.enter_context(ThreadPoolExecutor(clients))
        share = [requests // clients] * clients
        codes: Counter[str] = Counter()
        for found in pool.map(lambda one: _send(server.address, *one), enumerate(share, seed)):
            codes += found
    bad = sum(codes[name] for name in ("INTERNAL", "UNKNOWN"))
    print(json.dumps({"requests": codes.total(), "codes": dict(codes), "faults": bad}))
    sys.exit(1 if bad else 0)


@app.command()
def expiry(
    rounds: Annotated[int, typer.Option(help="times that items are lost")] = 20,
    batch: Annotated[int, typer.Option(help="items that are lost at once")] = 10,
) -> None:
    """How long after its lease's end a waiting labeler has an abandoned item; over 1 s is a fault.

    One labeler takes all there is and never answers, and another waits for it (long poll), in
    turns. The lateness is by this machine's clock, which the database shares.
    """
    late_s: list[float] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-")))
        database = PostgresServer()
        stack.callback(database.close)
        server = stack.enter_context(_server(folder, database.create_database("queue")))
        people = [stack.enter_context(Client(server.address, labeler=name)) for name in "ab"]
        campaign = people[0].create_campaign(
            "expiry", findings_uri=write_findings(folder, batch), run_id="run"
        ).name  # fmt: skip
        held: list[Any] = []
        for number in range(rounds + 1):
            ends = {lease.item.rank: lease_end(lease) for lease in held}
            held = []
            while len(held) < batch:
                found = people[number % 2].lease(
                    campaign, max_items=batch, duration_s=LOST_S, wait_s=30.0
                )
                now = time.time()
                late_s += [now - ends[one.item.rank] for one in found if ends]
                held += found
    late_s.sort()
    figures = {
        "lost_items": len(late_s),
        "back_after_s": {
            "p50": round(late_s[len(late_s) // 2], 3),
            "p99": round(late_s[int(0.99 * len(late_s))], 3),
            "max": round(late_s[-1], 3),
        },
        "before_the_end": sum(one < 0 for one in late_s),
    }
    print(json.dumps(figures))
    sys.exit(1 if late_s[-1] > BACK_WITHIN_S or late_s[0] < 0 else 0)


def _send(address: str, seed: int, num: int) -> Counter[str]:
    chance = random.Random(seed)
    codes: Counter[str] = Counter()
    with grpc.insecure_channel(address) as channel:
        for number in range(num):
            method = chance.choice(METHODS)
            while method.name in ENDING and chance.random() < 0.99:
                method = chance.choice(METHODS)  # else the campaign would soon answer nothing else
            path, message = f"/{SERVICE}/{method.name}", hostile_bytes(chance, method)
            who = ((LABELER_KEY, f"mallory-{seed}-{number // 300}"),)  # below the rate limit
            try:
                if method.server_streaming:
                    list(_call(channel.unary_stream, path)(message, metadata=who, timeout=STREAM_S))
                else:
                    _call(channel.unary_unary, path)(message, metadata=who, timeout=90)
                codes["OK"] += 1
            except grpc.RpcError as error:
                codes[error.code().name] += 1
    return codes


def _call(kind: Any, path: str) -> Any:
    return kind(path, lambda one: one, lambda one: one)


def _server(folder: Path, queue_url: str) -> ServerProcess:
    return ServerProcess(folder, queue_url=queue_url, options=("--replicas", "2"))


if __name__ == "__main__":
    app()
