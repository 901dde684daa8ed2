"""Calls of one kind that come while others are made, made together: one transaction for them all.

Nobody waits for company: a call that comes alone is made alone. Under load a transaction's
statements, and the threads, are shared by all who came while the one before it ran.
"""

import asyncio
import functools
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

AT_ONCE = 2  # transactions: one computes while the other waits for the database
MAX_CALLS = 64
MAX_ITEMS = 4000  # that the calls of one transaction are about

C = TypeVar("C")
R = TypeVar("R")
K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True)
class _Pending(Generic[C, R]):
    call: C
    num_items: int
    response: "asyncio.Future[R]"


class Together(Generic[K, C, R]):
    """Of one event loop."""

    def __init__(self, make: Callable[[K, Sequence[C]], Sequence[R]]) -> None:
        """make: blocks; a response for each of the calls, which have one key."""
        self._make = make
        self._threads = ThreadPoolExecutor(AT_ONCE, "together")
        self._pending: dict[K, list[_Pending[C, R]]] = {}  # the longest waiting first
        self._num_running = 0

    async def call(self, key: K, call: C, *, num_items: int) -> R:
        """The response to one call, which may be made with others of its key. Raises what `make`
        raises, as all that were made with it do."""
        response: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._pending.setdefault(key, []).append(_Pending(call, num_items, response))
        self._start()
        return await response

    def _start(self) -> None:
        while self._pending and self._num_running < AT_ONCE:
            key = next(iter(self._pending))
            made = self._take(key)
            self._num_running += 1
            running = asyncio.get_running_loop().run_in_executor(
                self._threads, self._make, key, [each.call for each in made]
            )
            running.add_done_callback(functools.partial(self._end, made))

    def _take(self, key: K) -> list[_Pending[C, R]]:
        waiting = self._pending.pop(key)
        num = num_items = 0
        for each in waiting[:MAX_CALLS]:
            num_items += each.num_items
            if num and num_items > MAX_ITEMS:
                break
            num += 1
        if waiting[num:]:
            self._pending[key] = waiting[num:]  # behind other keys
        return waiting[:num]

    def _end(self, made: Sequence[_Pending[C, R]], running: "asyncio.Future[Sequence[R]]") -> None:
        self._num_running -= 1
        error = running.exception()
        for number, each in enumerate(made):
            if each.response.done():
                continue  # whoever called has gone
            if error is not None:
                each.response.set_exception(error)
            else:
                each.response.set_result(running.result()[number])
        self._start()
