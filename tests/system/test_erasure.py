"""Erased is erased: what any caller sees after a player was erased."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from dev.cluster import Cluster
from dev.game_events import end, now_ms, start
from dev.service import Server, Service, freeze, variables, wait_for
from tests.system.conftest import KEYSPACE
from tests.system.test_clients import metric

DONE = 'player_sessions_erasures_total{outcome="done"}'
FAILED = 'player_sessions_erasures_total{outcome="failed"}'


def whole(player: UUID, at: int, session: UUID | None = None) -> list[dict[str, Any]]:
    """Return the two events of a session that ends at `at`."""
    session = session or uuid4()
    return [start(player, session, at - 1000), end(player, session, at)]


def erase(service: Service, player: UUID) -> int:
    """Erase a player and return `erased_through` in milliseconds."""
    answer = service.http.delete(f"/v1/players/{player.hex}")
    assert answer.status_code == 200, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    assert set(answer.json()) == {"player_id", "erased_through"}
    assert answer.json()["player_id"] == player.hex
    moment = datetime.fromisoformat(answer.json()["erased_through"])
    return round(moment.timestamp() * 1000)


@pytest.fixture(scope="module")
def exact(cassandra: Cluster, keyspace: str) -> Iterator[Server]:
    """Share a service that takes no event of more than a second in the future."""
    with Server(variables(cassandra, keyspace, FUTURE_TOLERANCE="1s")) as service:
        yield service.ready()


def test_nothing_is_shown_any_more_and_nothing_comes_back_by_sending_it_again(
    server: Service,
) -> None:
    player, other, now = uuid4(), uuid4(), now_ms()
    events = [*whole(player, now), *whole(player, now - 86_400_000)]
    # What a client with a fast clock sent, and what nobody has sent yet.
    ahead, late = whole(player, now + 240_000), whole(player, now - 3_600_000)
    for batch in (events, ahead, whole(other, now)):
        assert server.post(*batch).status_code == 200
    assert len(server.sessions(player)) == 3
    through = erase(server, player)
    assert now + 300_000 <= through <= now_ms() + 300_000
    assert server.sessions(player) == []
    for batch in (events, ahead, late):
        assert server.post(*batch).json() == {"accepted": len(batch), "discarded": 0}
    assert server.sessions(player) == []
    assert len(server.sessions(other)) == 1


def test_the_time_that_is_answered_divides_what_is_gone_from_what_is_kept(exact: Server) -> None:
    player, now = uuid4(), now_ms()
    assert exact.post(*whole(player, now)).status_code == 200
    through = erase(exact, player)
    wait_for(lambda: now_ms() > through + 2000, what="the time after the erasure")
    lost, kept, torn = uuid4(), uuid4(), uuid4()
    exact.post(start(player, lost, through - 1), end(player, lost, through))
    exact.post(start(player, kept, through + 1), end(player, kept, through + 2))
    exact.post(start(player, torn, through), end(player, torn, through + 2))
    assert [each["session_id"] for each in exact.sessions(player)] == [str(kept)]
    # A later erasure takes the new session too.
    assert erase(exact, player) > through
    assert exact.sessions(player) == []


def test_an_erasure_can_be_repeated_and_needs_no_event(server: Service) -> None:
    player = uuid4()
    assert erase(server, player) <= erase(server, player)
    spelt = server.http.delete(f"/v1/players/{str(player).upper()}")
    assert spelt.json()["player_id"] == player.hex
    bad = server.http.delete("/v1/players/null")
    assert bad.status_code == 400
    assert bad.json()["type"].endswith(":invalid-parameter")


def test_an_erasure_is_counted_and_has_one_line_that_does_not_name_the_player(
    exact: Server,
) -> None:
    player = uuid4()
    assert exact.post(*whole(player, now_ms())).status_code == 200
    before, key = metric(exact, DONE), {"X-Request-Id": "request-7"}
    answer = exact.http.delete(f"/v1/players/{player.hex}", headers=key)
    assert metric(exact, DONE) == before + 1

    def lines() -> list[dict[str, Any]]:
        logged = exact.logged("erasure of a player")
        return [line for line in logged if line["request_id"] == "request-7"]

    (line,) = wait_for(lines, what="the line")
    assert line["outcome"] == "done"
    assert line["erased_through"].startswith(answer.json()["erased_through"].rstrip("Z"))
    said = "".join(exact.lines)
    assert player.hex not in said
    assert str(player) not in said


def test_a_frozen_cassandra_is_503_and_the_same_request_succeeds_later(mortal: Cluster) -> None:
    player = uuid4()
    with Server(variables(mortal, KEYSPACE)) as service:
        service.ready()
        assert service.post(*whole(player, now_ms())).status_code == 200
        freeze(mortal.pid(1))
        try:
            begun = time.monotonic()
            answer = service.http.delete(f"/v1/players/{player.hex}")
            took = time.monotonic() - begun
        finally:
            os.kill(mortal.pid(1), signal.SIGCONT)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert answer.json()["type"].endswith(":store-timeout")
        assert 1.9 < took < 10
        assert metric(service, FAILED) == 1
        wait_for(
            lambda: service.http.delete(f"/v1/players/{player.hex}").status_code == 200,
            what="the same request succeeds",
        )
        assert service.sessions(player) == []
