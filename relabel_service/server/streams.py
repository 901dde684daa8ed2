"""How many calls may be open, and one look at the queue for all that want to see the same."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator
from contextlib import aclosing, contextmanager
from typing import Any, Generic, TypeVar

from relabel_service.errors import Exhausted

RETRY_AFTER_S = 5.0

T = TypeVar("T")


class Slots:
    """Places for calls, of one event loop. Beyond them a call is refused, not queued: those that
    wait would keep others waiting, too."""

    def __init__(self, *, each: int, total: int, what: str) -> None:
        """each: of one caller; total: of all; what: the calls, in the plural."""
        self._each, self._total, self._what = each, total, what
        self._taken: Counter[str] = Counter()

    @contextmanager
    def take(self, caller: str) -> Iterator[None]:
        """Within it, one more is open. Raises Exhausted, saying when to ask again."""
        if self._taken[caller] >= self._each:
            raise Exhausted(
                f"{self._each} {self._what} are open from this caller; end one, or ask again later",
                retry_after_s=RETRY_AFTER_S,
            )
        if self._taken.total() >= self._total:
            raise Exhausted(
                f"{self._total} {self._what} are open; ask again later",
                retry_after_s=RETRY_AFTER_S,
            )
        self._taken[caller] += 1
        try:
            yield
        finally:
            self._taken[caller] -= 1
            if not self._taken[caller]:
                del self._taken[caller]


async def with_heartbeats(
    items: AsyncGenerator[T, None], *, every_s: float, heartbeat: T
) -> AsyncGenerator[T, None]:
    """The items, and a heartbeat whenever none has come for every_s."""
    following: asyncio.Future[T | None] | None = None
    try:
        while True:
            following = asyncio.ensure_future(anext(items, None))
            while not (await asyncio.wait({following}, timeout=every_s))[0]:
                yield heartbeat
            item = following.result()
            if item is None:
                return
            yield item
    finally:
        await _end(items, following)


async def ending(
    items: AsyncGenerator[T, None], *, after_s: float, failure: Exception
) -> AsyncGenerator[T, None]:
    """The items that come within after_s; then the failure is raised."""
    loop = asyncio.get_running_loop()
    ends = loop.time() + after_s
    following: asyncio.Future[T | None] | None = None
    try:
        while True:
            left_s = ends - loop.time()
            if left_s <= 0:
                raise failure
            following = asyncio.ensure_future(anext(items, None))
            if not (await asyncio.wait({following}, timeout=left_s))[0]:
                raise failure
            item = following.result()
            if item is None:
                return
            yield item
    finally:
        await _end(items, following)


async def _end(items: AsyncGenerator[T, None], following: asyncio.Future[T | None] | None) -> None:
    if following is not None and not following.done():
        following.cancel()
        await asyncio.wait({following})  # a generator that still runs cannot be closed
    await items.aclose()


async def until(
    stopping: asyncio.Event, items: AsyncGenerator[T, None], *, error: Exception
) -> AsyncGenerator[T, None]:
    """The items; raises the error instead of the next one once `stopping` is set."""
    stopped = asyncio.ensure_future(stopping.wait())
    following: asyncio.Future[T | None] | None = None
    try:
        while True:
            following = asyncio.ensure_future(anext(items, None))
            both: set[asyncio.Future[Any]] = {following, stopped}
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if not following.done():
                raise error
            item = following.result()
            if item is None:
                return
            yield item
    finally:
        stopped.cancel()
        if following is not None and not following.done():
            following.cancel()
            await asyncio.wait({following})  # a generator that still runs cannot be closed
        await items.aclose()


async def unless(stopping: asyncio.Event, wait: Coroutine[Any, Any, T]) -> T | None:
    """What is waited for; None once `stopping` is set."""
    waiting = asyncio.ensure_future(wait)
    both: set[asyncio.Future[Any]] = {waiting, asyncio.ensure_future(stopping.wait())}
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        return waiting.result() if waiting.done() else None
    finally:
        for task in both:
            if not task.done():
                task.cancel()
                await asyncio.wait({task})


class Shared(Generic[T]):
    """What is long in counting, by key, counted once for all who ask meanwhile."""

    def __init__(self, *, kept_from_s: float, share: float, most_s: float) -> None:
        """kept_from_s: a result that took as long is kept; so long that counting takes `share` of
        the time, and most_s at most."""
        self._kept_from_s, self._share, self._most_s = kept_from_s, share, most_s
        self._counts: dict[str, _Counted[T]] = {}

    async def get(self, key: str, count: Callable[[], Awaitable[T]]) -> T:
        """One that was begun after this call, or that is kept. Raises what counting raises."""
        asked_at = time.monotonic()
        counted = self._counts.setdefault(key, _Counted())
        counted.num_asking += 1
        try:
            async with counted.lock:
                now = time.monotonic()
                for value in counted.values:
                    if counted.begun_at >= asked_at or now < counted.kept_until:
                        return value
                value = await count()
                took_s = time.monotonic() - now
                kept_s = took_s / self._share if took_s >= self._kept_from_s else 0.0
                counted.begun_at, counted.values = now, [value]
                counted.kept_until = now + took_s + min(kept_s, self._most_s)
                return value
        finally:
            counted.num_asking -= 1
            if not counted.num_asking and time.monotonic() >= counted.kept_until:
                self._counts.pop(key, None)


class _Counted(Generic[T]):
    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.num_asking = 0
        self.begun_at = self.kept_until = float("-inf")
        self.values: list[T] = []  # the last one


class Feeds(Generic[T]):
    """What changes, by key, looked at once for all who follow it."""

    def __init__(self, *, every_s: float, share: float) -> None:
        """every_s: between two looks; longer where a look takes more than `share` of the time."""
        self._every_s, self._share = every_s, share
        self._feeds: dict[str, _Feed[T]] = {}

    async def follow(self, key: str, look: Callable[[], Awaitable[T]]) -> AsyncGenerator[T, None]:
        """What is seen now, and after each change. Raises what a look raises, to all who follow."""
        feed = self._feeds.get(key)
        if feed is None or feed.is_over:
            feed = self._feeds[key] = _Feed(look, every_s=self._every_s, share=self._share)
        try:
            async with aclosing(feed.follow()) as following:
                async for seen in following:
                    yield seen
        finally:
            if feed.is_over and self._feeds.get(key) is feed:
                del self._feeds[key]


class _Feed(Generic[T]):
    def __init__(self, look: Callable[[], Awaitable[T]], *, every_s: float, share: float) -> None:
        self._look, self._every_s, self._share = look, every_s, share
        self._num_followers = 0
        self._changed = asyncio.Event()  # replaced at each change
        self._seen: list[T] = []  # the last one
        self._error: Exception | None = None
        self._looking: asyncio.Task[None] | None = None

    @property
    def is_over(self) -> bool:
        return self._looking is not None and (self._looking.done() or not self._num_followers)

    async def follow(self) -> AsyncGenerator[T, None]:
        self._num_followers += 1
        if self._looking is None:
            self._looking = asyncio.create_task(self._keep_looking())
        try:
            while True:
                changed = self._changed
                for seen in self._seen:
                    yield seen
                if changed is self._changed:
                    if self._error is not None:
                        raise self._error
                    await changed.wait()
        finally:
            self._num_followers -= 1
            if not self._num_followers:
                self._looking.cancel()

    async def _keep_looking(self) -> None:
        while True:
            began = time.monotonic()
            try:
                seen = await self._look()
            except Exception as error:
                self._error = error
                self._changed.set()
                return
            took_s = time.monotonic() - began
            if [seen] != self._seen:
                self._seen = [seen]
                self._changed.set()
                self._changed = asyncio.Event()
            await asyncio.sleep(max(self._every_s, took_s / self._share))
