"""How much one caller may ask for at once."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from relabel_service.errors import Exhausted

MAX_CALLERS = 10_000  # remembered; one that comes back after being forgotten starts afresh


@dataclass(frozen=True)
class Limits:
    """Of one caller. The call rate is each replica's own; the rest holds for all together."""

    calls_per_s: float = 1000.0
    burst: int = 2000
    max_leases: int = 2000
    """Leases in force in one campaign."""
    max_leases_in_all: int = 5000
    """Leases in force in all campaigns together."""
    max_share: float = 0.25
    """Of a campaign's items, that a caller may have leased at once; 20 items in any case."""
    max_request_bytes: int = 4 * 2**20
    max_response_bytes: int = 3 * 2**20
    """Of the leases in one response; a gRPC client refuses more than 4 MiB by default."""
    max_calls: int = 250
    """Short calls that run or wait for a thread. Of each replica."""
    max_streams: int = 50
    """Calls that last: streams, and LeaseItems with wait. Of each replica."""
    max_item_bytes: int = 2**20
    """Of an item that travels with its lease; a larger one is streamed by ReadItem."""


DEFAULT_LIMITS = Limits()


class Rate:
    """A token bucket a caller: bursts pass, a steady rate above the limit does not."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # left, when

    def spend(self, caller: str) -> None:
        """Count one call. Raises Exhausted, saying after how long to ask again."""
        now = self._clock()
        with self._lock:
            left, then = self._buckets.pop(caller, (float(self._limits.burst), now))
            left = min(self._limits.burst, left + (now - then) * self._limits.calls_per_s)
            self._buckets[caller] = (left - 1 if left >= 1 else left, now)
            if len(self._buckets) > MAX_CALLERS:
                self._buckets.popitem(last=False)
        if left < 1:
            wait_s = (1 - left) / self._limits.calls_per_s
            raise Exhausted(
                f"{caller!r} calls more than {self._limits.calls_per_s:g} times a second; "
                f"ask again in {wait_s:.3f} s, with more items a call",
                retry_after_s=wait_s,
            )
