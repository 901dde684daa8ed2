"""A service that cannot start says why, in one sentence, to whoever started it."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
from deltalake import write_deltalake

from tests.support.ports import free_port
from tests.tasks.test_text_classification import planted

ROOT = Path(__file__).parents[2]


def run(*command: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, env=environment, capture_output=True, text=True
    )


def serve(queue: str, port: int) -> str:
    """The last line that `relabel serve` wrote when it did not start."""
    ports = ("--port", str(port), "--http-port", str(free_port()))
    done = run("relabel_service.cli.main", "serve", "--queue", queue, *ports)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return " ".join(done.stderr[done.stderr.index("relabel: ") :].split())


def test_serve_says_why_its_queue_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    told = serve(f"sqlite:///{tmp_path}/file/queue.db", free_port())
    assert told == (
        f"relabel: the service did not start: the queue's folder '{tmp_path}/file' cannot be "
        "written (File exists); make it writable, or name another"
    )


def test_serve_says_that_its_port_is_taken(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        told = serve(f"sqlite:///{tmp_path}/queue.db", port)
    assert told.startswith("relabel: the service did not start: ")
    assert f":{port}" in told


def test_the_loop_takes_a_delta_table_and_makes_its_folder(tmp_path: Path) -> None:
    rows = planted(60, noise=0.2)
    table = {"id": rows.ids, "text": rows.contents, "label": rows.labels, "gold": rows.gold}
    write_deltalake(str(tmp_path / "data"), pa.table(table))
    out = tmp_path / "runs" / "new"
    done = run(
        *("jobs.loop", "--dataset", str(tmp_path / "data"), "--out", str(out)),
        *("--id-column", "id", "--gold-column", "gold", "--rounds", "1", "--top", "10"),
        *("--folds", "2", "--port", str(free_port()), "--http-port", str(free_port())),
    )
    assert done.returncode == 0, done.stderr
    assert (out / "report.json").exists()
