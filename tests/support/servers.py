"""A real `relabel serve` in a process of its own, which a test may kill."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from relabel_service.server.settings import STARTED
from tests.support.ports import free_port

PROGRAM = (sys.executable, "-m", "relabel_service.cli.main")


class ServerProcess:
    """`relabel serve` and the Ray node it starts. Restarted, it keeps its ports and its queue."""

    def __init__(
        self,
        folder: Path,
        *,
        queue_url: str | None = None,
        options: tuple[str, ...] = (),
        environment: Mapping[str, str] = os.environ,
        program: Sequence[str] = PROGRAM,
        working_folder: Path | None = None,
    ) -> None:
        """`folder` keeps the log, and the queue where `queue_url` names no other. program,
        working_folder: of another release."""
        queue_url = queue_url or f"sqlite:///{folder / 'queue.db'}"
        self.port, self.http_port = free_port(), free_port()
        self.address = f"127.0.0.1:{self.port}"
        self._command = [
            *program, "serve", "--queue", queue_url, "--port", str(self.port),
            "--http-port", str(self.http_port), *options,
        ]  # fmt: skip
        self._environment = {
            name: value for name, value in environment.items() if name != "RAY_ADDRESS"
        } | {"RAY_USAGE_STATS_ENABLED": "0"}
        self._working_folder = working_folder
        self.folder = folder
        self._log = folder / "serve.log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "ServerProcess":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self.kill()

    def start(self) -> None:
        """Return when it says that it serves; raises RuntimeError with its log when it ends."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                cwd=self._working_folder,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        assert self._process.stdout is not None
        with self._process.stdout as output:
            if any(line.startswith(STARTED.encode()) for line in output):
                return
        self.kill()
        raise RuntimeError(f"relabel serve ended: {self._log.read_text()}")

    def processes(self, name: str = "") -> list[psutil.Process]:
        """The server's processes whose title has `name`, e.g. "ServeReplica"."""
        assert self._process is not None
        root = psutil.Process(self._process.pid)
        return [one for one in [root, *root.children(recursive=True)] if name in _title(one)]

    def kill(self) -> None:
        """SIGKILL the driver, Ray's processes, the proxy and the replicas: as when power goes."""
        assert self._process is not None
        _end(self.processes())
        self._process.wait()
        self._process = None

    def stop(self) -> int:
        """SIGTERM; its exit code."""
        assert self._process is not None
        self._process.terminate()
        code, self._process = self._process.wait(), None
        return code


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def _end(processes: list[psutil.Process]) -> None:
    for process in processes:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(processes)
