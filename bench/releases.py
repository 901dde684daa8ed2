"""This checkout's queue against an earlier release's: both served at once, measured by turns.

    python -m bench.queue --against 588a8ae     # about 6 minutes; both databases, 64 clients

Each side has a Ray node, a HAProxy, a database and a campaign of its own; the clients are this
checkout's. Turns alternate, so that what else the machine does meets both sides alike, and the
ratio is formed within each turn. The release's code is checked out by git into a temporary folder.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from relabel_service.client import Client
from tests.support.campaigns import write_findings
from tests.support.haproxy import own_places
from tests.support.postgres import PostgresServer
from tests.support.servers import ServerProcess

ROOT = Path(__file__).parents[1]
THROUGHPUT = {"RAY_SERVE_ENABLE_HA_PROXY": "1", "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"}
ITEMS_PER_S = {"before": 16_000, "now": 32_000}  # more than either hands out

Measured = tuple[float, int]  # items/s, and how many in all, warming up included


@dataclass(frozen=True)
class Side:
    """A service, and its database."""

    server: ServerProcess
    database: PostgresServer | None

    def cpu_s(self) -> float:
        """Of the replica and the database so far; processes that have ended are not counted."""
        processes = self.server.processes("ServeReplica")
        if self.database:
            processes += self.database.processes()
        return sum(map(_cpu_s, processes))


def compare(
    commit: str,
    queue: str,
    measure: Callable[[str], Measured],
    *,
    turns: int,
    seconds: float,
    items: int | None = None,
) -> dict[str, object]:
    """Figures of one kind of database.

    measure: the service at an address, for so many seconds. items: of each side's campaign.
    cpu_ms: of replica and database, for 1,000 items; it depends less on what else runs.
    """
    rates: dict[str, list[float]] = {"before": [], "now": []}
    cpu_ms: dict[str, list[float]] = {"before": [], "now": []}
    with ExitStack() as stack:
        code = {"before": stack.enter_context(checked_out(commit)), "now": ROOT}
        sides = {
            side: stack.enter_context(
                _served(code[side], queue, items or int(ITEMS_PER_S[side] * seconds * turns))
            )
            for side in rates
        }
        for turn in range(turns):
            for name in sorted(rates, reverse=bool(turn % 2)):  # who is first changes, too
                began = sides[name].cpu_s()
                rate, num_items = measure(sides[name].server.address)
                rates[name].append(rate)
                cpu_ms[name].append(1e6 * (sides[name].cpu_s() - began) / num_items)
                print(f"{queue}, {name}: {rate:.0f} items/s", file=sys.stderr, flush=True)
    return {
        "queue": queue,
        "before": [round(rate) for rate in rates["before"]],
        "now": [round(rate) for rate in rates["now"]],
        "ratio": _ratios(rates["now"], rates["before"]),
        "cpu_ms": {name: [round(each, 1) for each in cpu_ms[name]] for name in cpu_ms},
        "cpu_ratio": _ratios(cpu_ms["before"], cpu_ms["now"]),
        "load_average": round(os.getloadavg()[0], 1),
    }


def _ratios(above: Sequence[float], below: Sequence[float]) -> dict[str, float]:
    """Of the turns: the median, the least and the most."""
    ratios = [a / b for a, b in zip(above, below, strict=True)]
    figures = {"median": statistics.median(ratios), "least": min(ratios), "most": max(ratios)}
    return {name: round(ratio, 2) for name, ratio in figures.items()}


def _cpu_s(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


@contextmanager
def checked_out(commit: str) -> Iterator[Path]:
    """A folder with the code of a commit of this repository."""
    with tempfile.TemporaryDirectory(prefix="release-") as folder:
        git = ["git", "-C", str(ROOT)]
        archive = subprocess.run([*git, "archive", commit], check=True, stdout=subprocess.PIPE)
        subprocess.run(["tar", "-x", "-C", folder], check=True, input=archive.stdout)
        yield Path(folder)


@contextmanager
def _served(code: Path, queue: str, num_items: int) -> Iterator[Side]:
    """A service of that code, with a campaign of so many items."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="queue-bench-")))
        queue_url = database = None
        if queue == "postgresql":
            database = PostgresServer()
            stack.callback(database.close)
            queue_url = database.create_database("queue")
        environment = os.environ | THROUGHPUT | own_places(folder) | {"PYTHONPATH": str(code)}
        server = ServerProcess(
            folder,
            queue_url=queue_url,
            options=("--open",),
            environment=environment,
            program=_program(code),
            working_folder=code,
        )
        stack.enter_context(server)
        with Client(server.address, labeler="admin", deadline_s=600) as admin:
            findings = write_findings(folder, num_items)
            admin.create_campaign("bench", findings_uri=findings, run_id="run")
        yield Side(server, database)


def _program(code: Path) -> list[str]:
    """What `relabel` runs in that code."""
    scripts = tomllib.loads((code / "pyproject.toml").read_text())["project"]["scripts"]
    module, _, function = scripts["relabel"].partition(":")
    return [sys.executable, "-P", "-c", f"import {module} as cli; cli.{function}()"]
