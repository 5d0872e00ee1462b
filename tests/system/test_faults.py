"""If Cassandra is down, slow or moved, requests get 503 in time, and work again afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import pytest

from dev.cluster import Cluster
from dev.game_events import end, now_ms, start
from dev.service import (
    COMMAND,
    Server,
    freeze,
    inherited,
    new_keyspace,
    run_schema_apply,
    variables,
    wait_for,
)
from tests.system.conftest import KEYSPACE

DEADLINE = 1.0
SLACK = 8.0  # seconds for a busy machine beyond the deadline; without one, 30 s would pass


@pytest.fixture
def service(mortal: Cluster) -> Iterator[Server]:
    with Server(variables(mortal, KEYSPACE, DEADLINE=f"{DEADLINE}s")) as running:
        yield running.ready()


def unavailable(call: httpx.Response, begun: float) -> str:
    """Return the reason of a 503 that came within the deadline."""
    assert time.monotonic() - begun < DEADLINE + SLACK
    assert call.status_code == 503
    assert int(call.headers["Retry-After"]) >= 1
    reason: str = call.json()["type"].rpartition(":")[2]
    return reason


def reads_of(player: UUID, session: UUID) -> list[str]:
    path = f"/v1/players/{player.hex}"
    return [path, f"{path}/sessions", f"{path}/sessions/{session}"]


def test_while_cassandra_is_away_requests_get_503_and_then_work_again(
    mortal: Cluster, service: Server
) -> None:
    player, session, now = uuid4(), uuid4(), now_ms()
    mortal.kill_node(1)
    try:
        for _ in range(3):
            begun = time.monotonic()
            answer = service.post(start(player, session, now))
            assert unavailable(answer, begun) in ("store-unavailable", "store-timeout")
            for path in reads_of(player, session):
                begun = time.monotonic()
                answer = service.http.get(path)
                assert unavailable(answer, begun) in ("store-unavailable", "store-timeout")
        assert service.http.get("/health/live").status_code == 200
        # An outage that all pods share must not take them out of the Service.
        assert service.http.get("/health/ready").status_code == 200
    finally:
        mortal.start_node(1)
    events = [start(player, session, now - 1000), end(player, session, now)]
    wait_for(lambda: service.post(*events).status_code == 200, what="writes work again")
    assert len(service.sessions(player)) == 1


def test_while_cassandra_is_away_starts_are_not_counted_and_then_they_are(
    mortal: Cluster, service: Server
) -> None:
    def asked() -> httpx.Response:
        return service.http.get("/v1/countries/starts", params={"hours": 2})

    def total() -> int | None:
        answer = asked()
        return answer.json()["total"] if answer.status_code == 200 else None

    mortal.kill_node(1)
    try:
        begun = time.monotonic()
        reasons = ("store-unavailable", "store-timeout", "still-counting")
        assert unavailable(asked(), begun) in reasons
    finally:
        mortal.start_node(1)
    event = start(uuid4(), uuid4(), now_ms())
    wait_for(lambda: service.post(event).status_code == 200, what="writes work again")
    wait_for(total, what="starts are counted again")


def test_a_frozen_node_costs_a_request_its_deadline_and_no_more(
    mortal: Cluster, service: Server
) -> None:
    player, session, now = uuid4(), uuid4(), now_ms()
    events = [start(player, session, now - 1000), end(player, session, now)]
    freeze(mortal.pid(1))
    try:
        begun = time.monotonic()
        assert unavailable(service.post(*events), begun) == "store-timeout"
        for path in reads_of(player, session):
            begun = time.monotonic()
            assert unavailable(service.http.get(path), begun) == "store-timeout"
    finally:
        os.kill(mortal.pid(1), signal.SIGCONT)
    wait_for(lambda: service.post(*events).status_code == 200, what="writes work again")
    wait_for(lambda: len(service.sessions(player)) == 1, what="reads work again")


def test_started_before_cassandra_it_waits_unready_and_says_why(mortal: Cluster) -> None:
    mortal.stop_node(1)
    try:
        with Server(variables(mortal, KEYSPACE)) as service:
            assert service.http.get("/health/live").status_code == 200
            answer = service.http.get("/health/ready")
            assert (answer.status_code, answer.json()["status"]) == (503, "not ready")
            begun = time.monotonic()
            answer = service.post(start(uuid4(), uuid4(), now_ms()))
            assert unavailable(answer, begun) == "not-ready"
            mortal.start_node(1)
            service.ready()
            assert service.post(start(uuid4(), uuid4(), now_ms())).status_code == 200
    finally:
        if not mortal.running(1):
            mortal.start_node(1)


def test_when_every_node_has_moved_it_starts_again_from_the_contact_points(
    tmp_path: Path,
) -> None:
    first = Cluster(tmp_path, first_address=2)
    with first:
        run_schema_apply(first, KEYSPACE)
        environ = variables(first, KEYSPACE, DEADLINE="500ms")
        name = "PLAYER_SESSIONS_CASSANDRA_CONTACT_POINTS"
        # Both addresses stand for one DNS name that the driver looks up again.
        with Server({**environ, name: f"{environ[name]},127.0.0.3"}) as service:
            service.ready()
            player, session, now = uuid4(), uuid4(), now_ms()
            assert service.post(start(player, session, now - 1000)).status_code == 200
            first.stop()
            with Cluster(tmp_path, first_address=3):
                event = end(player, session, now)
                wait_for(
                    lambda: service.post(event).status_code == 200,
                    seconds=90,
                    what="the service found the node at its new address",
                )
                assert len(service.sessions(player)) == 1


def test_a_stop_under_load_loses_no_acknowledged_event(mortal: Cluster) -> None:
    environ = variables(mortal, KEYSPACE)
    with Server(environ).ready() as service:
        acknowledged = []
        for _ in range(50):
            player, session, now = uuid4(), uuid4(), now_ms()
            answer = service.post(start(player, session, now - 1), end(player, session, now))
            assert answer.status_code == 200
            acknowledged.append(player)
        assert service.stop() == 0
        assert service.logged("stopped")
    with Server(environ).ready() as service:
        assert [p for p in acknowledged if len(service.sessions(p)) != 1] == []


def test_a_taken_port_is_one_clear_line(mortal: Cluster, service: Server) -> None:
    port = service.url.rpartition(":")[2]
    with pytest.raises(AssertionError, match="PLAYER_SESSIONS_HTTP_PORT"):
        Server(variables(mortal, KEYSPACE, HTTP_PORT=port))


def test_schema_apply_refuses_a_cassandra_that_takes_any_password(mortal: Cluster) -> None:
    login = {"CASSANDRA_USERNAME": "cassandra", "CASSANDRA_PASSWORD": "anything"}
    keyspace = new_keyspace()
    run = subprocess.run(
        [COMMAND, "schema", "apply"],
        env=inherited() | variables(mortal, keyspace, **login),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 1
    assert "accepts a wrong password" in run.stderr.splitlines()[-1]
    assert "CREATE" not in run.stderr  # no statement was executed
