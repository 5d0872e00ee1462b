"""Cassandra's latency is measured more finely than the event loop's clock can."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from uuid import uuid4

import pytest
import uvloop

from dev.game_events import now_ms
from loadtest.bench.node import QUERIES, prepared
from player_sessions.rules.events import End, from_ms
from player_sessions.settings import Settings
from player_sessions.store.connector import Connected
from player_sessions.store.player_queries import PlayerQueries
from player_sessions.store.store import Store
from player_sessions.telemetry import metrics
from tests.support import inserts

HALF_A_MILLISECOND = 0.0005
TWO_AND_A_HALF = 0.0025


class Clock:
    """A double of the process's fine clock; only Cassandra's double moves it."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Cassandra:
    """A double that answers every statement after exactly `seconds` of the clock."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds

    def send(self, _: Any, __: float, done: Any) -> None:
        self._clock.now += self._seconds
        done((), None)

    async def fetch(self, *_: Any, **__: Any) -> tuple[()]:
        self._clock.now += self._seconds
        return ()


def counts(operation: str) -> dict[float, int]:
    """Return the observations so far by the upper bound of their bucket."""
    tally = metrics.STORE_SECONDS.labels(operation)
    bounds = [*metrics.SECONDS, float("inf")]
    return dict(zip(bounds, tally.counts, strict=True))


@pytest.mark.parametrize(
    ("seconds", "bucket"),
    [
        (0.00049, HALF_A_MILLISECOND),
        (0.00051, 0.001),
        (0.00249, TWO_AND_A_HALF),
        (0.00251, 0.005),
    ],
)
@pytest.mark.parametrize("operation", ["write", "read"])
def test_a_duration_falls_into_its_own_bucket(
    monkeypatch: pytest.MonkeyPatch, operation: str, seconds: float, bucket: float
) -> None:
    clock = Clock()
    monkeypatch.setattr(time, "perf_counter", clock)
    before = counts(operation)

    async def work() -> None:
        store = Store(Settings())
        connected: Any = Connected.__new__(Connected)  # without its constructor, which connects
        connected.batch_rows = 10
        connected.client = Cassandra(clock, seconds)
        connected.inserts = inserts()
        connected.player_queries = PlayerQueries({name: prepared(name) for name in QUERIES})
        store._connector.connected = connected
        store._connector.reason = None
        if operation == "write":
            await store.write([End(uuid4(), uuid4(), from_ms(now_ms()))])
        else:
            await store.read(uuid4(), 20, None)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work())
    after = counts(operation)
    assert {bound for bound in after if after[bound] != before[bound]} == {bucket}
