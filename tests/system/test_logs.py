"""The log has the ids of requests, not too many lines, and nothing that belongs to a player."""

from __future__ import annotations

import json
from uuid import uuid4

from dev.cluster import Cluster
from dev.game_events import end, now_ms, start
from dev.service import Server, variables, wait_for
from tests.system.test_clients import connect, rest

REFUSED = "batch refused"


def test_a_line_of_a_request_carries_the_ids_that_were_sent(
    cassandra: Cluster, keyspace: str
) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    with Server(variables(cassandra, keyspace)) as service:
        headers = {"X-Request-Id": "abc-1", "traceparent": f"00-{trace}-b7ad6b7169203331-00"}
        answer = service.http.post("/v1/events", json={"events": []}, headers=headers)
        assert answer.headers["X-Request-Id"] == "abc-1"
        (line,) = wait_for(lambda: service.logged(REFUSED), what="the refused batch's line")
        assert (line["request_id"], line["trace_id"]) == ("abc-1", trace)
        assert line["reasons"] == ["batch-size"]
        answer = service.http.post("/v1/events", content="nonsense")
        line = wait_for(lambda: service.logged(REFUSED)[1:], what="the second line")[0]
        assert line["request_id"] == answer.headers["X-Request-Id"] == line["trace_id"]


def test_lines_of_refused_batches_are_few_and_the_rest_is_counted(
    cassandra: Cluster, keyspace: str
) -> None:
    with Server(variables(cassandra, keyspace)) as service:
        for _ in range(300):
            service.http.post("/v1/events", content="nonsense")
        lines = len(service.lines)
        for _ in range(20):
            with connect(service) as connection:
                connection.sendall(b"nonsense\r\n\r\n")
                assert rest(connection).startswith(b"HTTP/1.1 400")
        assert len(service.lines) == lines
        said = len(service.logged(REFUSED))
        assert 5 <= said < 150
        metrics = service.http.get("/metrics").text
    left_out = 300 - said
    assert f"player_sessions_log_lines_suppressed_total {float(left_out)}" in metrics


def test_at_debug_each_request_has_a_line_with_its_id(cassandra: Cluster, keyspace: str) -> None:
    with Server(variables(cassandra, keyspace, LOG_LEVEL="DEBUG")) as service:
        service.ready()
        service.sessions(uuid4())
        line = wait_for(
            lambda: [x for x in service.logged("request") if "players" in x["route"]],
            what="a line for the request",
        )[0]
    assert line["status"] == 200
    assert len(line["request_id"]) == 32


def test_at_info_nothing_of_a_player_a_body_or_a_password_is_logged(
    cassandra: Cluster, keyspace: str
) -> None:
    environ = variables(cassandra, keyspace)
    player, canary, now = uuid4(), "canary-in-a-body", now_ms()
    with Server(environ) as service:
        service.ready()
        assert service.post(start(player, player, now - 1), end(player, player, now)).is_success
        service.sessions(player)
        service.post({**start(player, player, now), "country": canary, canary: canary})
        service.http.get(f"/v1/players/{player.hex}/sessions?cursor={canary}")
        service.http.get(f"/{canary}?{canary}={canary}", headers={"X-Other": canary})
        service.http.post("/v1/events", content=canary)
        wait_for(lambda: len(service.logged(REFUSED)) >= 2, what="the refused batches' lines")
        service.stop()
    said = "".join(service.lines)
    password = environ["PLAYER_SESSIONS_CASSANDRA_PASSWORD"]
    for secret in (str(player), player.hex, canary, password, json.dumps(password)[1:-1]):
        assert secret not in said
    assert all(json.loads(line)["level"] for line in service.lines)
