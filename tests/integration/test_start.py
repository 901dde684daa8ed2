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


def loop(folder: Path, port: int) -> subprocess.CompletedProcess[str]:
    """A round of a small Delta table."""
    rows = planted(60, noise=0.2)
    table = {"id": rows.ids, "text": rows.contents, "label": rows.labels, "gold": rows.gold}
    write_deltalake(str(folder / "data"), pa.table(table))
    return run(
        *("jobs.loop", "--dataset", str(folder / "data"), "--out", str(folder / "runs" / "new")),
        *("--id-column", "id", "--gold-column", "gold", "--rounds", "1", "--top", "10"),
        *("--folds", "2", "--port", str(port), "--http-port", str(free_port())),
    )


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
    done = loop(tmp_path, free_port())
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / "new" / "report.json").exists()


def test_the_loop_ends_with_the_reason_when_its_service_does_not_start(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = loop(tmp_path, port)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "error: the service did not start: " in done.stderr
    assert f":{port}" in done.stderr
