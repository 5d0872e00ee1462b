"""The load during a failure, and the records of it that are judged afterwards.

Some clients send play (`loadtest.play`) and journal it for `loadtest.audit`. Others write, resend
and read a few players at the same time, and keep a history for the checker.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from dev.game_events import iso, now_ms
from loadtest import journal
from loadtest.faults.history import ACKNOWLEDGED, REFUSED, UNKNOWN, Event, Operation, Read, Write
from loadtest.faults.history import Session as Shown
from loadtest.http_connection import TORN, Answer, Connection, Torn
from loadtest.journal import Header, Journal
from loadtest.play import Mix, Model, Play

OK = "ok"
READ, WRITE = "read", "write"
_MIX = Mix(players=500)
_SENDERS = 6
_CLIENTS = 8
_PAUSE = 0.05  # seconds between a client's requests
_SESSIONS = 12  # sessions of a player in the history; all fit on one page
_OPERATIONS = 60  # operations on a player before the client takes a new one
_COUNTRIES = ("FI", "SE", "UK")
# The reasons with which the service says that it stored nothing.
_SHED = ("queue-full", "overloaded", "too-many-reads", "not-ready")


class Sample(NamedTuple):
    """A request; `outcome` is OK or the reason of the refusal."""

    begun: float
    ended: float
    operation: str
    outcome: str


class _Asked(NamedTuple):
    """A request and the body of its answer if that was 200."""

    sample: Sample
    body: bytes

    @property
    def well(self) -> bool:
        return self.sample.outcome == OK


@dataclass
class _Player:
    """A player whom several clients write and read at the same time."""

    id: uuid.UUID = field(default_factory=uuid.uuid4)
    born_ms: int = field(default_factory=now_ms)
    sessions: list[str] = field(
        default_factory=lambda: [str(uuid.uuid4()) for _ in range(_SESSIONS)]
    )
    sent: list[list[Event]] = field(default_factory=list)
    left: int = _OPERATIONS


class Load:
    """Sends to all of `urls` from `start` to `stop`, in a thread of its own."""

    def __init__(self, urls: Sequence[str], folder: Path) -> None:
        self.samples: list[Sample] = []
        self.history: list[Operation] = []
        self.folder = folder
        self._urls = urls
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._players = [_Player()]
        self._failure: BaseException | None = None
        model = Model(uuid.uuid4().hex, _MIX)
        self._play = Play(model, now_ms())
        header = Header(seed=model.seed, origin_ms=self._play.origin_ms, mix=_MIX)
        self._journal = Journal(folder / "load.journal", header)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop sending, wait for the answers under way, and raise a client's error."""
        self._stopping.set()
        self._thread.join(60)
        assert not self._thread.is_alive(), "a request got no answer"
        self._journal.close()
        if self._failure is not None:
            raise self._failure

    def failed_since(self, moment: float) -> bool:
        """Return whether any request that began since then failed."""
        return any(s.begun >= moment and s.outcome != OK for s in list(self.samples))

    async def _run(self) -> None:
        senders = [self._send(self._url(n)) for n in range(_SENDERS)]
        clients = [self._operate(n, self._url(n)) for n in range(_CLIENTS)]
        try:
            async with asyncio.TaskGroup() as tasks:
                for work in (*senders, *clients):
                    tasks.create_task(work)
        except BaseExceptionGroup as error:
            self._failure = error

    def _url(self, number: int) -> Connection:
        return Connection(self._urls[number % len(self._urls)])

    async def _send(self, connection: Connection) -> None:
        while not self._stopping.is_set():
            batch = self._play.next(now_ms())
            asked = await self._ask(connection, WRITE, "/v1/events", batch.body.encode())
            certain = b'"discarded":0' in asked.body
            sign = journal.ACKNOWLEDGED if certain else journal.UNKNOWN
            self._journal.add(sign, batch.tokens)
            if not certain:
                self._play.again(batch, now_ms() + 1000)
            await asyncio.sleep(_PAUSE)
        connection.close()

    async def _operate(self, client: int, connection: Connection) -> None:
        while not self._stopping.is_set():
            player = self._players[-1]
            player.left -= 1
            if not player.left:
                self._players.append(_Player())
            if random.random() < 0.5:
                await self._write(client, connection, player)
            else:
                await self._read(client, connection, player.id.hex)
            await asyncio.sleep(random.random() * _PAUSE)
        connection.close()

    async def _write(self, client: int, connection: Connection, player: _Player) -> None:
        if player.sent and random.random() < 0.25:
            events = random.choice(player.sent)
        else:
            events = [_event(player) for _ in range(random.randint(1, 4))]
            player.sent.append(events)
        asked = await self._ask(connection, WRITE, "/v1/events", _body(player.id, events))
        begun, ended, _, outcome = asked.sample
        self.history.append(Write(client, begun, ended, player.id.hex, events, _certainty(outcome)))

    async def _read(self, client: int, connection: Connection, player: str) -> bool:
        """Read a player and return whether the service answered."""
        asked = await self._ask(connection, READ, f"/v1/players/{player}/sessions")
        if asked.well:
            begun, ended, _, _ = asked.sample
            self.history.append(Read(client, begun, ended, player, _shown(asked.body)))
        return asked.well

    async def _ask(
        self, connection: Connection, operation: str, path: str, body: bytes = b""
    ) -> _Asked:
        begun, answer = time.monotonic(), Answer(0, b"", b"")
        try:
            answer = await connection.ask("POST" if body else "GET", path, body)
            outcome = OK if answer.status == 200 else answer.reason
        except Torn:
            outcome = TORN
        sample = Sample(begun, time.monotonic(), operation, outcome)
        self.samples.append(sample)
        if outcome != OK:  # wait as Retry-After asks, but shorter
            await asyncio.sleep(0.2)
        return _Asked(sample, answer.body if outcome == OK else b"")

    def read_all(self) -> None:
        """Read every player of the history once more from every service, into the history."""

        async def work() -> None:
            for client, url in enumerate(self._urls, _CLIENTS):
                connection = Connection(url)
                for player in self._players:
                    while not await self._read(client, connection, player.id.hex):
                        assert time.monotonic() < until, "reads still fail"
                connection.close()

        until = time.monotonic() + 60
        asyncio.run(work())

    def errors(self) -> Counter[str]:
        return Counter(s.outcome for s in self.samples if s.outcome != OK)


def _event(player: _Player) -> Event:
    """Return an event of few possible sessions and times, so that many conflict."""
    kind = random.choice(("start", "end"))
    session = random.choice(player.sessions)
    at = player.born_ms - random.choice((0, 1, 1000, 60_000, 86_400_000))
    return Event(kind, session, at, random.choice(_COUNTRIES) if kind == "start" else "")  # type: ignore[arg-type]


def _body(player: uuid.UUID, events: list[Event]) -> bytes:
    rows = [
        {
            "player_id": player.hex,
            "event": event.kind,
            "session_id": event.session,
            "ts": iso(event.at_ms),
            **({"country": event.country} if event.country else {}),
        }
        for event in events
    ]
    return msgspec.json.encode({"events": rows})


def _certainty(outcome: str) -> Any:
    if outcome == OK:
        return ACKNOWLEDGED
    return REFUSED if outcome in _SHED else UNKNOWN


def _shown(body: bytes) -> list[Shown]:
    return [
        Shown(s["session_id"], s["country"], _ms(s["started_at"]), _ms(s["ended_at"]))
        for s in msgspec.json.decode(body)["sessions"]
    ]


def _ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)
