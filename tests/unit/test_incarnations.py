"""A queue that is restored or made anew loses no answers and mixes none."""

import shutil
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from cluster.data.rows import Source
from cluster.versions.merge import MergeConfig, merge
from relabel_service import relabel
from relabel_service.errors import Conflict, InvalidInput, NotFound, WrongState
from relabel_service.queue.store import Store, open_store
from relabel_service.server import answer_table
from relabel_service.server.regular_exports import ExportSettings, RegularExports
from relabel_service.server.service import LeaseService
from relabel_service.server.settings import settings_from
from relabel_service.tables import delta, schemas
from relabel_service.tables.results import FIRST, read_results
from relabel_service.v1 import campaigns_pb2
from relabel_service.v1 import relabel_service_pb2 as rpc
from tests.conftest import Start
from tests.support.campaigns import ADMIN, CAMPAIGN, create_request, request_id, write_findings
from tests.support.people import ACCEPTED, Person, class_label

FINALIZED = campaigns_pb2.CAMPAIGN_STATE_FINALIZED


class Queue:
    """An SQLite queue on findings of ten rows, which may be lost, restored and made anew."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / "queue.db"
        self.results = str(folder / "results")
        self.findings = write_findings(folder, 10)
        self.open()

    def open(self) -> None:
        self.store: Store = open_store(f"sqlite:///{self.path}")
        self.service = LeaseService(self.store)

    def create(self) -> campaigns_pb2.Campaign:
        return self.service.CreateCampaign(create_request(self.findings), ADMIN).campaign

    def label(self, name: str, decision: str, num: int) -> None:
        person = Person(self.service, name)
        for lease in person.lease(num):
            person.say(lease, decision)
            self.last = lease

    def correct(self, name: str, decision: str) -> None:
        """The last answer, which was this labeler's."""
        result = relabel(self.last, class_label(decision))
        result.replaces = True
        assert Person(self.service, name).submit([result]) == [ACCEPTED]

    def back_up(self) -> None:
        self.store.close()
        shutil.copy(self.path, self.folder / "backup.db")
        self.open()

    def restore(self) -> None:
        self.store.close()
        shutil.copy(self.folder / "backup.db", self.path)
        self.open()

    def lose(self) -> None:
        self.store.close()
        for file in self.folder.glob("queue.db*"):
            file.unlink()
        self.open()

    def finalize(self) -> campaigns_pb2.Campaign:
        request = rpc.FinalizeCampaignRequest(
            name=CAMPAIGN, results_uri=self.results, request_id=request_id()
        )
        return self.service.FinalizeCampaign(request, ADMIN).campaign

    def export(self, uri: str = "") -> tuple[int, int]:
        request = rpc.ExportAnswersRequest(
            name=CAMPAIGN, results_uri=uri or self.results, request_id=request_id()
        )
        done = self.service.ExportAnswers(request, ADMIN)
        return done.num_answers, done.num_written

    def rows(self) -> list[dict[str, Any]]:
        rows = DeltaTable(self.results).to_pyarrow_table().sort_by("rank")
        return list(rows.to_pylist())


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    made = Queue(tmp_path)
    yield made
    made.store.close()


def test_finalizing_after_a_restore_writes_what_is_missing(queue: Queue) -> None:
    queue.create()
    queue.label("ann", "spam", 2)
    queue.back_up()
    queue.label("bob", "spam", 2)
    assert queue.finalize().num_answers == 4
    queue.restore()
    queue.label("cyd", "ham", 4)
    done = queue.finalize()
    assert (done.state, done.num_answers) == (FINALIZED, 6)
    assert sorted((row["labeler"], row["rank"]) for row in queue.rows()) == [
        ("ann", 0), ("ann", 1), ("bob", 2), ("bob", 3),
        ("cyd", 2), ("cyd", 3), ("cyd", 4), ("cyd", 5),
    ]  # fmt: skip
    before = DeltaTable(queue.results).version()
    assert queue.finalize() == done
    assert DeltaTable(queue.results).version() == before


def test_a_finalized_campaign_whose_table_was_lost_is_published_again(queue: Queue) -> None:
    queue.create()
    queue.label("ann", "spam", 3)
    done = queue.finalize()
    shutil.rmtree(queue.results)
    assert queue.finalize() == done
    assert len(queue.rows()) == 3


def test_it_is_not_finalized_while_answers_are_missing(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.create()
    queue.label("ann", "spam", 3)
    without = answer_table._Held.without

    def loses(self: Any, batch: pa.RecordBatch) -> pa.RecordBatch:
        return without(self, batch).slice(1)

    with monkeypatch.context() as patched:
        patched.setattr(answer_table._Held, "without", loses)
        with pytest.raises(WrongState, match=r"holds 3 answers of .*'test'.* only 2 of them"):
            queue.finalize()
    stopped = queue.service.GetCampaign(rpc.GetCampaignRequest(name=CAMPAIGN), ADMIN).campaign
    assert stopped.state == campaigns_pb2.CAMPAIGN_STATE_FINALIZING
    assert "3 answers" in stopped.failure.message
    assert queue.finalize().state == FINALIZED
    assert len(queue.rows()) == 3


def test_answers_of_a_queue_made_anew_are_not_pooled_with_those_before(
    queue: Queue, tmp_path: Path
) -> None:
    first = queue.create()
    queue.label("ann", "spam", 4)
    assert queue.export() == (4, 4)
    queue.lose()
    second = queue.create()
    assert first.incarnation != second.incarnation
    queue.label("bob", "ham", 6)
    assert queue.finalize().num_answers == 6
    data, lineage = str(tmp_path / "data"), str(tmp_path / "lineage")
    ids = [f"row-{number}" for number in range(10)]
    texts = [f"text {number}" for number in range(10)]
    write_deltalake(data, pa.table({"id": ids, "text": texts, "label": ["ham"] * 10}))
    source = Source(data, "text_classification", ("text",), "label", "id")
    config = MergeConfig(source, queue.results, "test", lineage)
    message = (
        rf"2 incarnations of campaign 'test': {first.incarnation} \(4 answers from .* UTC\), "
        rf"{second.incarnation} \(6 answers"
    )
    with pytest.raises(InvalidInput, match=message) as refused:
        merge(config)
    assert refused.value.violations[0].field == "incarnation"
    with pytest.raises(NotFound, match="'0123' of campaign 'test'; it holds"):
        merge(_of(config, "0123"))
    merged = merge(_of(config, first.incarnation))
    assert (merged.num_decided, merged.num_changed) == (4, 4)
    assert merge(_of(config, first.incarnation)) == merged
    rows = DeltaTable(lineage).to_pyarrow_table().to_pylist()
    assert {row["incarnation"] for row in rows} == {first.incarnation}
    with pytest.raises(Conflict, match="was 'ham' and is 'spam'"):  # not taken for merged
        merge(_of(config, second.incarnation))


def _of(config: MergeConfig, incarnation: str) -> MergeConfig:
    return MergeConfig(**{**vars(config), "incarnation": incarnation})


def test_results_of_an_earlier_release_are_of_the_first_incarnation(queue: Queue) -> None:
    earlier = pa.Table.from_pylist(
        [{"campaign": "test", "rank": 9, "labeler": "old", "submit_time": datetime.now(UTC)}],
        schemas.RESULTS,
    ).drop_columns(["incarnation", "seconds_spent"])
    write_deltalake(queue.results, earlier)
    assert read_results(queue.results, "test")["labeler"].to_pylist() == ["old"]
    assert read_results(queue.results, "test", incarnation=FIRST).num_rows == 1
    made = queue.create()
    queue.label("ann", "spam", 2)
    queue.finalize()
    assert [row["incarnation"] for row in queue.rows()] == [made.incarnation] * 2 + [None]
    with pytest.raises(InvalidInput, match=r"first \(1 answers"):
        read_results(queue.results, "test")
    assert read_results(queue.results, "test", incarnation=FIRST)["rank"].to_pylist() == [9]


def test_the_table_of_a_later_release_takes_answers(queue: Queue) -> None:
    later = schemas.RESULTS.append(pa.field("later", pa.int64()))
    write_deltalake(queue.results, later.empty_table())
    queue.create()
    queue.label("ann", "spam", 2)
    assert queue.finalize().state == FINALIZED
    assert [row["later"] for row in queue.rows()] == [None, None]


def test_of_answers_given_again_after_a_restore_the_latest_counts(queue: Queue) -> None:
    queue.create()
    queue.back_up()
    queue.label("ann", "spam", 1)
    queue.export()
    queue.restore()
    queue.label("ann", "ham", 1)
    assert queue.finalize().num_answers == 1
    assert sorted(row["label"] for row in queue.rows()) == ["ham", "spam"]
    assert read_results(queue.results, "test")["label"].to_pylist() == ["ham"]


def test_answers_are_exported_while_the_campaign_runs_and_once(
    start: Start, tmp_path: Path
) -> None:
    service = start(num_items=5)
    uri, ann = str(tmp_path / "answers"), Person(service, "ann")

    def export() -> tuple[int, int]:
        request = rpc.ExportAnswersRequest(name=CAMPAIGN, results_uri=uri, request_id=request_id())
        done = service.ExportAnswers(request, ADMIN)
        return done.num_answers, done.num_written

    assert export() == (0, 0)
    ann.label_next("spam")
    assert export() == (1, 1)
    ann.label_next("spam")
    ann.label_next("skip")
    assert export() == (3, 2)
    assert export() == (3, 0)
    ann.label_next("spam")  # it goes on
    request = rpc.FinalizeCampaignRequest(name=CAMPAIGN, results_uri=uri, request_id=request_id())
    assert service.FinalizeCampaign(request, ADMIN).campaign.num_answers == 4
    table = DeltaTable(uri).to_pyarrow_table().sort_by("rank")
    assert table["rank"].to_pylist() == [0, 1, 2, 3]
    request.name = "campaigns/none"
    with pytest.raises(NotFound):
        service.FinalizeCampaign(request, ADMIN)


def test_two_replicas_that_export_at_once_write_each_answer_once(queue: Queue) -> None:
    queue.create()
    queue.label("ann", "spam", 5)
    errors: list[Exception] = []

    def export() -> None:
        try:
            queue.export()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=export) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert [row["rank"] for row in queue.rows()] == list(range(5))


class Stopped(threading.Event):
    """Stops a loop after it has waited so often."""

    def __init__(self, num_waits: int) -> None:
        super().__init__()
        self.waits: list[float | None] = []
        self._num_waits = num_waits

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout)
        return len(self.waits) > self._num_waits


def test_a_service_exports_by_itself_and_goes_on_after_a_failure(
    queue: Queue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.create()
    queue.label("ann", "spam", 2)
    asked = {"queue_url": "sqlite:///q.db", "exports": {"uri": queue.results, "every_s": 60}}
    settings = settings_from(asked).exports
    exports, stopped = RegularExports(queue.store, settings), Stopped(2)
    fails = [True]

    def open_once(*arguments: Any, **named: Any) -> Any:
        if fails.pop() if fails else False:
            raise Conflict("somebody else writes")
        return append(*arguments, **named)

    append = delta.append_missing
    monkeypatch.setattr(delta, "append_missing", open_once)
    exports.run(stopped)
    assert stopped.waits == [60] * 3
    assert len(queue.rows()) == 2
    version = DeltaTable(queue.results).version()
    exports.export()  # nothing new
    assert DeltaTable(queue.results).version() == version
    queue.correct("ann", "ham")
    exports.export()
    assert DeltaTable(queue.results).version() == version + 1
    with pytest.raises(InvalidInput, match="every_s"):
        ExportSettings("x", 0)
