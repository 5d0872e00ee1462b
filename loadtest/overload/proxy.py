"""A TCP proxy before Cassandra that can delay, limit, damage, drop, cut or refuse traffic."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

_CHUNK = 4096


class Proxy:
    """A proxy whose attributes cause failures, at any time and in all connections."""

    def __init__(self, target: tuple[str, int], listen: tuple[str, int]) -> None:
        self.bytes_per_second: float | None = None  # to the store, of all connections
        self.latency = 0.0  # seconds each way
        self.lost = 0.0  # share of chunks that lose a byte, each way
        self.damaged = 0  # chunks that have lost one
        self.silent = False  # accepts everything and passes nothing on
        self.cutting = False  # passes half of an answer on and closes the connection
        self.host, self.port = listen
        self._target = target
        self._free_at = 0.0
        self._server: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._open: set[asyncio.StreamWriter] = set()
        self._connections: set[asyncio.Task[None]] = set()

    def run(self) -> None:
        """Run until `stop`."""
        self._loop.run_forever()
        self._loop.run_until_complete(self._end())
        self._loop.close()

    async def _end(self) -> None:
        await self._refuse()
        await asyncio.sleep(0.1)  # let connections end; asyncio reports cancelled ones
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
        await self._refuse()  # a connection whose task was cancelled before it began is still open
        await asyncio.sleep(0)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)

    def refuse(self) -> None:
        """Close every connection, and refuse new ones until `listen`."""
        self._call(self._refuse())

    def listen(self) -> None:
        """Accept connections; do nothing if it does already."""
        self._call(self._listen())

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _listen(self) -> None:
        if self._server is not None:
            return
        self._server = await asyncio.start_server(self._accept, self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _refuse(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in self._open:
            writer.transport.abort()

    def _accept(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        self._open.add(to_client)
        task = self._loop.create_task(self._connection(client, to_client))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _connection(
        self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter
    ) -> None:
        # Both ends are closed before anything else is awaited: the proxy may be ended meanwhile,
        # and a connection whose other end has gone is closed by nobody else.
        with self._kept(to_client):
            try:
                store, to_store = await asyncio.open_connection(*self._target)
            except OSError:
                return
            with self._kept(to_store):
                ways = [
                    asyncio.create_task(self._to_store(client, to_store)),
                    asyncio.create_task(self._to_client(store, to_client)),
                ]
                try:
                    await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for way in ways:
                        way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)

    @contextmanager
    def _kept(self, writer: asyncio.StreamWriter) -> Iterator[None]:
        """Let `refuse` close this end of a connection, and close it at last."""
        self._open.add(writer)
        try:
            yield
        finally:
            self._open.discard(writer)
            writer.transport.abort()

    async def _to_store(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        async with _Late(target) as late:
            while data := await source.read(_CHUNK):
                if self.bytes_per_second:
                    await self._turn(len(data) / self.bytes_per_second)
                if not self.silent:
                    late.write(self._damaged(data), self.latency)

    async def _to_client(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        async with _Late(target) as late:
            while data := await source.read(_CHUNK):
                if self.cutting:
                    target.write(data[: len(data) // 2])
                    return await target.drain()
                if not self.silent:
                    late.write(self._damaged(data), self.latency)
        return None

    def _damaged(self, data: bytes) -> bytes:
        if random.random() >= self.lost:
            return data
        self.damaged += 1
        at = random.randrange(len(data))
        return data[:at] + data[at + 1 :]

    async def _turn(self, seconds: float) -> None:
        """Wait until the pipe that all connections share has carried so many bytes."""
        now = self._loop.time()
        self._free_at = max(self._free_at, now) + seconds
        await asyncio.sleep(self._free_at - now)


class _Late:
    """Writes what it is given in order, each part when it is due."""

    def __init__(self, target: asyncio.StreamWriter) -> None:
        self._target = target
        self._queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()

    async def __aenter__(self) -> _Late:
        self._task = asyncio.create_task(self._deliver())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def write(self, data: bytes, latency: float) -> None:
        self._queue.put_nowait((self._loop.time() + latency, data))

    async def _deliver(self) -> None:
        while True:
            due, data = await self._queue.get()
            await asyncio.sleep(due - self._loop.time())
            self._target.write(data)
            await self._target.drain()


@contextmanager
def proxy(target: tuple[str, int], listen: tuple[str, int] = ("127.0.0.1", 0)) -> Iterator[Proxy]:
    """Run a proxy in a thread of its own."""
    made = Proxy(target, listen)
    thread = threading.Thread(target=made.run, daemon=True)
    thread.start()
    try:
        made.listen()
        yield made
        made.refuse()
    finally:
        made.stop()
        thread.join(10)
