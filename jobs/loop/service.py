"""The loop's own service, which starts while a version is being trained whose round has no answers.

Beside the local engine it is a `relabel serve` in a process of its own: Ray in this one would
hold up the training. On Ray it runs on the cluster that is connected already.
"""

import _thread
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

from relabel_service.client import Client
from relabel_service.errors import Unavailable
from relabel_service.server.settings import STARTED


@dataclass(frozen=True)
class Service:
    """start: begins to start it; again, does nothing. connect: returns the client once the
    service answers. stop: begins to stop it."""

    start: Callable[[], None]
    connect: Callable[[], Client]
    stop: Callable[[], None]


@contextmanager
def serving(address: str, *, queue_url: str, http_port: int, on_ray: bool) -> Iterator[Service]:
    """A service that starts in the background when it is asked to; it has ended when this is left.

    on_ray: on the cluster that this process is connected to. A service that does not start ends
    whatever runs within at once, with its reason: Unavailable.
    """
    client = Client(address, labeler="loop")
    own = _OnRay if on_ray else _OwnProcess
    with client, own(address, queue_url, http_port) as process, _Awaited(process) as awaited:

        def connect() -> Client:
            awaited.wait()
            return client

        def stop() -> None:
            client.close()
            process.stop()

        yield Service(awaited.start, connect, stop)


class _Awaited:
    """A service that starts on a thread. If it fails, so does what runs within."""

    def __init__(self, service: "_OnRay | _OwnProcess") -> None:
        self._service = service
        self._thread = ThreadPoolExecutor(1, "service")
        self._lock, self._interrupts = threading.Lock(), True
        self._started: Future[None] | None = None

    def __enter__(self) -> "_Awaited":
        return self

    def start(self) -> None:
        if self._started is None:
            self._service.launch()
            self._started = self._thread.submit(self._service.wait_until_serving)
            self._started.add_done_callback(self._interrupt)

    def wait(self) -> None:
        """Return when it serves; raises what made it fail."""
        self.start()
        with self._lock:
            self._interrupts = False
        assert self._started is not None
        self._started.result()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._lock:
            self._interrupts = False
        started = self._started
        failed = kind is KeyboardInterrupt and started is not None and started.done()
        self._service.stop()
        self._thread.shutdown()
        if started is not None and failed:
            started.result()

    def _interrupt(self, started: Future[None]) -> None:
        with self._lock:
            if self._interrupts and started.exception() is not None:
                _thread.interrupt_main()


class _OnRay:
    """On the cluster that is connected; it ends with the connection."""

    def __init__(self, address: str, queue_url: str, http_port: int) -> None:
        self._address, self._queue_url, self._http_port = address, queue_url, http_port

    def __enter__(self) -> "_OnRay":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def launch(self) -> None:
        pass

    def wait_until_serving(self) -> None:
        from relabel_service.server import app  # Ray

        host, _, port = self._address.rpartition(":")
        app.start(queue_url=self._queue_url, host=host, port=int(port), http_port=self._http_port)
        app.wait_until_routed(self._address)

    def stop(self) -> None:
        pass


class _OwnProcess:
    """`relabel serve`, which ends when its input does: also when this process is killed."""

    def __init__(self, address: str, queue_url: str, http_port: int) -> None:
        self._command = [
            *(sys.executable, "-m", "relabel_service.cli.main", "serve", "--until-input-ends"),
            *("--queue", queue_url, "--port", address.rpartition(":")[2]),
            *("--http-port", str(http_port)),
        ]
        self._process: subprocess.Popen[bytes] | None = None
        self._has_served = self._has_died = False

    def __enter__(self) -> "_OwnProcess":
        self._errors = tempfile.TemporaryFile()
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        """Raises Unavailable, with the reason, where a call failed because the process ended."""
        self.stop()
        with self._errors, self._process or nullcontext():  # waits
            if self._has_died and isinstance(error, Unavailable):
                _, has_said, reason = self._written().rpartition("relabel: ")
                raise Unavailable(
                    f"the loop's service ended: {reason if has_said else 'it was killed'}. Repeat "
                    "the command: it goes on where it was"
                ) from error

    def launch(self) -> None:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors
        )

    def wait_until_serving(self) -> None:
        """Return when it says so. Raises Unavailable when it ends instead."""
        assert self._process is not None
        assert self._process.stdout is not None
        if any(line.startswith(STARTED.encode()) for line in self._process.stdout):
            self._has_served = True
            return
        self._process.wait()
        said = self._written().rpartition("relabel: ")[2]
        raise Unavailable(said or "the service ended before it served")

    def stop(self) -> None:
        if self._process is not None:
            assert self._process.stdin is not None
            if not self._process.stdin.closed:
                self._has_died = self._has_served and self._process.poll() is not None
            self._process.stdin.close()

    def _written(self) -> str:
        """What it wrote on standard error, in one line."""
        self._errors.seek(0)
        return " ".join(self._errors.read().decode(errors="replace").split())
