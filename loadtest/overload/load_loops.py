"""Two loads: one that sends by the clock whatever is answered, and one that waits for answers."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Outcome:
    """The result of the requests that were due; latencies in seconds by status."""

    seconds: float = 0.0
    missed: int = 0  # not sent, because no connection was free
    torn: int = 0
    without_retry_after: int = 0
    latencies: dict[int, list[float]] = field(default_factory=dict)

    def count(self, status: int) -> int:
        return len(self.latencies.get(status, ()))

    def percentile(self, status: int, share: float) -> float:
        """Return a latency percentile in seconds; 0 without answers."""
        ordered = sorted(self.latencies.get(status, ()))
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0

    @property
    def statuses(self) -> Counter[int]:
        return Counter({status: len(found) for status, found in self.latencies.items()})


class _Connection(asyncio.Protocol):
    def __init__(self, client: _Client) -> None:
        self._client = client
        self._buffer = b""
        self._done: Callable[[int, bytes], None] | None = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def send(self, request: bytes, done: Callable[[int, bytes], None]) -> None:
        self._done = done
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, end, body = self._buffer.partition(b"\r\n\r\n")
        if not end:
            return
        head = head.lower()
        length = int(head.partition(b"content-length:")[2].partition(b"\r")[0])
        if len(body) >= length and self._done:
            done, self._done, self._buffer = self._done, None, b""
            done(int(head[9:12]), head)
            if b"connection: close" not in head:
                self._client.idle.append(self)

    def connection_lost(self, _: Exception | None) -> None:
        self._client.open -= 1
        if self in self._client.idle:
            self._client.idle.remove(self)
        if self._done:
            self._client.outcome.torn += 1


class _Client:
    def __init__(self, port: int, connections: int) -> None:
        self.port = port
        self.most = connections
        self.open = 0
        self.idle: list[_Connection] = []
        self.outcome = Outcome()

    async def connection(self) -> _Connection | None:
        if self.idle:
            return self.idle.pop()
        if self.open >= self.most:
            return None
        self.open += 1
        loop = asyncio.get_running_loop()
        try:
            _, made = await loop.create_connection(
                lambda: _Connection(self), "127.0.0.1", self.port
            )
        except OSError:
            self.open -= 1
            return None
        return made

    def close(self) -> None:
        for connection in list(self.idle):
            connection.transport.close()


async def open_loop(
    port: int, requests: Sequence[bytes], per_second: float, seconds: float, connections: int = 1000
) -> Outcome:
    """Send at random moments, `per_second` on average; latency counts from the due time."""
    client, loop = _Client(port, connections), asyncio.get_running_loop()
    outcome, pending = client.outcome, set()
    begun = due = time.perf_counter()

    async def one(number: int, due: float) -> None:
        connection = await client.connection()
        if connection is None:
            outcome.missed += 1
            return
        answered = loop.create_future()

        def done(status: int, head: bytes) -> None:
            outcome.latencies.setdefault(status, []).append(time.perf_counter() - due)
            if status == 503 and b"retry-after:" not in head:
                outcome.without_retry_after += 1
            if not answered.done():
                answered.set_result(None)

        connection.send(requests[number % len(requests)], done)
        try:
            async with asyncio.timeout(30):
                await answered
        except TimeoutError:
            outcome.torn += 1

    number = 0
    while due < begun + seconds:
        due += random.expovariate(per_second)
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        task = asyncio.create_task(one(number, due))
        pending.add(task)
        task.add_done_callback(pending.discard)
        number += 1
    outcome.seconds = time.perf_counter() - begun
    if pending:
        await asyncio.wait(set(pending))
    client.close()
    return outcome


async def closed_loop(
    port: int, requests: Sequence[bytes], connections: int, seconds: float
) -> Outcome:
    """Send the next request on each connection when the last one is answered."""
    client = _Client(port, connections)
    loop, outcome = asyncio.get_running_loop(), client.outcome
    begun = time.perf_counter()

    async def one(number: int) -> None:
        while (sent := time.perf_counter()) < begun + seconds:
            connection = await client.connection()
            if connection is None:
                outcome.missed += 1
                return
            answered = loop.create_future()

            def done(status: int, _: bytes, sent: float = sent, at: Any = answered) -> None:
                outcome.latencies.setdefault(status, []).append(time.perf_counter() - sent)
                at.set_result(None)

            connection.send(requests[number % len(requests)], done)
            number += connections
            await answered

    await asyncio.gather(*(one(number) for number in range(connections)))
    outcome.seconds = time.perf_counter() - begun
    client.close()
    return outcome
