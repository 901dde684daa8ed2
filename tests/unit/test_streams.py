"""Calls that last: capped by caller and in all, and one look serves all who watch the same."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import ExitStack, aclosing

import pytest

from relabel_service.errors import Exhausted, Unauthenticated
from relabel_service.server.streams import Feeds, Slots, ending


def test_places_are_capped_by_caller_and_in_all_and_come_free() -> None:
    slots = Slots(each=2, total=3, what="streams")
    with ExitStack() as stack:
        for caller in ("ann", "ann", "bob"):
            stack.enter_context(slots.take(caller))
        with (
            pytest.raises(Exhausted, match="2 streams are open from this caller") as refused,
            slots.take("ann"),
        ):
            pass
        assert refused.value.retry_after_s
        with pytest.raises(Exhausted, match="3 streams are open;"), slots.take("cat"):
            pass
    with slots.take("ann"), slots.take("ann"), slots.take("cat"):
        pass


def test_one_look_serves_all_who_follow_and_ends_with_the_last() -> None:
    async def follow_all() -> None:
        numbers = {"now": 0, "looks": 0}
        looked = asyncio.Event()

        async def look() -> int:
            numbers["looks"] += 1
            looked.set()
            return numbers["now"]

        feeds: Feeds[int] = Feeds(every_s=0.0, share=1.0)

        async def first_two(changed: bool) -> list[int]:
            seen = []
            async with aclosing(feeds.follow("key", look)) as following:
                async for value in following:
                    seen.append(value)
                    numbers["now"] = 1 if changed else numbers["now"]
                    if len(seen) == 2:
                        break
            return seen

        followers = [first_two(changed) for changed in (False,) * 20 + (True,)]
        assert await asyncio.gather(*followers) == [[0, 1]] * 21
        assert numbers["looks"] < 21
        looked.clear()
        await asyncio.sleep(0)  # a look that goes on would come now
        assert not looked.is_set()

    asyncio.run(follow_all())


def test_a_look_that_fails_is_told_to_all_who_follow_and_tried_again_for_the_next() -> None:
    async def follow_all() -> None:
        answers: list[Exception | int] = [ValueError("no"), 7]

        async def look() -> int:
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

        feeds: Feeds[int] = Feeds(every_s=0.0, share=1.0)

        async def first() -> int:
            async with aclosing(feeds.follow("key", look)) as following:
                async for value in following:
                    return value
            raise AssertionError

        failed = await asyncio.gather(first(), first(), return_exceptions=True)
        assert [str(error) for error in failed] == ["no", "no"]
        assert await first() == 7

    asyncio.run(follow_all())


def test_a_stream_ends_with_the_token_that_opened_it() -> None:
    ended = []

    async def items() -> AsyncGenerator[int, None]:
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def append_all(stream: AsyncGenerator[int, None], seen: list[int]) -> None:
        while True:
            seen.append(await anext(stream))

    async def read(after_s: float) -> list[int]:
        seen: list[int] = []
        failure = Unauthenticated("the token has expired")
        async with aclosing(ending(items(), after_s=after_s, failure=failure)) as stream:
            with pytest.raises(Unauthenticated, match="expired"):
                await append_all(stream, seen)
        return seen

    assert asyncio.run(read(0.1)) == [1]
    assert asyncio.run(read(-5.0)) == []
    assert ended == [True]
