"""Run the real store on a loop in a thread, so that plain tests and Hypothesis can call it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future
from typing import Any, Self, TypeVar
from uuid import UUID

import pytest
import uvloop

from dev.cluster import Cluster
from dev.service import wait_for
from player_sessions.rules.events import Event
from player_sessions.rules.session_state import Presence, SessionState
from player_sessions.rules.sessions import Page, Position
from player_sessions.settings import Settings
from player_sessions.store.cluster import build_cluster
from player_sessions.store.store import Store
from tests.support import settings_of, superuser_of

T = TypeVar("T")


class RunningStore:
    """A Store that stays connected; calls to it block."""

    def __init__(self, settings: Settings) -> None:
        self.loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()
        self.store: Store = self.call(self._made(settings))
        self._running: Future[None] = asyncio.run_coroutine_threadsafe(self.store.run(), self.loop)

    async def _made(self, settings: Settings) -> Store:
        return Store(settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._running.cancel()
        self.call(self.store.close(5))
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    def connected(self) -> Self:
        wait_for(lambda: self.store.reason is None, what="the store is connected")
        return self

    def write(self, *events: Event) -> tuple[int, int]:
        return self.call(self.store.write(events))

    def write_all(self, batches: Sequence[Sequence[Event]]) -> None:
        async def work() -> None:
            for begin in range(0, len(batches), 50):
                await asyncio.gather(*map(self.store.write, batches[begin : begin + 50]))

        self.call(work())

    def read(self, player: UUID, limit: int = 20, after: Position | None = None) -> Page:
        return self.call(self.store.read(player, limit, after))

    def session(self, player: UUID, session: UUID) -> SessionState | None:
        return self.call(self.store.session(player, session))

    def presence(self, player: UUID) -> Presence:
        return self.call(self.store.presence(player))

    def pages(self, player: UUID, limit: int) -> list[Page]:
        """Read all pages to the end."""
        pages = [self.read(player, limit)]
        while pages[-1].next_position is not None:
            pages.append(self.read(player, limit, pages[-1].next_position))
        return pages


@pytest.fixture(scope="session")
def store(cassandra: Cluster, keyspace: str) -> Iterator[RunningStore]:
    with RunningStore(settings_of(cassandra, keyspace)) as running:
        yield running.connected()


Execute = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture(scope="session")
def superuser(cassandra: Cluster) -> Iterator[Any]:
    """Yield a session of the driver as Cassandra's superuser."""
    cluster = build_cluster(superuser_of(cassandra, "unused"), timeout=30)
    yield cluster.connect()
    cluster.shutdown()
