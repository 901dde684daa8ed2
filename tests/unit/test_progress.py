"""Progress in a log: a line when it is due, with the speed and the time left."""

import io
import threading
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pyarrow as pa
import pytest
from rich.console import Console

from cluster.io.folder import Folder
from cluster.io.shards import write_shard
from cluster.mining.scored_shards import ScoredRows
from jobs.common import progress
from jobs.common.progress import LogProgress, StepLog, TerminalProgress, duration, progress_on


class Lines(io.StringIO):
    """A stream that tells when a line with `wanted` is in it."""

    def __init__(self, wanted: str = "") -> None:
        super().__init__()
        self._wanted = wanted
        self.is_there = threading.Event()

    def flush(self) -> None:
        if self._wanted in self.getvalue():
            self.is_there.set()


def test_a_line_says_how_much_how_fast_and_how_long_still() -> None:
    log = StepLog("mine: rows", 10_000, now=0.0)
    log.add(2_000)
    assert log.line(9.9) is None
    assert log.line(10.0) == "mine: 2,000 of 10,000 rows (20%), 200 rows/s, 40 s left"
    log.add(400)
    assert log.line(20.0) is None  # not 5 % more
    log.add(100)
    assert log.line(25.0) == "mine: 2,500 of 10,000 rows (25%), 100 rows/s, 1 min 15 s left"
    assert log.line(84.9) is None
    assert log.line(85.0) == "mine: 2,500 of 10,000 rows (25%), 29 rows/s, 4 min 15 s left"


def test_slow_steps_and_those_without_a_known_end_are_told_too() -> None:
    log = StepLog("train: models", 6, now=0.0)
    assert log.line(10.0) == "train: 0 of 6 models (0%), 10 s so far"
    log.add(1)
    assert log.line(60.0) == "train: 1 of 6 models (17%), 1.0 models a minute, 5 min 0 s left"
    unknown = StepLog("v1 merge", None, now=0.0)
    assert unknown.line(10.0) == "v1 merge: 10 s so far"
    assert unknown.line(69.0) is None
    assert unknown.line(70.0) == "v1 merge: 1 min 10 s so far"


def test_the_end_is_told_of_steps_that_took_long() -> None:
    log = StepLog("mine: rows", 10, now=0.0)
    assert log.last_line(9.0) is None
    assert log.last_line(95.0) == "mine: done in 1 min 35 s"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-1.0, "0 s"),
        (59.4, "59 s"),
        (60.0, "1 min 0 s"),
        (3_600.0, "1 h 0 min"),
        (9e5, "250 h 0 min"),
    ],
)
def test_durations_are_in_their_two_largest_units(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def jumping_clock(step_s: float) -> Callable[[], float]:
    times = count()
    return lambda: next(times) * step_s


def test_a_log_gets_lines_while_a_step_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LOOK_S", 0.001)
    stream = Lines("v1 label: 40 of 100 answers (40%), ")
    with (
        LogProgress(stream, jumping_clock(30.0)) as log,
        log.step("v1 label: answers", 100) as advance,
    ):
        advance(40)
        assert stream.is_there.wait(60)
    assert stream.getvalue().splitlines()[-1].startswith("v1 label: done in ")


def test_a_step_that_fails_is_not_told_as_done() -> None:
    stream = Lines()
    with (
        pytest.raises(ZeroDivisionError),
        LogProgress(stream, jumping_clock(30.0)) as log,
        log.step("v1 label", 1),
    ):
        raise ZeroDivisionError
    assert "done" not in stream.getvalue()


def test_a_terminal_gets_bars_and_a_log_lines() -> None:
    assert isinstance(progress_on(Console(force_terminal=True)), TerminalProgress)
    assert isinstance(progress_on(Console(file=io.StringIO())), LogProgress)


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    monkeypatch.setattr(progress, "LOOK_S", 0.001)
    monkeypatch.setattr(progress, "COUNT_S", 0.001)
    return [100]


def test_rows_of_a_run_that_was_cut_off_are_not_counted_again(
    counts: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = Lines()
    lines = LogProgress(stream, jumping_clock(0.5))
    monkeypatch.setattr(progress, "progress_on", lambda console: lines)
    with progress.counted("mine: rows", 500, lambda: counts[0]):
        counts[0] = 300
        while "200 of 400 rows" not in stream.getvalue():
            stream.is_there.wait(60)
            stream.is_there.clear()


def test_work_goes_on_where_it_cannot_be_counted(
    counts: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    failed = threading.Event()

    def fail_later() -> int:
        if not counts:
            failed.set()
            raise OSError("the store is gone")
        return counts.pop()

    with progress.counted("mine: rows", 500, fail_later):
        assert failed.wait(60)
    assert "progress is not shown any more: the store is gone" in capsys.readouterr().err


def test_scored_rows_are_counted_by_their_shards(tmp_path: Path) -> None:
    run = Folder(str(tmp_path))
    counted = ScoredRows(run, num_units=2)
    assert counted() == 0
    write_shard(run, "scored/a.parquet", pa.table({"id": ["a"] * 6}))
    assert counted() == 3
    write_shard(run, "scored/b.parquet", pa.table({"id": ["a"] * 4}))
    assert counted() == 5
