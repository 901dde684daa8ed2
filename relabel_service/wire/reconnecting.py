"""Streams that outlive their connection: opened again when it is lost, and given up when silent.

Owns when to open again. What a stream that was opened again must make up for is its opener's.
"""

import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import Any, TypeVar

from relabel_service.errors import Exhausted, Unavailable

FIRST_BACKOFF_S, MAX_BACKOFF_S = 0.1, 5.0
SILENCE_S = 60.0  # three heartbeats of the service (server/settings.py)

T = TypeVar("T")


def wait_before(number: int, failure: Unavailable | Exhausted, *, max_attempts: int) -> None:
    """Return when attempt `number` (from 1), which failed so, may be made again.

    Waits grow; RESOURCE_EXHAUSTED says by itself how long. Raises the failure after max_attempts,
    and where waiting does not help.
    """
    backoff_s = min(FIRST_BACKOFF_S * 2 ** (number - 1), MAX_BACKOFF_S)
    wait_s = backoff_s if isinstance(failure, Unavailable) else failure.retry_after_s
    if wait_s is None or number >= max_attempts:
        raise failure
    time.sleep(wait_s)


def reconnecting(
    open_stream: Callable[[bool], Generator[T | None, None, None]], *, max_attempts: int
) -> Iterator[T]:
    """What the streams give, one opened after the other is lost, until one ends by itself.

    open_stream: told whether it is opened again; gives None for a heartbeat. Raises what ended a
    stream, Unavailable and Exhausted only after max_attempts in a row in which nothing came.
    """
    number, is_again = 0, False
    while True:
        try:
            with closing(open_stream(is_again)) as responses:
                for response in responses:
                    number = 0
                    if response is not None:
                        yield response
            return
        except (Unavailable, Exhausted) as failure:
            number, is_again = number + 1, True
            wait_before(number, failure, max_attempts=max_attempts)


class Watchdog:
    """Cancels a call for whose next response somebody has waited too long."""

    def __init__(self, call: Any, *, silence_s: float) -> None:
        self._call, self._silence_s = call, silence_s
        self._waiting_since: float | None = None
        self._ended = threading.Event()
        self.has_bitten = False
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def responses(self) -> Iterator[Any]:
        """Those of the call, as they come."""
        try:
            while True:
                self._waiting_since = time.monotonic()
                try:
                    response = next(self._call)
                except StopIteration:
                    return
                finally:
                    self._waiting_since = None
                yield response
        finally:
            self._ended.set()

    def _watch(self) -> None:
        while not self._ended.wait(self._silence_s / 4):
            since = self._waiting_since
            if since is not None and time.monotonic() - since >= self._silence_s:
                self.has_bitten = True
                self._call.cancel()
                return
