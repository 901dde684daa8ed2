"""What each step of a job took: seconds, and the peak memory of its processes."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

from jobs.common.progress import StepProgress

SAMPLE_S = 0.5


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
    """A StepProgress that hands on to another and measures each step.

    Memory is that of this process and all it started: with a Ray started here that is all of
    it, in a cluster joined it is the driver alone. Shared pages count once (PSS where the
    system has it, as Linux does; else RSS).
    """

    def __init__(self, progress: StepProgress) -> None:
        self._progress = progress
        self.stages: list[Stage] = []

    @contextmanager
    def step(self, name: str, total: int | None) -> Iterator[Callable[[int], None]]:
        """Within it, calls of the value add to what is done."""
        started = time.monotonic()
        with self._progress.step(name, total) as advance, _peak() as peak_bytes:
            yield advance
        self.stages.append(Stage(name, time.monotonic() - started, peak_bytes()))


@contextmanager
def _peak() -> Iterator[Callable[[], int]]:
    """The value is the peak in bytes until then, sampled every SAMPLE_S."""
    ended = threading.Event()
    highest = 0

    def sample() -> None:
        nonlocal highest
        while True:
            highest = max(highest, _memory_bytes())
            if ended.wait(SAMPLE_S):
                return

    sampler = threading.Thread(target=sample, name="memory", daemon=True)
    sampler.start()
    try:
        yield lambda: highest
    finally:
        ended.set()
        sampler.join()


def _memory_bytes() -> int:
    own = psutil.Process()
    total = 0
    for process in (own, *own.children(recursive=True)):
        try:
            memory = process.memory_full_info()
        except psutil.Error:  # it has ended, or is another user's
            continue
        total += getattr(memory, "pss", memory.rss)
    return total
