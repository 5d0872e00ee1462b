"""The Go service of the bench stores and answers as ours does, so that comparing them is fair."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from dev import cql
from dev.cluster import Cluster
from dev.game_events import DAY_MS, end, now_ms, start
from dev.service import Service, variables
from loadtest.bench import contenders, processes

HOUR_MS = 3_600_000
SHARDS = 8  # the service's default

pytestmark = pytest.mark.skipif(not shutil.which("go"), reason="needs Go")


@pytest.fixture(scope="module")
def peer(
    cassandra: Cluster, keyspace: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    environ, folder = variables(cassandra, keyspace), tmp_path_factory.mktemp("peer")
    with (
        processes.running(contenders.CONTENDERS["peer"], environ, folder) as running,
        httpx.Client(base_url=f"http://127.0.0.1:{running.port}", timeout=30) as client,
    ):
        yield client


@pytest.fixture
def rows(cassandra: Cluster, keyspace: str) -> Iterator[Any]:
    """Yield a session of the plain driver, which shows the rows as they lie in Cassandra."""
    with cql.connected(variables(cassandra, keyspace), keyspace) as session:
        yield session


def test_both_answer_the_same_whoever_stored_the_events(
    server: Service, peer: httpx.Client
) -> None:
    now = now_ms()
    for write_to, sessions in ((peer, 3), (server.http, 3), (peer, 30)):
        player, others = uuid4(), [uuid4() for _ in range(sessions)]
        for number, session in enumerate(others):
            at = now - number * 1000
            events = [
                start(player, session, at - 1500),
                end(player, session, at),
                end(player, others[0], at - 7),  # the session is listed at its newest end
                end(player, uuid4(), at - 9),  # never began
                end(player, uuid4(), now - 400 * DAY_MS),  # older than the retention
            ]
            answer = write_to.post("/v1/events", json={"events": events})
            assert (answer.status_code, answer.json()) == (200, {"accepted": 4, "discarded": 1})
        path = f"/v1/players/{player.hex}/sessions"
        found = peer.get(path).json()
        assert found == server.http.get(path).json()
        assert len(found["sessions"]) == min(sessions, 20)
    assert peer.post("/v1/events", json={"events": []}).status_code == 422


def test_both_store_the_same_rows_of_a_start(
    server: Service, peer: httpx.Client, rows: Any
) -> None:
    at = now_ms() - 100 * HOUR_MS
    stored = {}
    for name, client in (("peer", peer), ("service", server.http)):
        player, session = uuid4(), uuid4()
        events = {"events": [start(player, session, at, "SE"), start(player, session, 0, "SE")]}
        answer = client.post("/v1/events", json=events)
        assert answer.json() == {"accepted": 1, "discarded": 1}
        stored[name] = row_of_player(rows, player)
        latest = server.player(player)["latest_session"]
        assert (latest["session_id"], latest["country"]) == (str(session), "SE")
    *peers, peer_ttl = stored["peer"]
    *ours, our_ttl = stored["service"]
    assert peers == ours
    assert abs(peer_ttl - our_ttl) <= 30  # seconds of a year, while the test runs


def row_of_player(rows: Any, player: UUID) -> tuple[Any, ...]:
    """Return a player's only start with its timestamps and its TTL."""
    (row,) = rows.execute(
        "SELECT started_at, country, WRITETIME(country), WRITETIME(latest), TTL(country)"
        " FROM session_starts WHERE player_id = %s",
        (player,),
    )
    return tuple(row)


def test_a_start_that_both_have_stored_counts_once(
    server: Service, peer: httpx.Client, rows: Any
) -> None:
    at = now_ms() - 90 * HOUR_MS
    hour = at - at % HOUR_MS
    events = {"events": [start(uuid4(), uuid4(), at + n, "QZ") for n in range(10)]}
    for writes, client in enumerate((peer, server.http), 1):
        assert client.post("/v1/events", json=events).json()["accepted"] == 10
        keys = keys_of_hour(rows, hour)
        assert len(keys) == writes * 10
        assert len(set(keys)) == 10  # both give a start the same key
        assert {key & 1023 for key in keys} == {16 * 26 + 25}  # QZ
    older = {"events": [start(uuid4(), uuid4(), at - 80 * HOUR_MS, "QZ")]}
    assert peer.post("/v1/events", json=older).json()["accepted"] == 1
    assert not keys_of_hour(rows, hour - 80 * HOUR_MS)  # older than starts are counted


def keys_of_hour(rows: Any, hour: int) -> list[int]:
    """Return the keys of all starts of an hour (ms), each as often as it is stored."""
    query = "SELECT start_keys FROM starts_by_hour WHERE hour = %s AND shard = %s"
    return [
        key
        for shard in range(SHARDS)
        for (keys,) in rows.execute(query, (hour, shard))
        for (key,) in struct.iter_unpack(">Q", keys)
    ]
