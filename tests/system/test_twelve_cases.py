"""The twelve cases at which known implementations of this service fail, one test each."""

from __future__ import annotations

import asyncio
import time
from uuid import UUID, uuid4

from dev.cluster import Cluster
from dev.game_events import DAY_MS, end, now_ms, start
from dev.service import Server, new_keyspace, run_schema_apply, variables, wait_for
from loadtest.bench.generator import cpu_seconds
from tests.batch_load import post_for
from tests.system.conftest import KEYSPACE

YEAR_MS = 365 * DAY_MS


def test_01_the_whole_batch_is_stored_not_its_first_event(server: Server) -> None:
    players, session, now = [uuid4() for _ in range(5)], uuid4(), now_ms()
    batch = [e for p in players for e in (start(p, session, now - 9000), end(p, session, now))]
    assert server.post(*batch).json() == {"accepted": 10, "discarded": 0}
    assert all(len(server.sessions(player)) == 1 for player in players)


def test_02_two_sessions_of_one_player_in_the_same_second_are_two(server: Server) -> None:
    player, one, other, now = uuid4(), uuid4(), uuid4(), now_ms() // 1000 * 1000
    server.post(
        start(player, one, now - 5000, "FI"),
        start(player, other, now - 5000, "SE"),
        end(player, one, now),
        end(player, other, now),
    )
    found = {s["session_id"]: s["country"] for s in server.sessions(player)}
    assert found == {str(one): "FI", str(other): "SE"}


def test_03_an_end_may_arrive_before_its_start(server: Server) -> None:
    player, session, now = uuid4(), uuid4(), now_ms()
    server.post(end(player, session, now))
    assert server.sessions(player) == []
    server.post(start(player, session, now - 61_500))
    (found,) = server.sessions(player)
    assert (found["country"], found["duration_seconds"]) == ("FI", 61.5)


def test_04_a_batch_delivered_twice_is_listed_once(server: Server) -> None:
    player, session, now = uuid4(), uuid4(), now_ms()
    events = [start(player, session, now - 1000), end(player, session, now)]
    server.post(*events, *events)
    once = server.sessions(player)
    assert server.post(*reversed(events)).status_code == 200
    assert len(once) == 1
    assert server.sessions(player) == once


def test_05_the_newest_twenty_by_end_time_are_listed(server: Server) -> None:
    player, now = uuid4(), now_ms()
    ids = [uuid4() for _ in range(30)]
    # Sessions that began first ended last, and they arrive in that order.
    for i, session in enumerate(ids):
        server.post(
            start(player, session, now - 100_000 + i * 1000), end(player, session, now - i * 1000)
        )
    assert [s["session_id"] for s in server.sessions(player)] == [str(s) for s in ids[:20]]


def test_06_only_complete_sessions_are_listed(server: Server) -> None:
    player, whole, started, ended, now = uuid4(), uuid4(), uuid4(), uuid4(), now_ms()
    server.post(
        start(player, whole, now - 5000),
        end(player, whole, now - 4000),
        start(player, started, now - 3000),
        end(player, ended, now - 1000),
    )
    assert [s["session_id"] for s in server.sessions(player)] == [str(whole)]


def test_07_a_year_is_a_year_of_the_events_own_time(server: Server) -> None:
    player, kept, late, now = uuid4(), uuid4(), uuid4(), now_ms()
    old = [start(player, late, now - YEAR_MS - 9000), end(player, late, now - YEAR_MS - 1000)]
    young = [
        start(player, kept, now - YEAR_MS + 4000, "SE"),
        end(player, kept, now - YEAR_MS + 60_000),
    ]
    assert server.post(*old, *young).json() == {"accepted": 2, "discarded": 2}
    assert [s["session_id"] for s in server.sessions(player)] == [str(kept)]
    # The start becomes a year old 4 s from now, although it was received just now.
    wait_for(lambda: not server.sessions(player), seconds=30, what="the session expires")
    assert now_ms() >= now + 4000


def test_08_batches_of_0_and_11_events_are_refused(server: Server) -> None:
    player, now = uuid4(), now_ms()
    events = [start(player, uuid4(), now) for _ in range(11)]
    for batch in ([], events):
        answer = server.post(*batch)
        assert answer.status_code == 422
        assert answer.json()["type"].endswith(":batch-size")
    assert server.post(*events[:10]).status_code == 200


def test_09_an_end_needs_no_country_and_an_unknown_one_is_data(server: Server) -> None:
    player, now = uuid4(), now_ms()
    one, two, three = uuid4(), uuid4(), uuid4()
    answer = server.post(
        start(player, one, now - 9000, "UK"),
        start(player, two, now - 9000, "XX"),
        start(player, three, now - 9000, "FI"),
        end(player, one, now),
        end(player, two, now - 1, country="QQ"),
        end(player, three, now - 2, country=None),
    )
    assert answer.json() == {"accepted": 6, "discarded": 0}
    # A session's country is its start's.
    assert [s["country"] for s in server.sessions(player)] == ["UK", "XX", "FI"]


def test_10_quotes_and_cql_in_any_string_are_data(server: Server) -> None:
    player, session, now = uuid4(), uuid4(), now_ms()
    server.post(start(player, session, now - 1000), end(player, session, now))
    poison = f"'; DROP TABLE session_starts; -- {uuid4()}"
    good = start(player, uuid4(), now)
    for field in ("session_id", "event", "ts", "country"):
        assert server.post(good, {**good, field: poison}).status_code == 422
    assert server.post({**good, poison: poison}).status_code == 200  # an unknown field
    other = {**good, "player_id": poison}
    assert server.post(other, {**other, "event": "end"}).status_code == 200
    answer = server.http.get(f"/v1/players/{poison}/sessions").json()
    assert (answer["player_id"], len(answer["sessions"])) == (poison, 1)
    assert len(server.sessions(player)) == 1


def test_11_kill_9_of_service_and_node_right_after_the_answer_loses_nothing(
    mortal: Cluster,
) -> None:
    environ = variables(mortal, KEYSPACE)
    acknowledged: list[UUID] = []
    for victim in ("service", "node"):
        with Server(environ).ready() as server:
            for _ in range(40):
                players, session, now = [uuid4() for _ in range(5)], uuid4(), now_ms()
                batch = [
                    e for p in players for e in (start(p, session, now - 1), end(p, session, now))
                ]
                assert server.post(*batch).status_code == 200
                acknowledged += players
            if victim == "service":
                server.kill()
            else:
                mortal.kill_node(1)
                mortal.start_node(1)
    with Server(environ).ready() as server:
        assert [p for p in acknowledged if len(server.sessions(p)) != 1] == []


def test_12_nine_of_ten_requests_take_less_than_500_ms_on_a_saturated_core(
    cassandra: Cluster,
) -> None:
    # The only absolute time in these tests; it is the original's own requirement. The best of three
    # tries counts, because other work on the machine only ever makes a try slower.
    keyspace = new_keyspace()
    run_schema_apply(cassandra, keyspace)
    with Server(variables(cassandra, keyspace)).ready() as server:
        pids = [server.process.pid, cassandra.pid(1)]
        assert any(_p90_while_busy(server, pids) < 0.5 for _ in range(3))


def _p90_while_busy(server: Server, pids: list[int]) -> float:
    """Return the p90 in seconds of a load that keeps these processes busy."""
    cpu, wall = sum(map(cpu_seconds, pids)), time.monotonic()
    latencies, _ = asyncio.run(post_for(server.url, connections=64, seconds=4))
    busy = (sum(map(cpu_seconds, pids)) - cpu) / (time.monotonic() - wall)
    assert busy >= 0.5, f"the load kept service and Cassandra busy with only {busy:.2f} cores"
    return sorted(latencies)[int(len(latencies) * 0.9)]
