"""A queue's store in a process of its own, which a test may put on another host.

    python -m tests.support.remote_store postgresql+psycopg://relabel@10.77.2.2:5432/postgres

Reads one command a line, `NUMBER read|write|hold|sleep|ping|health`, runs each on a thread of its
own, and says when it ended: `NUMBER ok`, `NUMBER Unavailable: …`. With --quick, time limits of
seconds stand in the place of the service's own.
"""

import asyncio
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import Future
from threading import Event, Lock, Thread

from sqlalchemy import text

from relabel_service.errors import RelabelError
from relabel_service.queue import store as stores
from relabel_service.server import health
from relabel_service.server.health import Health

QUICK_REACH = {
    "connect_timeout": 2,  # libpq takes no less
    "keepalives_idle": 1,
    "keepalives_interval": 1,
    "keepalives_count": 2,
    "tcp_user_timeout": 2_000,
}
QUICK_TIMEOUTS = {
    "statement_timeout": "3s",
    "lock_timeout": "1s",
    "idle_in_transaction_session_timeout": "3s",
}


class RemoteStore:
    """Starts it with a prefix, and asks it. Ends it when left."""

    def __init__(self, url: str, *, prefix: Sequence[str], quick: bool = True) -> None:
        options = ["--quick"] if quick else []
        self._command = [*prefix, sys.executable, "-m", __name__, url, *options]
        self._asked: dict[int, Future[str]] = {}

    def __enter__(self) -> "RemoteStore":
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._listener = Thread(target=self._listen)
        self._listener.start()
        return self

    def ask(self, what: str) -> Future[str]:
        """ "ok", or the error that it was told."""
        number, answer = len(self._asked), Future[str]()
        self._asked[number] = answer
        assert self._process.stdin is not None
        print(number, what, file=self._process.stdin, flush=True)
        return answer

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._listener.join()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            number, _, answer = line.strip().partition(" ")
            self._asked[int(number)].set_result(answer)
        for asked in self._asked.values():
            if not asked.done():
                asked.set_exception(RuntimeError("the store's process ended"))


def _run(store: stores.Store, what: str, says: Event) -> None:
    if what == "ping":
        store.ping()
    elif what == "health":
        asyncio.run(Health(store.ping).check())
    elif what == "read":
        with store.read_transaction():
            pass
    elif what == "write":
        with store.write_transaction(caller="ann"):
            pass
    elif what == "hold":
        with store.write_transaction(caller="ann"):
            says.set()
            Event().wait()
    elif what == "sleep":
        with store.write_transaction(caller="bob") as (connection, _):
            connection.execute(text("SELECT pg_sleep(3600)"))
    else:
        raise ValueError(what)


def main(url: str, *, quick: bool) -> None:
    if quick:
        stores.REACH.update(QUICK_REACH)
        stores.TIMEOUTS.update(QUICK_TIMEOUTS)
        health.CHECK_WITHIN_S = 1.0
    store = stores.open_store(url)
    lock = Lock()

    def tell(number: str, answer: str) -> None:
        with lock:
            print(number, answer, flush=True)

    def run(number: str, what: str) -> None:
        held = Event()
        if what == "hold":
            Thread(target=_run, args=(store, what, held), daemon=True).start()
            held.wait()
            tell(number, "ok")
            return
        try:
            _run(store, what, held)
        except RelabelError as error:
            tell(number, f"{type(error).__name__}: {error}")
        else:
            tell(number, "ok")

    for line in sys.stdin:
        Thread(target=run, args=line.split(), daemon=True).start()


if __name__ == "__main__":
    main(sys.argv[1], quick="--quick" in sys.argv)
