"""A TCP link between the service and its database that may fall silent: a partition of the network.

While it is silent nothing is forwarded and nothing is closed, as when a switch drops packets.
"""

import asyncio
import threading
from typing import Any

from tests.support.ports import free_port

CHUNK = 1 << 16


class Link:
    """Forwards what it accepts on `port`, on a thread of its own, until the block ends."""

    def __init__(self, to_port: int) -> None:
        self.port = free_port()
        self._to_port = to_port
        self._loop = asyncio.new_event_loop()
        self._flows = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        self._open: set[asyncio.Task[Any]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="link", daemon=True)

    def __enter__(self) -> "Link":
        self._thread.start()
        starting = asyncio.start_server(self._forward, "127.0.0.1", self.port)
        self._server = asyncio.run_coroutine_threadsafe(starting, self._loop).result()
        self._loop.call_soon_threadsafe(self._flows.set)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def silence(self) -> None:
        self._loop.call_soon_threadsafe(self._flows.clear)

    def heal(self, *, forgets: bool) -> None:
        """Forward again. forgets: connections of before are reset, as by a firewall that lost
        track of them; what was under way on them is lost."""
        if forgets:
            self._loop.call_soon_threadsafe(self._cut)
        self._loop.call_soon_threadsafe(self._flows.set)

    async def _end(self) -> None:
        self._server.close()
        self._flows.set()
        self._cut()
        await asyncio.gather(*self._open, return_exceptions=True)

    def _cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            await self._flows.wait()
            there = await asyncio.open_connection("127.0.0.1", self._to_port)
            self._writers.add(there[1])
            try:
                await asyncio.gather(self._pump(reader, there[1]), self._pump(there[0], writer))
            finally:
                self._writers.discard(there[1])
                there[1].transport.abort()
        except OSError:  # one of the two has gone, and so does the other
            pass
        finally:
            self._writers.discard(writer)
            self._open.discard(task)
            writer.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(CHUNK):
            await self._flows.wait()
            writer.write(data)
            await writer.drain()
        writer.close()
