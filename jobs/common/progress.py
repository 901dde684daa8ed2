"""How far a job is: bars on a terminal; lines where there is none, as under `ray job submit`."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

LINE_S = 10.0  # no two lines of a log come sooner
SILENCE_S = 60.0  # and none later, however little was done
LINE_SHARE = 0.05  # of the whole: from LINE_S on, a line when so much more is done
LOOK_S = 1.0  # between looks at whether a line is due
COUNT_S = 5.0  # between counts, which may ask an object store


class StepProgress(Protocol):
    """Shows how far steps are."""

    def step(self, name: str, total: int | None) -> AbstractContextManager[Callable[[int], None]]:
        """Within it, calls of the value add to what is done."""


class StepLog:
    """The lines of one step: pure, of what is done and what the clock says.

    name: with the unit in plural behind a colon, such as `predict: rows`. total: None where the
    end is not known by number.
    """

    def __init__(self, name: str, total: int | None, *, now: float) -> None:
        self._name, _, self._unit = (part.strip() for part in name.partition(":"))
        self._total, self._started = total, now
        self._told, self._told_at = 0, now
        self.done = 0

    def add(self, number: int) -> None:
        self.done += number

    def line(self, now: float) -> str | None:
        """What to say now, or None."""
        since = now - self._told_at
        is_much = bool(self._total) and self.done - self._told >= LINE_SHARE * (self._total or 1)
        if since < LINE_S or not (is_much or since >= SILENCE_S or self._told_at == self._started):
            return None
        self._told, self._told_at = self.done, now
        return self._in_words(now)

    def last_line(self, now: float) -> str | None:
        """What to say at the end; None of a step that was too short for any line."""
        if now - self._started < LINE_S:
            return None
        return f"{self._name}: done in {duration(now - self._started)}"

    def _in_words(self, now: float) -> str:
        elapsed = now - self._started
        if not self._total:
            return f"{self._name}: {duration(elapsed)} so far"
        unit = self._unit or "done"
        share = self.done / self._total
        told = f"{self._name}: {self.done:,} of {self._total:,} {unit} ({share:.0%})"
        rate = self.done / max(elapsed, 1e-9)
        if not rate:
            return f"{told}, {duration(elapsed)} so far"
        speed = f"{rate:,.0f} {unit}/s" if rate >= 10 else f"{60 * rate:,.1f} {unit} a minute"
        return f"{told}, {speed}, {duration((self._total - self.done) / rate)} left"


def duration(seconds: float) -> str:
    """In the two largest units: 45 s, 2 min 5 s, 3 h 20 min."""
    whole = max(round(seconds), 0)
    if whole < 60:
        return f"{whole} s"
    if whole < 3_600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3_600} h {whole % 3_600 // 60} min"


class LogProgress:
    """Lines on a stream; a thread of each step says them when they are due."""

    def __init__(
        self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream, self._clock = stream, clock

    def __enter__(self) -> "LogProgress":
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing stays open."""

    @contextmanager
    def step(self, name: str, total: int | None) -> Iterator[Callable[[int], None]]:
        """Within it, calls of the value add to what is done."""
        log = StepLog(name, total, now=self._clock())
        ended = threading.Event()

        def say() -> None:
            while not ended.wait(LOOK_S):
                self._print(log.line(self._clock()))

        speaker = threading.Thread(target=say, name="progress", daemon=True)
        speaker.start()
        try:
            yield log.add
        finally:
            ended.set()
            speaker.join()
        self._print(log.last_line(self._clock()))

    def _print(self, line: str | None) -> None:
        if line is not None:
            print(line, file=self._stream or sys.stderr, flush=True)


class TerminalProgress:
    """One bar a step; a step whose end is not known by number only shows its time."""

    def __init__(self, console: Console) -> None:
        self._bars = Progress(
            TextColumn("{task.description:<20}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
        )

    def __enter__(self) -> "TerminalProgress":
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    @contextmanager
    def step(self, name: str, total: int | None) -> Iterator[Callable[[int], None]]:
        """Within it, calls of the value add to what is done."""
        bar = self._bars.add_task(name, total=total)
        yield lambda number: self._bars.advance(bar, number)
        self._bars.update(bar, total=total or 1, completed=total or 1)
        self._bars.stop_task(bar)


def progress_on(console: Console) -> TerminalProgress | LogProgress:
    """Bars where the console is a terminal; else lines on stderr."""
    return TerminalProgress(console) if console.is_terminal else LogProgress()


@contextmanager
def counted(name: str, total: int, count: Callable[[], int]) -> Iterator[None]:
    """Within it, a step on stderr of which `count` says, every now and then, how much is done.

    What was done before, by a run that was cut off, is left out of both numbers. count: called in a
    thread; what it raises ends the counting, not the work, and is said.
    """
    console, before = Console(stderr=True), count()
    with progress_on(console) as progress, progress.step(name, total - before) as advance:
        ended = threading.Event()

        def look() -> None:
            done = before
            while not ended.wait(COUNT_S):
                try:
                    new = count() - done
                except Exception as error:
                    print(f"progress is not shown any more: {error}", file=sys.stderr)
                    return
                if new > 0:  # what was counted is deleted in the end
                    advance(new)
                    done += new

        looker = threading.Thread(target=look, name="count", daemon=True)
        looker.start()
        try:
            yield
        finally:
            ended.set()
            looker.join()
