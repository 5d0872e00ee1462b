"""The connection is replaced while requests are under way."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from dev.cluster import Cluster
from dev.game_events import now_ms
from player_sessions.rules.events import End, Start, from_ms
from player_sessions.rules.reasons import STORE_TIMEOUT
from player_sessions.store import connector
from player_sessions.store.errors import StoreError
from player_sessions.store.requests import Client
from tests.store.conftest import RunningStore
from tests.support import settings_of

SETTINGS = {"DEADLINE": "2s", "SPECULATION_AFTER": "2s"}
SESSIONS = 30  # more than the first query of a read returns


def test_requests_that_began_before_a_reconnection_are_answered(
    cassandra: Cluster, keyspace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver finds the node again by itself while the service connects anew."""
    player, now = uuid4(), now_ms()
    monkeypatch.setattr(connector, "_REBUILD_SECONDS", 0.0)
    with RunningStore(settings_of(cassandra, keyspace, **SETTINGS)) as running:
        running.connected()
        for number in range(SESSIONS):
            session, at = uuid4(), from_ms(now - number)
            running.write(Start(player, session, at, "FI"), End(player, session, at))
        connections = {running.store._connector.ready()}
        monkeypatch.setattr(Client, "nodes", lambda _: (0, 1))

        async def ask() -> None:
            page = await running.store.read(player, SESSIONS, None)
            assert len(page.sessions) == SESSIONS
            await running.store.write([Start(player, uuid4(), from_ms(now), "FI")])

        async def client() -> None:
            while len(connections) < 4:
                connections.add(running.store._connector.ready())
                try:
                    await ask()
                except StoreError as error:  # a busy machine may let the deadline pass
                    assert error.reason is STORE_TIMEOUT, error

        async def clients() -> None:
            await asyncio.gather(*(client() for _ in range(40)))

        running.call(clients())
