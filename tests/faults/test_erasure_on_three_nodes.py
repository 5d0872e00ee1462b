"""Erased is erased on three real nodes: one is away, or does not answer, during the erasure."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import pytest
from cassandra import ConsistencyLevel
from cassandra.policies import WhiteListRoundRobinPolicy
from cassandra.query import SimpleStatement

from dev.cluster import Cluster
from dev.game_events import end, now_ms, start
from dev.service import Server, freeze, run_schema_apply, variables, wait_for
from player_sessions.store.cluster import build_cluster
from tests.support import settings_of

KEYSPACE = "erased"
AWAY = 3
TABLES = ("session_starts", "session_ends")


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Share three nodes that keep no hints, so that only a repair tells a node what it missed.

    A node that is asked for one replica's answer gives its own.
    """
    yaml = {"hinted_handoff_enabled": False, "dynamic_snitch": False}
    with Cluster(tmp_path_factory.mktemp("three"), nodes=3, yaml=yaml) as cluster:
        run_schema_apply(cluster, KEYSPACE, REPLICATION="dc1:3")
        with connected_to(cluster, 1) as session:
            for table in TABLES:
                session.execute(f"ALTER TABLE {KEYSPACE}.{table} WITH speculative_retry = 'NEVER'")
        yield cluster


@pytest.fixture(scope="module")
def service(three: Cluster) -> Iterator[Server]:
    with Server(variables(three, KEYSPACE, FUTURE_TOLERANCE="1s")) as running:
        yield running.ready()


def whole(player: UUID, at: int) -> list[dict[str, Any]]:
    session = uuid4()
    return [start(player, session, at - 1000), end(player, session, at)]


@contextmanager
def connected_to(cluster: Cluster, node: int) -> Iterator[Any]:
    """Yield a session of the driver that asks only this node."""
    settings = settings_of(cluster, KEYSPACE, CASSANDRA_CONTACT_POINTS=cluster.address(node))
    policy = WhiteListRoundRobinPolicy([cluster.address(node)])
    driver = build_cluster(settings, policy, timeout=30)
    try:
        yield driver.connect()
    finally:
        driver.shutdown()


def rows_of_node(cluster: Cluster, node: int, player: UUID) -> int:
    """Return how many rows of a player this node has by itself."""
    found = 0
    with connected_to(cluster, node) as session:
        for table in TABLES:
            cql = f"SELECT * FROM {KEYSPACE}.{table} WHERE player_id = %s"
            one = SimpleStatement(cql, consistency_level=ConsistencyLevel.LOCAL_ONE)
            found += len(list(session.execute(one, (player,))))
    return found


def erase(service: Server, player: UUID) -> None:
    answer = service.http.delete(f"/v1/players/{player.hex}")
    assert answer.status_code == 200, answer.text


def test_nothing_comes_back_after_a_node_was_away_during_the_erasure(
    three: Cluster, service: Server
) -> None:
    read, unread, now = uuid4(), uuid4(), now_ms()
    batches = [whole(player, now) for player in (read, unread)]
    for batch in batches:
        assert service.post(*batch).status_code == 200
    wait_for(
        lambda: all(rows_of_node(three, AWAY, player) == 2 for player in (read, unread)),
        what="the node has the events too",
    )
    three.stop_node(AWAY)
    for player in (read, unread):
        erase(service, player)
        assert service.sessions(player) == []
    three.start_node(AWAY)
    # The node has not heard of the erasure, yet no quorum of replicas lets it show the events.
    assert rows_of_node(three, AWAY, unread) == 2
    assert all(service.sessions(read) == [] for _ in range(20))

    three.nodetool("repair", "--full", KEYSPACE, node=AWAY)
    assert rows_of_node(three, AWAY, unread) == 0
    for batch in batches:
        assert service.post(*batch).status_code == 200
    for player in (read, unread):
        assert [rows_of_node(three, node, player) for node in (1, 2, AWAY)] == [0, 0, 0]
        assert service.sessions(player) == []
        assert service.post(*whole(player, now_ms())).status_code == 200
        assert len(service.sessions(player)) == 1  # a new session


def test_a_node_that_does_not_answer_delays_an_erasure_and_fails_none(
    three: Cluster, service: Server
) -> None:
    players = [uuid4() for _ in range(20)]
    for player in players:
        assert service.post(*whole(player, now_ms())).status_code == 200
    freeze(three.pid(AWAY))
    try:
        for player in players:
            erase(service, player)
        for node in (1, 2):  # the quorum
            assert rows_of_node(three, node, players[-1]) == 0
    finally:
        os.kill(three.pid(AWAY), signal.SIGCONT)
