"""Writers that come at the same time share a commit and nothing else."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest
from sqlalchemy import Engine, create_engine, event, text

from relabel_service.errors import Unavailable
from relabel_service.queue.group_commit import GroupCommit


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = create_engine(
        f"sqlite:///{tmp_path / 'x.db'}", connect_args={"check_same_thread": False}
    )
    event.listen(made, "connect", lambda one, _: setattr(one, "isolation_level", None))
    event.listen(made, "begin", lambda one: one.exec_driver_sql("BEGIN IMMEDIATE"))
    with made.begin() as connection:
        connection.execute(text("CREATE TABLE t (n INTEGER PRIMARY KEY)"))
    yield made
    made.dispose()


def stored(engine: Engine) -> list[int]:
    with engine.begin() as connection:
        return sorted(connection.execute(text("SELECT n FROM t")).scalars())


def test_those_who_wait_share_the_commit_and_one_failure_is_its_own(engine: Engine) -> None:
    writers, num_commits = GroupCommit(engine), []
    event.listen(engine, "commit", lambda _: num_commits.append(1))
    inside, go_on = Event(), Event()

    def write(number: int) -> int:
        with writers.write_transaction() as connection:
            connection.execute(text("INSERT INTO t VALUES (:n)"), {"n": number})
            if number == 0:
                inside.set()
                go_on.wait()
            if number == 3:
                raise ValueError("as if refused")
        return number

    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(write, 0)
        inside.wait()
        others = [pool.submit(write, number) for number in range(1, 6)]
        while writers._num_waiting < len(others):
            pass
        assert not first.done()
        go_on.set()
        assert first.result() == 0
        with pytest.raises(ValueError, match="refused"):
            others[2].result()
        assert [one.result() for one in others if one is not others[2]] == [1, 2, 4, 5]
    assert len(num_commits) == 1
    assert stored(engine) == [0, 1, 2, 4, 5]


def test_where_sqlite_takes_the_transaction_back_nobody_is_told_ok(engine: Engine) -> None:
    writers = GroupCommit(engine)
    inside, go_on = Event(), Event()

    def write(number: int) -> None:
        with writers.write_transaction() as connection:
            connection.execute(text("INSERT INTO t VALUES (:n)"), {"n": number})
            inside.set()
            go_on.wait()
            if number == 1:
                connection.exec_driver_sql("ROLLBACK")  # as SQLite does by itself on a full disk
                raise OSError("disk full")

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(write, 0)
        inside.wait()
        second = pool.submit(write, 1)
        while not writers._num_waiting:
            pass
        go_on.set()
        with pytest.raises(Unavailable, match="took a transaction back"):
            first.result()
        with pytest.raises(OSError, match="disk full"):
            second.result()
    with writers.write_transaction() as connection:
        connection.execute(text("INSERT INTO t VALUES (2)"))
    assert stored(engine) == [2]


def test_a_commit_that_fails_fails_for_all(engine: Engine) -> None:
    writers = GroupCommit(engine)

    def refuse(_: object) -> None:
        raise OSError("disk full")

    event.listen(engine, "commit", refuse)
    with pytest.raises(OSError, match="disk full"), writers.write_transaction() as connection:
        connection.execute(text("INSERT INTO t VALUES (1)"))
    event.remove(engine, "commit", refuse)
    assert stored(engine) == []
    with writers.write_transaction() as connection:
        connection.execute(text("INSERT INTO t VALUES (2)"))
    assert stored(engine) == [2]
