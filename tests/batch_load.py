"""A closed-loop load of 10-event batches for tests, cheap enough to saturate the service."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from urllib.parse import urlsplit
from uuid import UUID, uuid4

from dev.game_events import end, now_ms, start


def batches() -> Iterator[tuple[list[UUID], bytes]]:
    """Yield the players and the body of one batch after another: five whole sessions each."""
    while True:
        players = [uuid4() for _ in range(5)]
        now, session = now_ms(), uuid4()
        events = [
            event
            for player in players
            for event in (start(player, session, now - 60_000), end(player, session, now))
        ]
        yield players, json.dumps({"events": events}).encode()


async def post_for(url: str, connections: int, seconds: float) -> tuple[list[float], list[UUID]]:
    """Return the latency of each 200 in seconds and the acknowledged players; else raise."""
    latencies: list[float] = []
    acknowledged: list[UUID] = []
    until = time.monotonic() + seconds
    source = batches()
    ready = [next(source) for _ in range(200)]

    async def one(number: int) -> None:
        parts = urlsplit(url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        turn = number
        while time.monotonic() < until:
            players, body = ready[turn % len(ready)]
            turn += connections
            begun = time.monotonic()
            writer.write(
                b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\n\r\n" % len(body) + body
            )
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split()[0]))
            latencies.append(time.monotonic() - begun)
            acknowledged.extend(players)
        writer.close()

    await asyncio.gather(*(one(number) for number in range(connections)))
    return latencies, acknowledged
