"""Bad input gets its documented answer and never a 500, and nothing of it is stored."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import httpx
import pytest

from dev.cluster import Cluster
from dev.game_events import end, now_ms, start
from dev.service import Server, variables

JSON = {"content-type": "application/json"}
PLAYER = UUID("00000000-0000-4000-8000-00000000bad0")
SESSION = UUID("00000000-0000-4000-8000-00000000bad1")
_NOW = now_ms()
GOOD = [start(PLAYER, SESSION, _NOW - 60_000), end(PLAYER, SESSION, _NOW)]


def text(*events: Any) -> str:
    return json.dumps({"events": [*GOOD, *events]})


def raw(old: str, new: str) -> str:
    """Return the good batch as text, with one thing replaced."""
    assert old in text()
    return text().replace(old, new)


BODIES: dict[str, tuple[str | bytes, int, str]] = {
    "empty": ("", 400, "invalid-json"),
    "not JSON": ("rows=1", 400, "invalid-json"),
    "cut off": (text()[:-3], 400, "invalid-json"),
    "two documents": (text() * 2, 400, "invalid-json"),
    "NaN": (raw('"FI"', "NaN"), 400, "invalid-json"),
    "invalid UTF-8": (text().replace("FI", "F\xff").encode("latin-1"), 400, "invalid-json"),
    "lone surrogate": (raw("FI", "\\ud800"), 400, "invalid-json"),
    "deep nesting": ("[" * 30_000 + "]" * 30_000, 400, "invalid-json"),
    "deep nesting inside": ('{"events":' + "[" * 30_000, 400, "invalid-json"),
    "null": ("null", 422, "invalid-batch"),
    "a list": (json.dumps(GOOD), 422, "invalid-batch"),
    "no events": ("{}", 422, "invalid-batch"),
    "the other contract's key": (json.dumps({"rows": GOOD}), 422, "invalid-batch"),
    "events is an object": ('{"events":{}}', 422, "invalid-batch"),
    "0 events": ('{"events":[]}', 422, "batch-size"),
    "11 events": (text(*GOOD * 5)[: -len("}")] + "}", 422, "batch-size"),
    "event is a number": (text(1), 422, "invalid-events"),
    "event is null": (text(None), 422, "invalid-events"),
    "event is a list": (text([]), 422, "invalid-events"),
    "player is a number": (raw(f'"{PLAYER.hex}"', "7"), 422, "invalid-events"),
    "huge number": (raw('"FI"', "9" * 5000), 400, "invalid-json"),
    "huge exponent": (raw('"FI"', "1e400"), 400, "invalid-json"),
    "duplicate keys": (raw('"country"', '"country": "FI", "country": 1, "country"')
                       .replace('"country": "FI"}', '"country": "fi"}'), 422, "invalid-events"),
    "country in small letters": (raw("FI", "fi"), 422, "invalid-events"),
    "country with a line end": (raw("FI", "FI\\n"), 422, "invalid-events"),
    "year 0": (text({**GOOD[0], "ts": "0000-01-01T00:00:00"}), 422, "invalid-events"),
    "ts is a number": (text({**GOOD[0], "ts": 1.5e9}), 422, "invalid-events"),
    "ts in the future": (text(start(PLAYER, SESSION, _NOW + 3_600_000)), 422, "invalid-events"),
    "ts of the year 9999": (text({**GOOD[0], "ts": "9999-12-31T23:59:59-23:59"}), 422,
                            "invalid-events"),
    "65 KiB": (text() + " " * 65 * 1024, 413, "body-too-large"),
}  # fmt: skip


def problem(answer: httpx.Response) -> tuple[int, str]:
    """Return (status, reason) of a problem document after checking its form."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    document = answer.json()
    assert document["status"] == answer.status_code
    assert document["title"]
    assert document["detail"]
    assert "`" not in document["detail"]  # as in msgspec's words for programmers
    assert "Traceback" not in answer.text
    prefix, _, reason = document["type"].rpartition(":")
    assert prefix == "urn:player-sessions:problem"
    return answer.status_code, reason


@pytest.fixture(autouse=True)
def nothing_stored_and_no_500(server: Server) -> Iterator[None]:
    yield
    assert server.sessions(PLAYER) == []
    metrics = server.http.get(f"{server.probe_url}/metrics").text.splitlines()
    failed = [line for line in metrics if 'status="500"' in line and not line.endswith(" 0.0")]
    assert failed == []


@pytest.mark.parametrize("case", BODIES)
def test_a_bad_body_is_refused(server: Server, case: str) -> None:
    body, status, reason = BODIES[case]
    answer = server.http.post("/v1/events", content=body, headers=JSON)
    assert problem(answer) == (status, reason)


def test_each_wrong_event_is_named_with_its_field_and_reason(server: Server) -> None:
    wrong = {**GOOD[0], "session_id": "x", "country": "finland"}
    missing = {"event": "start"}
    answer = server.post(*GOOD, wrong, missing, start(PLAYER, SESSION, now_ms() + 3_600_000))
    errors = [(e["index"], e["field"], e["reason"]) for e in answer.json()["errors"]]
    assert errors == [
        (2, "session_id", "invalid-session-id"),
        (2, "country", "invalid-country"),
        (3, "player_id", "missing-field"),
        (3, "session_id", "missing-field"),
        (3, "ts", "missing-field"),
        (3, "country", "missing-country"),
        (4, "ts", "timestamp-in-future"),
    ]
    assert all(e["detail"] for e in answer.json()["errors"])


def test_the_original_contract_refuses_alike(server: Server) -> None:
    answer = server.http.post("/", json={"rows": [*GOOD, {}]})
    assert problem(answer) == (422, "invalid-events")
    assert {e["index"] for e in answer.json()["errors"]} == {2}


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ("", 'the body is empty; it must be {"player_id": "…"}. Did a proxy drop it?'),
        ("{}", 'the body must be {"player_id": "…"}'),
        ('{"player_id":7}', 'the body must be {"player_id": "…"}'),
        ("[" * 30_000, 'the body must be {"player_id": "…"}'),
        ('{"player_id":""}', "player_id: is the text of a missing value"),
    ],
)
def test_a_bad_player_in_the_body_of_get_is_refused(server: Server, body: str, detail: str) -> None:
    answer = server.http.request("GET", "/", content=body, headers=JSON)
    assert problem(answer) == (400, "invalid-parameter")
    assert answer.json()["detail"].startswith(detail)


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "application/jsonp"},
        {"content-type": "application/json", "content-encoding": "br"},
    ],
)
def test_a_wrong_media_type_is_refused(server: Server, headers: dict[str, str]) -> None:
    answer = server.http.post("/v1/events", content=text(), headers=headers)
    assert problem(answer) == (415, "unsupported-media-type")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/events", "OPTIONS, POST"),
        ("GET", "/v1/events", "OPTIONS, POST"),
        ("DELETE", "/", "GET, HEAD, OPTIONS, POST"),
        ("POST", "/metrics", "GET, HEAD, OPTIONS"),
    ],
)
def test_a_wrong_method_is_refused_and_the_right_ones_named(
    server: Server, method: str, path: str, allowed: str
) -> None:
    answer = server.http.request(method, path)
    assert problem(answer) == (405, "method-not-allowed")
    assert answer.headers["Allow"] == allowed


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/", "GET, HEAD, OPTIONS, POST"),
        ("/v1/events", "OPTIONS, POST"),
        (f"/v1/players/{'0' * 32}/sessions", "GET, HEAD, OPTIONS"),
        ("/health/live", "GET, HEAD, OPTIONS"),
    ],
)
def test_options_names_all_methods_of_a_path(server: Server, path: str, methods: str) -> None:
    base = server.probe_url if path.startswith("/health") else server.url
    answer = server.http.request("OPTIONS", base + path)
    assert (answer.status_code, answer.headers["Allow"], answer.content) == (204, methods, b"")


@pytest.mark.parametrize("path", ["/v1/event", "/v1/players/", "/v2/events", "/%00", "/.env"])
def test_an_unknown_path_is_not_found(server: Server, path: str) -> None:
    assert problem(server.http.get(path)) == (404, "not-found")


@pytest.mark.parametrize(
    "query",
    [
        "limit=0", "limit=21", "limit=-1", "limit=x", "limit=1.5", "limit=", "limit=9" * 40,
        "cursor=x", "cursor=", "cursor=%00", "cursor=" + "A" * 34, "cursor=" + "A" * 5000,
        "cursor=________________________________", "limit=5&limit=21",
    ],
)  # fmt: skip
def test_a_bad_limit_or_cursor_is_refused(server: Server, query: str) -> None:
    answer = server.http.get(f"/v1/players/{PLAYER.hex}/sessions?{query}")
    assert problem(answer) == (400, "invalid-parameter")
    assert answer.json()["detail"] in (
        "limit: must be a whole number from 1 to 20",
        "cursor: must be the next_cursor of an earlier answer",
    )


def test_a_chunked_body_over_the_bound_is_cut_off(server: Server) -> None:
    chunks = iter([b" " * 40_000] * 50)
    answer = server.http.post("/v1/events", content=chunks, headers=JSON)
    assert problem(answer) == (413, "body-too-large")


def test_a_slow_body_is_answered_408_and_the_connection_closed(
    cassandra: Cluster, keyspace: str
) -> None:
    environ = variables(cassandra, keyspace, BODY_TIMEOUT="300ms")
    with Server(environ) as server, connect(server) as connection:
        head = b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        connection.sendall(head + b"Content-Length: 1000\r\n\r\n{")
        begun = time.monotonic()
        with connection.makefile("rb") as answer:
            received = answer.read()  # until the service closes the connection
        assert received.startswith(b"HTTP/1.1 408")
        assert b"body-timeout" in received
        assert time.monotonic() - begun >= 0.25


def test_a_client_that_leaves_in_the_middle_of_a_body_does_no_harm(server: Server) -> None:
    body = text().encode()
    for _ in range(5):
        with connect(server) as connection:
            head = b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            connection.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body[:-1])
    player, session, now = uuid4(), uuid4(), now_ms()
    assert server.post(start(player, session, now), end(player, session, now)).status_code == 200


def connect(server: Server) -> socket.socket:
    parts = urlsplit(server.url)
    assert parts.hostname
    assert parts.port
    return socket.create_connection((parts.hostname, parts.port), timeout=20)
