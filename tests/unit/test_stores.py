"""What the stores promise beyond the queue's own rules."""

import hashlib
import time
import uuid
import zlib
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import pytest
from alembic import command
from sqlalchemy import Engine, create_engine, inspect, text

from relabel_service.errors import InvalidInput, Unavailable, WrongState
from relabel_service.queue import migrations
from relabel_service.queue.store import check_replicas, open_store
from relabel_service.server.service import LeaseService
from relabel_service.v1 import items_pb2, labels_pb2, leases_pb2
from relabel_service.v1 import relabel_service_pb2 as rpc
from tests.support.people import ACCEPTED, STALE, Person, stats
from tests.support.stores import new_queue_url, postgres_server


def test_the_migrations_make_exactly_the_schema(queue_url: str) -> None:
    open_store(queue_url).close()
    engine = create_engine(queue_url)
    with engine.connect() as connection:
        command.check(migrations.configuration(connection))
    engine.dispose()


def test_a_database_of_the_first_schema_keeps_its_results_and_frees_its_leases(
    tmp_path: Path, queue_url: str
) -> None:
    engine = create_engine(queue_url)
    drop_everything(engine)
    with engine.begin() as connection:
        command.upgrade(migrations.configuration(connection), "0001")
        for statement in FIRST_SCHEMA:
            connection.execute(text(statement))
    engine.dispose()
    store = open_store(queue_url)
    ann, bob = (Person(LeaseService(store), name) for name in ("ann", "bob"))
    [lease] = bob.lease(5)
    assert (lease.item.row_id, lease.item.content.text.text) == ("b", "text b")
    assert lease.item.suggestions[0].label.class_label.class_name == "spam"
    assert (lease.item.rank, lease.num_earlier_attempts) == (1, 1)
    assert ann.lease(5) == []
    assert bob.say(lease, "spam") == ACCEPTED
    assert (stats(ann.service).num_done, stats(ann.service).num_results) == (2, 2)
    store.close()


# One item has a result, one has a lease.
FIRST_SCHEMA = [
    "INSERT INTO campaigns VALUES ('test', 'text_classification', 'f', 'r', '[]', '{}', 'active', "
    "1.0, NULL, NULL, 1, 2, 2, 0)",
    *(
        f"INSERT INTO items VALUES ('test', {rank}, 'finding', '{name}', '', 'text {name}', 'ham', "
        """'[["spam", 0.9]]', 'spam', NULL, 0.5, 'why')"""
        for rank, name in enumerate("ab")
    ),
    "INSERT INTO queue VALUES ('test', 0, 'finding', 0, 'done', 0.0, 0.0, 1, 1, 0, 1)",
    "INSERT INTO queue VALUES ('test', 1, 'finding', 1, 'held', 9e9, 0.0, 1, 0, 0, 1)",
    "INSERT INTO leases VALUES ('t', 'test', 1, 'ann', 'labeler', 9e9, 'live')",
    "INSERT INTO results VALUES ('test', 0, 'ann', 's', 'labeler', false, 'confirm', 'ham', '', 2)",
]


def test_a_database_of_the_third_schema_keeps_its_leases_and_cached_responses(
    queue_url: str,
) -> None:
    engine = create_engine(queue_url)
    drop_everything(engine)
    with engine.begin() as connection:
        command.upgrade(migrations.configuration(connection), "0003")
        for statement, values in THIRD_SCHEMA:
            connection.execute(text(statement), values)
    engine.dispose()
    store = open_store(queue_url)
    ann, bob, eve = (Person(LeaseService(store), name) for name in ("ann", "bob", "eve"))
    jim = Person(eve.service, "jim", "adjudicator")
    assert stats(ann.service).num_leased == 1
    cached = ann.service.LeaseItems(LEASE_REQUEST, ann.caller)
    assert [lease.token for lease in cached.leases] == ["cached"]
    assert ann.say(leases_pb2.Lease(token="annsgroupaa"), "spam") == ACCEPTED  # of the first rank
    assert ann.say(leases_pb2.Lease(token="annsgroupab"), "spam") == STALE  # released before
    late = leases_pb2.Lease(token="bobsgroupaa")  # expired, but nobody else took the item
    assert bob.say(late, "spam") == ACCEPTED
    [disputed] = jim.lease(5, adjudicate=True)  # the other adjudicator's lease has expired
    assert (disputed.item.row_id, disputed.item.content.text.text) == ("c", "text c")
    assert [lease.item.row_id for lease in eve.lease(5)] == ["e", "d"]  # by their places
    assert (stats(ann.service).num_done, stats(ann.service).num_results) == (2, 3)
    store.close()


LEASE_REQUEST = rpc.LeaseItemsRequest(
    parent="campaigns/test", max_items=1, request_id="00000000-0000-0000-0000-000000000001"
)
RESPONSE = rpc.LeaseItemsResponse(leases=[leases_pb2.Lease(token="cached")])


def third_schema_item(name: str) -> bytes:
    spam = labels_pb2.Label(class_label=labels_pb2.ClassLabel(class_name="spam"))
    content = items_pb2.Content(text=items_pb2.TextContent(text=f"text {name}"))
    return items_pb2.Item(row_id=name, content=content, human_label=spam).SerializeToString()


# a is leased by ann, b was until the lease expired, c was by an adjudicator, d and e are open.
THIRD_SCHEMA: list[tuple[str, dict[str, Any]]] = [
    (
        "INSERT INTO campaigns VALUES ('test', 'text_classification', 'f', 'r', '[]', '{}', "
        "'active', 1.0, NULL, NULL, 1, 5, 5, 0)",
        {},
    ),
    *(
        (
            "INSERT INTO items VALUES ('test', :rank, 'finding', :name, '', 'spam', NULL, NULL, "
            "0.5, :item, :hints)",
            {"rank": rank, "name": name, "item": third_schema_item(name), "hints": b""},
        )
        for rank, name in enumerate("abcde")
    ),
    *(
        (
            "INSERT INTO queue VALUES ('test', :rank, 'finding', :place, :state, :held_until, "
            "0.0, 1, 0, 0, :attempts, 100, :holders, :lapsed)",
            {
                "rank": rank,
                "place": place,
                "state": state,
                "held_until": held_until,
                "attempts": 1 if holders or lapsed else 0,
                "holders": holders,
                "lapsed": lapsed,
            },
        )
        for rank, place, state, held_until, holders, lapsed in (
            (0, 0, "held", 9e9, '{"ann":["annsgroup",0,9e9]}', ""),
            (1, 1, "open", 5.0, "", '{"bob":["bobsgroup",0,5.0]}'),
            (2, 2, "judging", 0.0, '{"joe":["joesgroup",1,5.0]}', ""),
            (3, 4, "open", 0.0, "", ""),
            (4, 3, "open", 0.0, "", ""),
        )
    ),
    *(
        (
            "INSERT INTO batches VALUES (:batch, :expire_time, 'test', :labeler, :role, :ranks, "
            "1, :state)",
            {
                "batch": batch,
                "expire_time": expire_time,
                "labeler": labeler,
                "role": role,
                "ranks": ranks,
                "state": state,
            },
        )
        for batch, expire_time, labeler, role, ranks, state in (
            ("annsgroup", 9e9, "ann", "labeler", "[0, 4]", "running"),
            ("bobsgroup", 5.0, "bob", "labeler", "[1]", "over"),
            ("joesgroup", 5.0, "joe", "adjudicator", "[2]", "running"),
        )
    ),
    (
        "INSERT INTO results VALUES ('test', 2, 'cyd', 's', 'labeler', false, 'escalate', NULL, "
        "'', 2)",
        {},
    ),
    (
        "INSERT INTO requests VALUES ('ann', :request_id, :fingerprint, :response, 9e9)",
        {
            "request_id": LEASE_REQUEST.request_id,
            "fingerprint": hashlib.sha256(
                b"LeaseItemsRequest:" + LEASE_REQUEST.SerializeToString(deterministic=True)
            ).hexdigest(),
            "response": zlib.compress(RESPONSE.SerializeToString()),
        },
    ),
]


def drop_everything(engine: Engine) -> None:
    """What a template database brought."""
    with engine.begin() as connection:
        names = inspect(connection).get_table_names()
        for name in names:
            connection.execute(text(f'DROP TABLE "{name}"'))


def test_a_sqlite_queue_makes_its_folder_or_says_why_it_cannot(tmp_path: Path) -> None:
    open_store(f"sqlite:///{tmp_path}/a/new/folder/queue.db").close()
    assert (tmp_path / "a/new/folder/queue.db").stat().st_mode & 0o777 == 0o600  # nobody else's
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable, match=rf"folder '{tmp_path}/file' cannot be written \(File e"):
        open_store(f"sqlite:///{tmp_path}/file/queue.db")


def test_a_queue_that_cannot_be_opened_says_why() -> None:
    with pytest.raises(Unavailable, match=r"'postgresql.*' cannot be opened: .*refused"):
        open_store("postgresql+psycopg://someone:secret@127.0.0.1:1/queue")
    with pytest.raises(InvalidInput, match=r"psycopg2.*use postgresql"):
        open_store("postgresql+psycopg2://127.0.0.1:1/queue")


def test_replicas_that_start_together_migrate_once(tmp_path: Path) -> None:
    queue_url = postgres_server().create_database(f"queue_{uuid.uuid4().hex}")
    barrier = Barrier(3)
    failures = []

    def open_one() -> None:
        barrier.wait()
        try:
            open_store(queue_url).close()
        except Exception as error:
            failures.append(error)

    threads = [Thread(target=open_one) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_sqlite_refuses_a_second_replica() -> None:
    check_replicas("sqlite:///queue.db", 1)
    check_replicas("postgresql+psycopg://relabel:secret@db/queue", 3)
    with pytest.raises(InvalidInput, match=r"2 replicas.*sqlite:///queue\.db.*postgresql"):
        check_replicas("sqlite:///queue.db", 2)
    with pytest.raises(InvalidInput, match=r"0 replicas.*relabel:\*\*\*@db.*1 or more"):
        check_replicas("postgresql+psycopg://relabel:secret@db/queue", 0)


def test_a_second_replica_that_comes_all_the_same_is_told(tmp_path: Path) -> None:
    queue_url = new_queue_url("sqlite", tmp_path)
    first = open_store(queue_url)
    with pytest.raises(WrongState, match="another replica has the queue"):
        open_store(queue_url)
    first.close()
    open_store(queue_url).close()


@pytest.mark.parametrize("url", ["mysql://host/db", "no url", ""])
def test_another_kind_of_database_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match="sqlite:///FILE"):
        open_store(url)


def test_on_postgresql_the_databases_clock_counts_and_no_hosts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(new_queue_url("postgresql", tmp_path))
    with store.read_transaction() as (_, now):
        pass
    with monkeypatch.context() as patched:
        patched.setattr(time, "time", lambda: now + 3600)  # as on a host that is an hour ahead
        with store.write_transaction(caller="ann") as (_, later):
            pass
    store.close()
    assert now <= later < now + 600
