"""Clients that are slow, idle, many or hostile: each is bounded, and the others do not notice."""

from __future__ import annotations

import contextlib
import gzip
import socket
import time
import tracemalloc
import zlib
from collections.abc import Iterator
from uuid import uuid4

import httpx
import pytest

from dev.cluster import Cluster
from player_sessions.ingest import inflate
from player_sessions.problems import Refused
from player_sessions.telemetry import metrics
from tests.support import Server, end, now_ms, start, variables, wait_for

HEAD = b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def strict(cassandra: Cluster, keyspace: str) -> Iterator[Server]:
    """Short of patience, and for 20 connections."""
    changes = {"HEAD_TIMEOUT": "1s", "BODY_TIMEOUT": "1s", "IDLE_TIMEOUT": "1s"}
    with Server(variables(cassandra, keyspace, MAX_CONNECTIONS="20", **changes)) as service:
        yield service.ready()


def connect(service: Server) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", int(service.url.rpartition(":")[2])))
    made.settimeout(10)
    return made


def rest(connection: socket.socket) -> bytes:
    """What the service still says before it closes."""
    said = b""
    try:
        while part := connection.recv(65536):
            said += part
    except ConnectionResetError:
        pass
    return said


def metric(service: Server, series: str) -> float:
    """The value of one series."""
    for line in service.http.get("/metrics").text.splitlines():
        if line.startswith(series + " "):
            return float(line.rpartition(" ")[2])
    raise AssertionError(f"no such series: {series}")


def trickle(connection: socket.socket, data: bytes) -> float:
    """Seconds for which the service took one byte after another."""
    begun = time.monotonic()
    try:
        for byte in data:
            connection.send(bytes([byte]))
            time.sleep(0.1)
    except OSError:
        pass
    return time.monotonic() - begun


def test_a_head_that_trickles_is_cut(strict: Server) -> None:
    before = metric(strict, 'player_sessions_connections_cut_total{reason="head-timeout"}')
    with connect(strict) as connection:
        assert trickle(connection, HEAD) < 6
    with connect(strict) as connection:  # and one that never begins
        assert rest(connection) == b""
    with connect(strict) as connection:  # and the second of a connection
        connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        while not connection.recv(65536).endswith(b"}"):
            pass
        connection.sendall(b"GET")
        assert rest(connection) == b""
    after = metric(strict, 'player_sessions_connections_cut_total{reason="head-timeout"}')
    assert after == before + 3


def test_a_body_that_trickles_gets_408_and_is_cut(strict: Server) -> None:
    with connect(strict) as connection:
        connection.sendall(HEAD + b"Content-Length: 100\r\n\r\n{")
        assert trickle(connection, b" " * 50) < 8
        said = rest(connection)
    assert b" 408 " in said or said == b""
    with connect(strict) as connection:  # one that stops altogether is told so
        connection.sendall(HEAD + b"Content-Length: 100\r\n\r\n{")
        said = rest(connection)
    assert said.startswith(b"HTTP/1.1 408 ")
    assert b"body-timeout" in said
    assert b"connection: close" in said.lower()


def test_an_idle_connection_is_closed(strict: Server) -> None:
    with connect(strict) as connection:
        connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        begun = time.monotonic()
        assert rest(connection).startswith(b"HTTP/1.1 200")
        assert time.monotonic() - begun < 6


def test_more_connections_than_allowed_get_503_and_the_others_work_on(strict: Server) -> None:
    assert strict.http.get("/health/live").status_code == 200
    opened = [connect(strict) for _ in range(30)]
    try:
        time.sleep(0.3)
        refused = [c for c in opened if _refused(c)]
        assert len(refused) >= 10
        assert strict.http.get("/health/live").status_code == 200
    finally:
        for connection in opened:
            connection.close()
    series = 'player_sessions_shed_total{reason="too-many-connections"}'
    assert wait_for(lambda: metric(strict, series)) >= 10


def _refused(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        said = connection.recv(65536)
    except BlockingIOError:
        return False
    assert said.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 1" in said
    assert b"too-many-connections" in said
    return True


def batch() -> bytes:
    player, session, now = uuid4(), uuid4(), now_ms()
    events = [start(player, session, now - 1000), end(player, session, now)]
    return httpx.Request("POST", "http://x", json={"events": events}).content


def post(service: Server, body: bytes, encoding: str = "gzip") -> httpx.Response:
    headers = {"Content-Type": "application/json", "Content-Encoding": encoding}
    return service.http.post("/v1/events", content=body, headers=headers)


@pytest.mark.parametrize(("path", "key"), [("/v1/events/", "events"), ("//", "rows")])
def test_a_path_that_only_the_router_knows_leads_to_the_same_call(
    server: Server, path: str, key: str
) -> None:
    body = batch().replace(b'"events"', f'"{key}"'.encode())
    headers = {"Content-Type": "application/json"}
    answer = server.http.post(server.url + path, content=body, headers=headers)
    assert answer.status_code == 200, answer.text
    assert server.http.post(server.url + path, content=b"{}", headers=headers).status_code == 422


def test_a_gzip_body_is_taken(server: Server) -> None:
    answer = post(server, gzip.compress(batch()))
    assert (answer.status_code, answer.json()["accepted"]) == (200, 2)
    assert post(server, batch(), "identity").status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no gzip",
        gzip.compress(b"{}")[:-1],
        gzip.compress(b"{}") + b"x",
        gzip.compress(b"{}") * 2,
        zlib.compress(b"{}"),
    ],
    ids=["empty", "plain", "cut", "more behind", "two", "zlib"],
)
def test_a_body_that_is_not_one_gzip_stream_is_400(server: Server, body: bytes) -> None:
    answer = post(server, body)
    assert answer.status_code == 400
    assert answer.json()["type"].endswith("invalid-encoding")


def test_a_bomb_is_413_and_is_not_inflated(server: Server) -> None:
    bomb = gzip.compress(bytes(50_000_000))
    assert len(bomb) < 65536
    tracemalloc.start()
    with pytest.raises(Refused, match="inflated"):
        inflate(bomb, 65536)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 1 << 20
    # In processor time no more than twice an honest body of the greatest size.
    assert _cpu_of(bomb) < 2 * _cpu_of(gzip.compress(b" " * 65536)) + 0.0005
    answer = post(server, bomb)
    assert (answer.status_code, answer.headers["connection"]) == (413, "close")


def _cpu_of(body: bytes) -> float:
    """Least processor seconds of several tries to inflate it."""
    least = 1.0
    for _ in range(20):
        begun = time.process_time()
        with contextlib.suppress(Refused):
            inflate(body, 65536)
        least = min(least, time.process_time() - begun)
    return least


def test_other_encodings_are_415(server: Server) -> None:
    assert post(server, batch(), "br").status_code == 415


def test_an_attack_with_random_paths_players_and_countries_adds_no_series(server: Server) -> None:
    def series() -> set[str]:
        lines = server.http.get("/metrics").text.splitlines()
        return {line.rpartition(" ")[0] for line in lines if not line.startswith("#")}

    before = series()
    for number in range(60):
        name = uuid4().hex
        server.http.get(f"/{name}")
        server.http.get(f"/v1/players/{name}/sessions")
        server.http.get(f"/v1/players/{number}/sessions?limit={number}")
        server.http.request(f"X{number}", f"/v1/events/{name}")
        server.http.put("/v1/events")
        country = chr(65 + number % 26) + "X"
        server.post(start(uuid4(), uuid4(), now_ms(), country))
        server.post(start(uuid4(), uuid4(), now_ms(), name))
        server.http.post("/v1/events", content=name)
    assert series() == before
    assert all(len(line) < 200 for line in before)
    assert metrics.ROUTES[-1] == "other"
