"""Statements on the driver's own cursor: what is written later is written once, errors are told."""

from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError, ProgrammingError

from relabel_service.errors import WrongState
from relabel_service.queue import schema as db
from relabel_service.queue import statements as sql
from relabel_service.queue.driver import Statement
from relabel_service.queue.store import Store
from tests.conftest import Start

KEY = {"fingerprint": "", "cached_response": b"", "create_time": 0.0, "campaign": None}


def request_ids(store: Store) -> set[str]:
    with store.read_transaction() as (connection, _):
        return set(connection.execute(select(db.idempotency_keys.c.request_id)).scalars())


def test_what_is_written_later_is_there_when_the_transaction_ends(start: Start) -> None:
    store_later(start.store, "a", "b", "c")
    assert request_ids(start.store) == {"a", "b", "c"}


def store_later(store: Store, *names: str) -> None:
    """Raises ValueError within the transaction for the name "fails"."""
    with store.write_transaction() as (connection, _):
        for name in names:
            sql.STORE_RESPONSES.later(connection, [{"labeler": "ann", "request_id": name, **KEY}])
            if name == "fails":
                raise ValueError("as if refused")


def test_what_a_failed_transaction_would_have_written_is_never_written(start: Start) -> None:
    for _ in range(3):  # the pool gives the same connection again
        with pytest.raises(ValueError, match="as if refused"):
            store_later(start.store, "a", "fails")
        store_later(start.store)
    assert request_ids(start.store) == set()


def test_what_fails_when_it_is_written_later_fails_the_transaction(start: Start) -> None:
    store_later(start.store, "a")
    with pytest.raises(IntegrityError):
        store_later(start.store, "b", "a")
    assert request_ids(start.store) == {"a"}


def test_errors_of_the_driver_come_out_as_any_other(start: Start) -> None:
    broken = Statement("SELECT 1 FROM gone WHERE name = :name")
    with (
        pytest.raises((WrongState, ProgrammingError)),
        start.store.read_transaction() as (connection, _),
    ):
        broken(connection, {"name": "x"})
    assert request_ids(start.store) == set()  # the pool is as good as before


def test_rows_are_read_by_name(start: Start) -> None:
    with start.store.write_transaction() as (connection, _):
        values = {"labeler": "ann", "request_id": "a", "campaign": "none", "is_first": True}
        [row] = sql.OPENING(connection, [values])
    assert (row.fingerprint, row.campaign, row.state) == (None, None, None)


@pytest.mark.parametrize("queue_url", ["sqlite"], indirect=True)
def test_a_request_is_looked_up_in_as_many_steps_however_many_are_stored(start: Start) -> None:
    start()  # an import ends with statistics of its tables, while hardly any request is stored
    before = num_steps(start.store)
    store_later(start.store, *map(str, range(2000)))
    assert num_steps(start.store) <= 2 * before


def num_steps(store: Store) -> int:
    """Instructions of SQLite's for looking up a request that is not there."""
    seen: list[None] = []
    with store.write_transaction() as (connection, _):
        driver: Any = connection.connection.dbapi_connection
        driver.set_progress_handler(lambda: seen.append(None), 1)
        values = {"labeler": "ann", "request_id": "none", "campaign": "test", "is_first": True}
        sql.OPENING(connection, [values])
        driver.set_progress_handler(None, 1)
    return len(seen)
