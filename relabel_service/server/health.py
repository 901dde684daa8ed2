"""Whether a replica reaches its queue database, on a thread of its own."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from relabel_service.errors import RelabelError, Unavailable

CHECK_WITHIN_S = 10.0
KEPT_S = 1.0  # an answer stands for whoever asks within this time, however many they are


class Health:
    """Asks one at a time, whatever the service's other threads wait for."""

    def __init__(self, check: Callable[[], None]) -> None:
        """check: returns, or raises what is wrong."""
        self._check = check
        self._thread = ThreadPoolExecutor(1, "health")
        self._asking = asyncio.Lock()
        self._asked_at = float("-inf")
        self._wrong: Unavailable | None = None

    async def check(self) -> None:
        """Raises Unavailable when the database does not answer within CHECK_WITHIN_S."""
        async with self._asking:
            if time.monotonic() - self._asked_at > KEPT_S:
                self._wrong = await self._ask()
                self._asked_at = time.monotonic()
        if self._wrong is not None:
            raise Unavailable(str(self._wrong))

    async def _ask(self) -> Unavailable | None:
        asked = asyncio.get_running_loop().run_in_executor(self._thread, self._check)
        try:
            await asyncio.wait_for(asked, CHECK_WITHIN_S)
        except TimeoutError:
            return Unavailable(f"the queue database has not answered for {CHECK_WITHIN_S:g} s")
        except RelabelError as error:
            return Unavailable(str(error))
        return None
