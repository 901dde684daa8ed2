"""A queue's store in a process of its own, which a test may put on another host.

    python -m tests.support.remote_store postgresql+psycopg://relabel@10.77.2.2:5432/postgres

Commands (remote.py): read, write, hold, sleep, ping, health. With --quick, time limits of seconds
stand in the place of the service's own.
"""

import asyncio
import sys
from collections.abc import Sequence
from threading import Event, Thread

from sqlalchemy import text

from relabel_service.queue import store as stores
from relabel_service.server import health
from relabel_service.server.health import Health
from tests.support.remote import Remote, answer_commands

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


class RemoteStore(Remote):
    """url: of the queue. prefix: of the command, which says where it runs."""

    def __init__(self, url: str, *, prefix: Sequence[str], quick: bool = True) -> None:
        options = ["--quick"] if quick else []
        super().__init__([*prefix, sys.executable, "-m", __name__, url, *options])


def _run(store: stores.Store, what: str) -> None:
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
        held = Event()
        Thread(target=_hold, args=(store, held), daemon=True).start()
        held.wait()
    elif what == "sleep":
        with store.write_transaction(caller="bob") as (connection, _):
            connection.execute(text("SELECT pg_sleep(3600)"))
    else:
        raise ValueError(what)


def _hold(store: stores.Store, held: Event) -> None:
    with store.write_transaction(caller="ann"):
        held.set()
        Event().wait()


def main(url: str, *, quick: bool) -> None:
    if quick:
        stores.REACH.update(QUICK_REACH)
        stores.TIMEOUTS.update(QUICK_TIMEOUTS)
        health.CHECK_WITHIN_S = 1.0
    store = stores.open_store(url)

    def run(what: list[str]) -> str:
        _run(store, *what)
        return "ok"

    answer_commands(run)


if __name__ == "__main__":
    main(sys.argv[1], quick="--quick" in sys.argv)
