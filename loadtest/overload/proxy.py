"""A TCP proxy before Cassandra that lets so many bytes a second through: a store of a capacity."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_CHUNK = 4096


class Throttle:
    """All connections together send at most `bytes_per_second` to the store; None: any number."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.bytes_per_second: float | None = None
        self.port = 0
        self._target = target
        self._free_at = 0.0

    async def serve(self, ready: threading.Event) -> None:
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        async with server:
            await server.serve_forever()

    async def _connection(
        self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter
    ) -> None:
        store, to_store = await asyncio.open_connection(*self._target)
        try:
            await asyncio.gather(
                self._copy(client, to_store, slow=True), self._copy(store, to_client, slow=False)
            )
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            to_store.close()
            to_client.close()

    async def _copy(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, slow: bool
    ) -> None:
        while data := await source.read(_CHUNK):
            if slow and self.bytes_per_second:
                await self._turn(len(data) / self.bytes_per_second)
            target.write(data)
            await target.drain()
        target.close()

    async def _turn(self, seconds: float) -> None:
        """Wait until the pipe that all share has carried this much."""
        now = asyncio.get_running_loop().time()
        self._free_at = max(self._free_at, now) + seconds
        await asyncio.sleep(self._free_at - now)


@contextmanager
def throttle(target: tuple[str, int]) -> Iterator[Throttle]:
    """A proxy in a thread of its own."""
    made, ready = Throttle(target), threading.Event()
    loop = asyncio.new_event_loop()
    task = loop.create_task(made.serve(ready))

    def run() -> None:
        try:
            loop.run_until_complete(task)
        except asyncio.CancelledError:
            pass
        finally:
            for other in asyncio.all_tasks(loop):
                other.cancel()
            loop.run_until_complete(asyncio.sleep(0))
            loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield made
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join(10)
