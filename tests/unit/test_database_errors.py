"""A database that is full, silent, read-only, busy or behind a pooler: told as that."""

import asyncio
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Barrier, Event
from typing import Any

import pytest
from sqlalchemy import create_engine, event, text
from sqlalchemy.pool import Pool

from relabel_service import confirm
from relabel_service.errors import Unavailable, WrongState
from relabel_service.queue import store as stores
from relabel_service.queue.store import POOL_SIZE, Store, open_store, open_when_reachable
from relabel_service.server import health
from relabel_service.server.health import Health
from relabel_service.server.service import LeaseService
from tests.support.campaigns import ADMIN, create_request, write_findings
from tests.support.people import ACCEPTED, Person
from tests.support.pgbouncer import PgBouncer
from tests.support.postgres import PostgresServer
from tests.support.stores import TEMPLATE, new_queue_url, postgres_server

ROOT = Path(__file__).parents[2]
PROMISED_CONNECTIONS = 33  # of a replica, as docs/how-to/postgresql.md says


@contextmanager
def on_postgresql(tmp_path: Path) -> Iterator[Store]:
    store = open_store(new_queue_url("postgresql", tmp_path))
    yield store
    store.close()


def add_row(store: Store, name: str) -> None:
    with store.write_transaction(caller=name) as (connection, _):
        connection.execute(
            text("INSERT INTO idempotency_keys VALUES (:name, 'r', '', :bytes, 0, NULL)"),
            {"name": name, "bytes": bytes(100_000)},
        )


def test_a_full_disk_is_told_reads_go_on_and_writes_do_when_there_is_room(tmp_path: Path) -> None:
    pages = {"most": 1_000_000}

    def limit(connection: Any, *_: object) -> None:
        connection.execute(f"PRAGMA max_page_count = {pages['most']}")

    event.listen(Pool, "checkout", limit)
    try:
        store = open_store(f"sqlite:///{tmp_path}/queue.db")
        store.ping()
        pages["most"] = 1  # SQLite: no less than it has
        with pytest.raises(Unavailable, match="is full; make room there"):
            add_row(store, "ann")
        with store.read_transaction() as (connection, _):
            assert connection.execute(text("SELECT count(*) FROM idempotency_keys")).scalar() == 0
        with pytest.raises(Unavailable, match="is full"):
            store.ping()
        pages["most"] = 1_000_000
        store.ping()
        add_row(store, "ann")
        store.close()
    finally:
        event.remove(Pool, "checkout", limit)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_database_that_lost_its_tables_is_told(tmp_path: Path, kind: str) -> None:
    url = new_queue_url(kind, tmp_path)
    store = open_store(url)
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE idempotency_keys"))
    engine.dispose()
    with pytest.raises(WrongState, match="has not the tables it had"):
        add_row(store, "ann")
    store.close()


def test_a_database_that_only_reads_is_told(tmp_path: Path) -> None:
    with on_postgresql(tmp_path) as store:
        with store.read_transaction() as (connection, _):
            name = connection.execute(text("SELECT current_database()")).scalar_one()
        postgres_server().execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
        store.close()  # the next connection sees it
        with pytest.raises(Unavailable, match="only reads, as after a failover"):
            add_row(store, "ann")


def test_nothing_waits_for_a_lock_or_a_connection_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(stores.TIMEOUTS, "lock_timeout", "50ms")
    monkeypatch.setattr(stores, "POOL_WAIT_S", 0.05)
    monkeypatch.setattr(stores, "POOL_SIZE", 2)
    with on_postgresql(tmp_path) as store, store.write_transaction(caller="ann"):
        with pytest.raises(Unavailable, match="another call holds"):
            add_row(store, "ann")
        with (
            store.read_transaction(),
            pytest.raises(Unavailable, match=r"connections .* are in use"),
        ):
            add_row(store, "bob")
        store.ping()  # on a connection of its own


def test_a_replica_opens_as_many_connections_as_the_docs_say(tmp_path: Path) -> None:
    assert f"{PROMISED_CONNECTIONS} connections" in (ROOT / "docs/how-to/postgresql.md").read_text()
    all_in = Barrier(POOL_SIZE + 1)
    with on_postgresql(tmp_path) as store, ThreadPoolExecutor(POOL_SIZE) as threads:
        may_end = Event()

        def read() -> int:
            with store.read_transaction() as (connection, _):
                all_in.wait()
                may_end.wait()
                return int(connection.execute(text(
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                )).scalar_one())  # fmt: skip

        counts = [threads.submit(read) for _ in range(POOL_SIZE)]
        all_in.wait()
        store.ping()
        may_end.set()
        assert max(count.result() for count in counts) == PROMISED_CONNECTIONS


def test_a_partition_is_noticed_and_no_transaction_runs_without_end(tmp_path: Path) -> None:
    with on_postgresql(tmp_path) as store:
        for transaction in (store.read_transaction(), store.write_transaction(caller="ann")):
            with transaction as (connection, _):
                for name, value in stores.TIMEOUTS.items():
                    shown = connection.execute(text(f"SHOW {name}")).scalar_one()
                    assert shown == {"60s": "1min"}.get(value, value)
                driver: Any = connection.connection.dbapi_connection
                given = driver.info.get_parameters()
                assert {name: int(given[name]) for name in stores.REACH} == stores.REACH


def test_a_server_that_is_not_there_yet_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "RETRY_S", 0.0)
    server = PostgresServer()
    url = server.create_database("queue")
    server.stop()
    told = []

    def start(reason: str) -> None:
        told.append(reason)
        server.start()

    open_when_reachable(url, on_wait=start).close()
    server.close()
    assert "refused; waiting for it" in told[0]
    with pytest.raises(Unavailable, match="cannot be written"):  # which no waiting mends
        open_when_reachable("sqlite:////dev/null/queue.db", on_wait=told.append)


def test_health_says_so_when_the_database_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "CHECK_WITHIN_S", 0.01)
    answers = Event()

    def wait() -> None:
        answers.wait()

    async def ask() -> None:
        asked = Health(wait)
        with pytest.raises(Unavailable, match=r"has not answered for 0\.01 s"):
            await asked.check()
        with pytest.raises(Unavailable):  # the same, for a moment: not asked again
            await asked.check()
        answers.set()

    asyncio.run(ask())


@pytest.mark.parametrize(
    ("newer", "more"),
    [(False, ""), (True, "max_prepared_statements = 0"), (True, "max_prepared_statements = 200")],
    ids=["installed", "newer-without-prepared-statements", "newer-with-prepared-statements"],
)
def test_the_queue_works_behind_pgbouncer_in_transaction_pooling(
    tmp_path: Path, newer: bool, more: str
) -> None:
    name = f"queue_{uuid.uuid4().hex}"
    postgres_server().create_database(name, template=TEMPLATE)
    with ExitStack() as stack:
        pooler = stack.enter_context(
            PgBouncer(postgres_server(), num_connections=2, newer=newer, more=more)
        )
        if newer:
            assert pooler.version().startswith("1.24.")
        store = open_store(pooler.url(name))
        stack.callback(store.close)
        service = LeaseService(store)
        service.CreateCampaign(create_request(write_findings(tmp_path, 60)), ADMIN)

        def label(number: int) -> int:
            person, num_accepted = Person(service, f"labeler-{number}"), 0
            while leases := person.lease(4):
                num_accepted += person.submit([confirm(lease) for lease in leases]).count(ACCEPTED)
            return num_accepted

        with ThreadPoolExecutor(6) as threads:
            assert sum(threads.map(label, range(6))) == 60
