"""A backup is of one moment, restores into an empty queue, and what was lost is told."""

import sqlite3
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from relabel_service.errors import InvalidInput, NotFound, WrongState
from relabel_service.queue import backup
from relabel_service.queue.store import Store, open_store
from relabel_service.server.lost_answers import lost_answers
from relabel_service.server.service import LeaseService
from relabel_service.v1 import campaigns_pb2
from relabel_service.v1 import relabel_service_pb2 as rpc
from tests.conftest import Start
from tests.support.campaigns import ADMIN, CAMPAIGN, create_request, request_id, write_findings
from tests.support.imported import relabel
from tests.support.last_release import LastRelease
from tests.support.people import ACCEPTED, Person, stats
from tests.support.stores import KINDS, new_queue_url


@pytest.fixture(params=KINDS)
def other_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of an empty queue of each kind, to restore into."""
    folder = tmp_path / "restored"
    folder.mkdir()
    return new_queue_url(request.param, folder)


@pytest.fixture
def opened() -> Iterator[list[Store]]:
    """Stores that are closed in the end."""
    stores: list[Store] = []
    yield stores
    for store in stores:
        store.close()


def export(service: LeaseService, uri: str) -> None:
    request = rpc.ExportAnswersRequest(name=CAMPAIGN, results_uri=uri, request_id=request_id())
    service.ExportAnswers(request, ADMIN)


def finalize(service: LeaseService, uri: str) -> campaigns_pb2.Campaign:
    request = rpc.FinalizeCampaignRequest(name=CAMPAIGN, results_uri=uri, request_id=request_id())
    return service.FinalizeCampaign(request, ADMIN).campaign


def test_a_queue_that_is_served_is_backed_up_and_restored_on_either_database(
    start: Start, queue_url: str, other_url: str, tmp_path: Path, opened: list[Store]
) -> None:
    service = start(num_items=8, votes_required=2, blind_share=0.5)
    ann, bob = Person(service, "ann"), Person(service, "bob")
    ann.label_next("spam")
    [held] = ann.lease()
    [lapsed] = bob.lease()
    file, answers = tmp_path / "backups/queue.backup", str(tmp_path / "answers")
    said = relabel("backup", "--queue", queue_url, "--to", file)
    assert "1 campaigns and 1 answers, as of" in said
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    ann.say(held, "spam")  # what comes after is lost
    ann.label_next("ham")
    export(service, answers)
    said = relabel("restore", file, "--queue", other_url, "--answers", answers)
    assert "1 campaigns and 1 answers restored" in said
    assert "lost: 2 answers of campaign 'test'" in said
    again = relabel("restore", file, "--queue", other_url, "--answers", answers)
    assert "restored before, so nothing changed" in again
    assert "lost: 2 answers" in again
    store = open_store(other_url, clock=start.clock)
    opened.append(store)
    restored = LeaseService(store)
    get = rpc.GetCampaignRequest(name=CAMPAIGN)
    assert restored.GetCampaign(get, ADMIN) == service.GetCampaign(get, ADMIN)
    assert stats(restored).num_results == 1
    assert Person(restored, "ann").say(held, "spam") == ACCEPTED  # a lease that was backed up
    assert Person(restored, "bob").say(lapsed, "spam") == ACCEPTED
    assert finalize(restored, answers).num_answers == 3
    [left] = lost_answers(store, [])  # which the campaign names by now
    assert left.num == 1


def test_backing_up_again_replaces_the_file_and_restoring_after_work_changes_nothing(
    start: Start, queue_url: str, tmp_path: Path, opened: list[Store]
) -> None:
    ann, file = Person(start(), "ann"), tmp_path / "queue.backup"
    relabel("backup", "--queue", queue_url, "--to", file)
    ann.label_next("spam")
    assert "1 answers" in relabel("backup", "--queue", queue_url, "--to", file)
    folder = tmp_path / "other"
    folder.mkdir()
    other = new_queue_url("sqlite", folder)
    relabel("restore", file, "--queue", other)
    store = open_store(other)
    Person(LeaseService(store), "bob").label_next("spam")  # the restored queue is worked on
    store.close()
    assert "nothing changed" in relabel("restore", file, "--queue", other)
    opened.append(open_store(other))
    assert stats(LeaseService(opened[0])).num_results == 2
    assert [path.name for path in tmp_path.glob(".backup-*")] == []


def test_a_backup_is_not_restored_over_other_campaigns(
    start: Start, queue_url: str, tmp_path: Path, opened: list[Store]
) -> None:
    ann, file = Person(start(), "ann"), tmp_path / "queue.backup"
    ann.label_next("spam")
    relabel("backup", "--queue", queue_url, "--to", file)
    folder = tmp_path / "other"
    folder.mkdir()
    store = open_store(new_queue_url("sqlite", folder))
    opened.append(store)
    service = LeaseService(store)  # a campaign of the same id, made anew
    service.CreateCampaign(create_request(str(tmp_path / "findings")), ADMIN)
    with pytest.raises(WrongState, match=r"1 campaigns, and not the 1 answers of campaign 'test'"):
        backup.restore(file, store)
    assert stats(service).num_results == 0


def test_a_backup_is_of_one_moment_while_results_come_in(
    start: Start, queue_url: str, tmp_path: Path
) -> None:
    service = start(num_items=300)
    ann, stopped = Person(service, "ann"), threading.Event()

    def label() -> None:
        while not stopped.is_set() and (leases := ann.lease(5)):
            for lease in leases:
                ann.say(lease, "spam")

    thread = threading.Thread(target=label)
    thread.start()
    try:
        for number in range(3):
            file = tmp_path / f"{number}.backup"
            done = backup.back_up(queue_url, file)
            with sqlite3.connect(file) as connection:
                [[num_done]] = connection.execute("SELECT count(*) FROM queue WHERE num_votes > 0")
            connection.close()
            assert num_done == done.num_answers
    finally:
        stopped.set()
        thread.join()


def test_a_backup_of_the_last_release_is_restored_into_this_one(
    tmp_path: Path, opened: list[Store]
) -> None:
    queue_url, file = f"sqlite:///{tmp_path / 'queue.db'}", tmp_path / "queue.backup"
    with LastRelease(tmp_path, queue_url) as last:
        last("create", write_findings(tmp_path, 5))
        assert last("label", "ann", "spam", 2) == [ACCEPTED] * 2
        backup.back_up(queue_url, file)
    folder = tmp_path / "other"
    folder.mkdir()
    store = open_store(new_queue_url("sqlite", folder))
    opened.append(store)
    assert backup.restore(file, store)
    assert not backup.restore(file, store)
    bob = Person(LeaseService(store), "bob")
    assert len(bob.lease(9)) == 3
    assert stats(bob.service).num_results == 2


@pytest.mark.parametrize("url", ["sqlite:////nowhere/queue.db", "postgresql"])
def test_what_is_no_queue_is_not_backed_up(url: str, tmp_path: Path) -> None:
    if url == "postgresql":
        url = new_queue_url("postgresql", tmp_path).rpartition("/")[0] + "/postgres"
    with pytest.raises(NotFound, match="no queue"):
        backup.back_up(url, tmp_path / "file")
    assert not (tmp_path / "file").exists()


def test_what_is_no_backup_is_not_restored(tmp_path: Path, opened: list[Store]) -> None:
    opened.append(open_store(f"sqlite:///{tmp_path / 'queue.db'}"))
    with pytest.raises(NotFound, match="no file"):
        backup.restore(tmp_path / "none", opened[0])
    for content in (b"", b"something else"):
        (tmp_path / "file").write_bytes(content)
        with pytest.raises(InvalidInput, match="not a backup"):
            backup.restore(tmp_path / "file", opened[0])


def test_answers_of_campaigns_that_the_queue_does_not_hold_are_told(
    start: Start, tmp_path: Path, opened: list[Store]
) -> None:
    service, uri = start(), str(tmp_path / "answers")
    Person(service, "ann").label_next("spam")
    export(service, uri)
    folder = tmp_path / "other"
    folder.mkdir()
    opened.append(open_store(new_queue_url("sqlite", folder)))
    [lost] = lost_answers(opened[0], [uri])
    assert (lost.num, lost.is_known) == (1, False)
    assert "nor does it hold the campaign" in str(lost)
    assert lost_answers(start.store, [uri]) == []
    with pytest.raises(NotFound):
        lost_answers(start.store, [str(tmp_path / "nowhere")])


def test_a_backup_of_a_later_release_is_restored_by_that(
    start: Start, queue_url: str, tmp_path: Path, opened: list[Store]
) -> None:
    start()
    file = tmp_path / "queue.backup"
    backup.back_up(queue_url, file)
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    folder = tmp_path / "other"
    folder.mkdir()
    opened.append(open_store(new_queue_url("sqlite", folder)))
    with pytest.raises(WrongState, match="the backup is of a later release"):
        backup.restore(file, opened[0])
