"""A service that cannot start says why, in one sentence, to whoever started it."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pyarrow as pa
import pytest
from deltalake import write_deltalake

from cluster.engine.base import Engine
from jobs.loop.service import Service, serving
from relabel_service.errors import Unavailable
from tests.support.ports import free_port
from tests.tasks.test_text_classification import planted

ROOT = Path(__file__).parents[2]


def run(*command: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, env=environment, capture_output=True, text=True
    )


@contextmanager
def taken_port() -> Iterator[int]:
    """Something listens on it."""
    with socket.create_server(("", 0)) as taken:
        yield taken.getsockname()[1]


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
    with taken_port() as port:
        told = serve(f"sqlite:///{tmp_path}/queue.db", port)
    assert told.startswith(f"relabel: the service did not start: port {port} cannot be listened on")
    assert told.endswith("; stop what listens there, or name another port")


def test_it_ends_as_well_while_its_input_has_not_ended(tmp_path: Path) -> None:
    command = ("relabel_service.cli.main", "serve", "--until-input-ends", "--queue")
    with taken_port() as port, subprocess.Popen(
        [sys.executable, "-m", *command, f"sqlite:///{tmp_path}/q.db", "--port", str(port)],
        cwd=ROOT, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        told = process.stderr.read()
        assert process.wait() == 1
    assert told.rstrip().endswith("or name another port")


def test_on_a_cluster_it_is_the_reason_that_serve_gives(
    ray_cluster: Engine, tmp_path: Path
) -> None:
    """There the node that would tell at once is another."""
    from ray import serve as serving

    from relabel_service.server.app import start

    def refused(queue: Path, port: int) -> str:
        try:
            with pytest.raises(Unavailable, match="the service did not start: ") as raised:
                start(
                    queue_url=f"sqlite:///{queue}", host="127.0.0.1", port=port,
                    http_port=free_port(),
                )  # fmt: skip
        finally:
            serving.shutdown()  # type: ignore[no-untyped-call]
        return str(raised.value)

    with taken_port() as port:
        assert f":{port}" in refused(tmp_path / "queue.db", port)
    (tmp_path / "file").touch()
    told = refused(tmp_path / "file" / "queue.db", free_port())
    assert told == (
        f"the service did not start: the queue's folder '{tmp_path}/file' cannot be written "
        "(File exists); make it writable, or name another"
    )


def test_the_loop_takes_a_delta_table_and_makes_its_folder(tmp_path: Path) -> None:
    done = loop(tmp_path, free_port())
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / "new" / "report.json").exists()


def test_the_loop_ends_with_the_reason_when_its_service_does_not_start(tmp_path: Path) -> None:
    with taken_port() as port:
        done = loop(tmp_path, port)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert f"error: the service did not start: port {port} cannot be listened" in done.stderr
    assert done.stderr.rstrip().endswith("stop what listens there, or name another port")


def test_a_service_whose_node_dies_ends_and_the_loop_says_why(tmp_path: Path) -> None:
    port = free_port()

    def lose_the_node(service: Service) -> None:
        service.connect()
        children = psutil.Process().children()
        (own,) = (process for process in children if str(port) in process.cmdline())
        (raylet,) = (each for each in own.children() if each.name() == "raylet")
        raylet.kill()
        assert own.wait() == 1
        socket.create_server(("", port)).close()  # nothing of it is left
        raise Unavailable("as the next call does")

    with (
        pytest.raises(Unavailable, match=r"Ray's raylet ended.* Repeat the command"),
        serving(
            f"127.0.0.1:{port}",
            queue_url=f"sqlite:///{tmp_path}/queue.db",
            http_port=free_port(),
            on_ray=False,
        ) as service,
    ):
        lose_the_node(service)
