"""Post whole sessions until told to stop, then read all of them back: the load of `make e2e`.

The program runs in a pod, with the standard library alone. Each second it prints its counts as
JSON. When /tmp/stop appears it stops posting, audits, prints {"audit": …} and exits, with 1 after
any loss. A request that fails is counted and sent again until it is acknowledged, as clients should
do.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
import uuid
from pathlib import Path
from typing import Any

HOST, PORT = os.environ["HOST"], int(os.environ["PORT"])
KEY = os.environ["KEY"]
RATE = float(os.environ.get("RATE", "40"))  # requests a second
WORKERS = 8
BATCHES_PER_PLAYER = 4  # of 5 sessions each, so that one read shows them all
STOP = Path("/tmp/stop")


class Connection:
    """A keep-alive connection that is opened again after the service closes it."""

    def __init__(self) -> None:
        self.streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, method: str, path: str, body: bytes = b"") -> tuple[int, Any]:
        """Return status and JSON; raise OSError, EOFError or TimeoutError."""
        try:
            async with asyncio.timeout(10):
                return await self._ask(method, path, body)
        except BaseException:
            self.close()
            raise

    async def _ask(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        if self.streams is None:
            self.streams = await asyncio.open_connection(HOST, PORT)
        reader, writer = self.streams
        writer.write(
            f"{method} {path} HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {KEY}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.split("content-length: ")[1].split()[0])
        content = await reader.readexactly(length)
        if "connection: close" in head:
            self.close()
        return int(head.split()[1]), json.loads(content)

    def close(self) -> None:
        if self.streams is not None:
            self.streams[1].close()
            self.streams = None


class Load:
    def __init__(self) -> None:
        self.acknowledged: dict[str, set[str]] = {}
        self.counts = {"requests": 0, "failed": 0, "acknowledged": 0}
        self.failures: dict[str, int] = {}

    async def run(self) -> int:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._report())
            for _ in range(WORKERS):
                tasks.create_task(self._write())
        lost = await self._audit()
        say(audit={"acknowledged": self.counts["acknowledged"], "lost": lost})
        return 1 if lost else 0

    async def _report(self) -> None:
        while not STOP.exists():
            say(**self.counts, failures=self.failures)
            await asyncio.sleep(1)

    async def _write(self) -> None:
        connection = Connection()
        while not STOP.exists():
            player = uuid.uuid4().hex
            for _ in range(BATCHES_PER_PLAYER):
                begun = time.monotonic()
                sessions = [str(uuid.uuid4()) for _ in range(5)]
                await self._post(connection, player, sessions)
                await asyncio.sleep(max(0, begun + WORKERS / RATE - time.monotonic()))

    async def _post(self, connection: Connection, player: str, sessions: list[str]) -> None:
        body = json.dumps({"events": [e for s in sessions for e in events(player, s)]}).encode()
        while True:
            self.counts["requests"] += 1
            try:
                status, _ = await connection.ask("POST", "/v1/events", body)
                failure = "" if status == 200 else str(status)
            except (OSError, EOFError) as error:  # TimeoutError is an OSError
                failure = type(error).__name__
            if not failure:
                break
            self.counts["failed"] += 1
            self.failures[failure] = self.failures.get(failure, 0) + 1
            await asyncio.sleep(0.5)
        self.counts["acknowledged"] += len(sessions)
        self.acknowledged.setdefault(player, set()).update(sessions)

    async def _audit(self) -> int:
        """Return how many acknowledged sessions are not read back."""
        players = list(self.acknowledged)
        counts = await asyncio.gather(*(self._missing(players[n::WORKERS]) for n in range(WORKERS)))
        return sum(counts)

    async def _missing(self, players: list[str]) -> int:
        connection, missing = Connection(), 0
        for player in players:
            status, answer = await connection.ask("GET", f"/v1/players/{player}/sessions")
            if status != 200:
                raise RuntimeError(f"the audit was answered {status}: {answer}")
            found = {each["session_id"] for each in answer["sessions"]}
            missing += len(self.acknowledged[player] - found)
        return missing


def events(player: str, session: str) -> list[dict[str, str]]:
    now = time.time()
    event = {"player_id": player, "session_id": session}
    return [
        {**event, "event": "start", "country": "FI", "ts": stamp(now - 60)},
        {**event, "event": "end", "ts": stamp(now)},
    ]


def stamp(seconds: float) -> str:
    return (
        time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(seconds % 1 * 1000):03}Z"
    )


def say(**facts: Any) -> None:
    print(json.dumps(facts), flush=True)


if __name__ == "__main__":
    sys.exit(asyncio.run(Load().run()))
