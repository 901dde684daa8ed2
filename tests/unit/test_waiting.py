"""Calls that wait for items are woken by what changes, a few at a time."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from relabel_service.errors import NotFound
from relabel_service.queue.vacancies import Vacancies
from relabel_service.server.waiting import WaitingRooms

LABELER = "labeler"


class Queue:
    """A campaign whose free items a test changes."""

    def __init__(self) -> None:
        self.num_free = 0
        self.num_looks = 0
        self.num_attempts = 0
        self.num_leased: dict[str, int] = {}
        self.state = "active"
        self.next_expiry_s: float | None = None
        self.rooms = WaitingRooms(self.look)

    async def look(self, campaign: str, labelers: frozenset[str]) -> Vacancies:
        self.num_looks += 1
        roles = frozenset({LABELER} if self.num_free > 0 else ())
        counts = {name: self.num_leased.get(name, 0) for name in labelers}
        return Vacancies(self.state, roles, self.next_expiry_s, counts)

    async def take(self) -> str | None:
        self.num_attempts += 1
        await asyncio.sleep(0)
        if self.state != "active":
            raise NotFound("over")
        if self.num_free <= 0:
            return None
        self.num_free -= 1
        return "item"

    def wait(self, **named: Any) -> Awaitable[str | None]:
        waits: dict[str, Any] = {"role": LABELER, "labeler": "ann", "within_s": 60.0} | named
        return self.rooms.first("test", waits.pop("attempt", self.take), **waits)

    async def settled(self) -> None:
        """Return when the first attempts and looks are over."""
        before = -1
        while before != self.num_attempts + self.num_looks:
            before = self.num_attempts + self.num_looks
            for _ in range(20):
                await asyncio.sleep(0)


def running(test: Callable[[Queue], Awaitable[None]]) -> None:
    async def run() -> None:
        await asyncio.wait_for(test(Queue()), 30)

    asyncio.run(run())


def test_a_thousand_who_wait_make_one_look_and_as_many_turns_as_there_are_items() -> None:
    async def test(queue: Queue) -> None:
        waiting = [asyncio.ensure_future(queue.wait()) for _ in range(1000)]
        await queue.settled()
        attempts, looks = queue.num_attempts, queue.num_looks
        queue.num_free = 3
        queue.rooms.changed("test")
        done, others = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        while len(done) < 3:
            more, others = await asyncio.wait(others, return_when=asyncio.FIRST_COMPLETED)
            done |= more
        assert [one.result() for one in done] == ["item"] * 3
        assert queue.num_attempts - attempts <= 6  # two groups of turns
        assert queue.num_looks - looks <= 40
        for one in others:
            one.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        assert not queue.rooms._rooms

    running(test)


def test_whoever_finds_nothing_for_itself_lets_the_next_one_try() -> None:
    async def test(queue: Queue) -> None:
        async def in_vain() -> str | None:
            return None

        others = [asyncio.ensure_future(queue.wait(attempt=in_vain)) for _ in range(50)]
        mine = asyncio.ensure_future(queue.wait())
        queue.num_free = 1
        assert await mine == "item"
        for one in others:
            one.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    running(test)


def test_an_expiry_is_looked_at_when_it_is_due_without_any_change() -> None:
    async def test(queue: Queue) -> None:
        queue.next_expiry_s = 0.05
        waiting = asyncio.ensure_future(queue.wait())
        await queue.settled()
        queue.num_free = 1
        assert await waiting == "item"

    running(test)


def test_time_that_is_up_is_told_and_nobody_stays() -> None:
    async def test(queue: Queue) -> None:
        assert await queue.wait(within_s=0.01) is None
        assert not queue.rooms._rooms
        queue.rooms.changed("test")  # nobody is there any more

    running(test)


def test_a_stream_that_has_all_it_wants_is_woken_when_it_has_less() -> None:
    async def test(queue: Queue) -> None:
        queue.num_leased = {"ann": 2}
        queue.num_free = 9
        waiting = asyncio.ensure_future(queue.wait(below=2, within_s=None))
        await queue.settled()
        assert queue.num_attempts == 0
        queue.num_leased = {"ann": 1}
        queue.rooms.changed("test")
        assert await waiting == "item"

    running(test)


def test_the_end_of_a_campaign_and_a_look_that_fails_are_told_to_all() -> None:
    async def test(queue: Queue) -> None:
        waiting = [asyncio.ensure_future(queue.wait()) for _ in range(40)]
        await queue.settled()
        queue.state = "closed"
        queue.rooms.changed("test")
        ends = await asyncio.gather(*waiting, return_exceptions=True)
        assert {str(error) for error in ends} == {"over"}

        async def broken(campaign: str, labelers: frozenset[str]) -> Vacancies:
            raise NotFound("gone")

        queue.rooms = WaitingRooms(broken)
        with pytest.raises(NotFound, match="gone"):
            await queue.wait()

    running(test)
