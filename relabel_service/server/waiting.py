"""Calls that wait for items, in one event loop: woken when some may be free, first come first.

Waiting costs no thread and no query of one's own. One look at the queue serves all who wait in
a campaign: after each change in this replica, when the next lease expires, and once in a while
for what other replicas changed (PostgreSQL's LISTEN does not pass PgBouncer's transaction
pooling). Then a few at a time have their turn to lease, until nobody finds anything.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import TypeVar

from relabel_service.queue.vacancies import Vacancies

LOOK_EVERY_S = 1.0  # no lease is shorter, so none expires unseen, whichever replica gave it
LOOK_APART_S = 0.02  # changes within this time are looked at together
LOOK_SHARE = 0.1  # of the time that looks, and turns in vain, may take
TURNS_AT_ONCE = 3
TURNS_IN_VAIN = 30  # before the next pause
GIVES_LEASES = ("active", "paused")  # now or later

T = TypeVar("T")
Look = Callable[[str, frozenset[str]], Awaitable[Vacancies]]
"""Of a campaign, and the labelers whose leases are to be counted."""


class _Waiter:
    def __init__(self, role: str, labeler: str, below: int | None) -> None:
        """below: waits until the labeler has fewer leases, rather than for free items."""
        self._role, self.labeler, self.below = role, labeler, below
        self._turn = asyncio.Event()
        self._ended = asyncio.Event()
        self._error: Exception | None = None
        self.has_found = False

    def may_find(self, seen: Vacancies) -> bool:
        if seen.state not in GIVES_LEASES:
            return True  # to be told so
        if self.below is not None:
            return seen.num_leased.get(self.labeler, 0) < self.below
        return self._role in seen.roles

    async def has_turn_before(self, ends: float | None) -> bool:
        """Return True when it is this one's turn, False at that time of the loop's."""
        try:
            async with asyncio.timeout_at(ends):
                await self._turn.wait()
        except TimeoutError:
            return False
        if self._error is not None:
            raise self._error
        return True

    def call(self) -> asyncio.Event:
        """It is this one's turn; the event is its end."""
        self._ended = asyncio.Event()
        self.has_found = False
        self._turn.set()
        return self._ended

    def end_turn(self, *, has_found: bool) -> None:
        self.has_found = has_found
        self._turn.clear()
        self._ended.set()

    def fail(self, error: Exception) -> None:
        self._error = error
        self._turn.set()


class WaitingRooms:
    """A room for each campaign in which somebody waits."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._rooms: dict[str, _Room] = {}

    def changed(self, campaign: str) -> None:
        """Whoever waits there should look. Safe to call from any thread."""
        if room := self._rooms.get(campaign):
            with suppress(RuntimeError):  # the loop has ended, and with it whoever waited
                room.loop.call_soon_threadsafe(room.changed.set)

    async def first(
        self,
        campaign: str,
        attempt: Callable[[], Awaitable[T | None]],
        *,
        role: str,
        labeler: str,
        below: int | None = None,
        within_s: float | None = None,
    ) -> T | None:
        """What an attempt gives that is not None, or None when the time is up.

        Raises what an attempt or a look raises.
        """
        room = self._rooms.get(campaign)
        if room is None:
            room = self._rooms[campaign] = _Room(campaign, self._look)
        waiter = _Waiter(role, labeler, below)
        ends = None if within_s is None else room.loop.time() + within_s
        room.enter(waiter)
        try:
            while await waiter.has_turn_before(ends):
                found = await attempt()
                if found is not None:
                    waiter.end_turn(has_found=True)
                    return found
                waiter.end_turn(has_found=False)
                room.enter(waiter)  # behind the others
            return None
        finally:
            room.leave(waiter)
            if room.is_empty and self._rooms.get(campaign) is room:
                del self._rooms[campaign]


class _Room:
    def __init__(self, campaign: str, look: Look) -> None:
        self._campaign, self._look = campaign, look
        self.loop = asyncio.get_running_loop()
        self.changed = asyncio.Event()
        self._state = ""
        self._waiters: dict[_Waiter, None] = {}  # in the order of their turns
        self._task = self.loop.create_task(self._serve())

    @property
    def is_empty(self) -> bool:
        return not self._waiters

    def enter(self, waiter: _Waiter) -> None:
        self._waiters.pop(waiter, None)
        self._waiters[waiter] = None

    def leave(self, waiter: _Waiter) -> None:
        del self._waiters[waiter]
        if not waiter.has_found:
            waiter.end_turn(has_found=False)  # as when whoever called has gone
        if not self._waiters:
            self._task.cancel()

    async def _serve(self) -> None:
        while True:
            self.changed.clear()
            began = self.loop.time()
            counted = frozenset(one.labeler for one in self._waiters if one.below is not None)
            try:
                seen = await self._look(self._campaign, counted)
            except Exception as error:
                for waiter in self._waiters:
                    waiter.fail(error)
                await asyncio.sleep(LOOK_EVERY_S)
                continue
            looked = self.loop.time()
            is_news, self._state = seen.state != self._state, seen.state
            called = [
                one for one in self._waiters if one.may_find(seen) or (is_news and not one.below)
            ]
            num_turns, has_found = await self._give_turns(called)
            if has_found:
                continue  # there may be more
            pause_s = (self.loop.time() - began) * (1 - LOOK_SHARE) / LOOK_SHARE
            await asyncio.sleep(min(max(pause_s, LOOK_APART_S), LOOK_EVERY_S))
            if num_turns < len(called):
                continue
            ends = looked + LOOK_EVERY_S
            if seen.next_expiry_s is not None:
                ends = min(ends, looked + seen.next_expiry_s)
            with suppress(TimeoutError):
                async with asyncio.timeout_at(ends):
                    await self.changed.wait()

    async def _give_turns(self, called: Sequence[_Waiter]) -> tuple[int, bool]:
        """How many had a turn, and whether one of them found something."""
        num_turns = 0
        while num_turns < min(len(called), TURNS_IN_VAIN):
            group = called[num_turns : num_turns + TURNS_AT_ONCE]
            present = [waiter for waiter in group if waiter in self._waiters]
            await asyncio.gather(*(waiter.call().wait() for waiter in present))
            num_turns += len(group)
            if any(waiter.has_found for waiter in present):
                return num_turns, True
        return num_turns, False
