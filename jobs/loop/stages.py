"""What each step of a job took: seconds, and the most memory its processes held at once."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

import psutil

SAMPLE_S = 0.5


class Progress(Protocol):
    """Shows how far a step is."""

    def step(self, name: str, total: int | None) -> AbstractContextManager[Callable[[int], None]]:
        """Within it, calls of the value add to what is done."""


@dataclass(frozen=True)
class Stage:
    """seconds: of the wall clock. peak_bytes: see Stages."""

    name: str
    seconds: float
    peak_bytes: int

    def then(self, other: "Stage") -> "Stage":
        """Both as one: a step that was cut off, and its repetition."""
        peak_bytes = max(self.peak_bytes, other.peak_bytes)
        return Stage(self.name, self.seconds + other.seconds, peak_bytes)


class Stages:
    """A Progress that hands on to another and measures each step.

    Memory is that of this process and all it started: with a Ray started here that is all of
    it, in a cluster joined it is the driver alone. Shared pages count once (PSS where the
    system tells it, as Linux does; else RSS).
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.done: list[Stage] = []

    @contextmanager
    def step(self, name: str, total: int | None) -> Iterator[Callable[[int], None]]:
        """Within it, calls of the value add to what is done."""
        started = time.monotonic()
        with self._progress.step(name, total) as advance, _peak() as peak_bytes:
            yield advance
        self.done.append(Stage(name, time.monotonic() - started, peak_bytes()))


@contextmanager
def _peak() -> Iterator[Callable[[], int]]:
    """The value tells the most bytes held at once until then, looked at every SAMPLE_S."""
    ended = threading.Event()
    highest = 0

    def watch() -> None:
        nonlocal highest
        while True:
            highest = max(highest, _held_bytes())
            if ended.wait(SAMPLE_S):
                return

    watcher = threading.Thread(target=watch, name="memory", daemon=True)
    watcher.start()
    try:
        yield lambda: highest
    finally:
        ended.set()
        watcher.join()


def _held_bytes() -> int:
    own = psutil.Process()
    held = 0
    for process in (own, *own.children(recursive=True)):
        try:
            memory = process.memory_full_info()
        except psutil.Error:  # it has ended, or is another user's
            continue
        held += getattr(memory, "pss", memory.rss)
    return held
