"""Slow, idle, many or hostile clients are bounded, and other clients do not notice them."""

from __future__ import annotations

import gzip
import socket
import sys
import time
import zlib
from collections.abc import Iterator
from uuid import uuid4

import httpx
import pytest

from dev.cluster import Cluster
from dev.game_events import end, now_ms, start
from dev.service import Server, variables, wait_for
from loadtest.own_service import memory_mib

HEAD = b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def strict(cassandra: Cluster, keyspace: str) -> Iterator[Server]:
    """Share a service with short time-outs and at most 20 connections."""
    changes = {"HEAD_TIMEOUT": "1s", "BODY_TIMEOUT": "1s", "IDLE_TIMEOUT": "1s"}
    with Server(variables(cassandra, keyspace, MAX_CONNECTIONS="20", **changes)) as service:
        yield service.ready()


def connect(service: Server) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", int(service.url.rpartition(":")[2])))
    made.settimeout(10)
    return made


def rest(connection: socket.socket) -> bytes:
    """Return what the service still sends before it closes."""
    said = b""
    try:
        while part := connection.recv(65536):
            said += part
    except ConnectionResetError:
        pass
    return said


def metric(service: Server, series: str) -> float:
    """Return the value of one series."""
    for line in service.http.get("/metrics").text.splitlines():
        if line.startswith(series + " "):
            return float(line.rpartition(" ")[2])
    raise AssertionError(f"no such series: {series}")


def trickle(connection: socket.socket, data: bytes) -> float:
    """Send byte after byte; return for how many seconds the service accepted them."""
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
    with connect(strict) as connection:  # a head that never begins
        assert rest(connection) == b""
    with connect(strict) as connection:  # the second head of a connection
        connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        while not connection.recv(65536).endswith(b"}"):
            pass
        connection.sendall(b"GET")
        assert rest(connection) == b""
    after = metric(strict, 'player_sessions_connections_cut_total{reason="head-timeout"}')
    assert after == before + 3


def test_a_head_without_end_gets_431_and_is_not_kept(strict: Server) -> None:
    series = 'player_sessions_connections_cut_total{reason="head-too-large"}'
    cut, before = metric(strict, series), memory_mib(strict.process.pid, "VmHWM")
    for more in (b"X-A: bbbbbbbbbbbb\r\n" * 1_400_000, b"X-A: " + b"b" * 8_000_000):
        with connect(strict) as connection:
            connection.sendall(HEAD + more)
            said = rest(connection)
        assert said.startswith(b"HTTP/1.1 431 ")
        assert b"head-too-large" in said
    assert metric(strict, series) == cut + 2
    assert memory_mib(strict.process.pid, "VmHWM") < 1.3 * before


def test_a_half_closed_connection_gets_its_answer(server: Server) -> None:
    body = batch()
    with connect(server) as connection:
        connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        connection.shutdown(socket.SHUT_WR)
        assert rest(connection).endswith(b'{"accepted":2,"discarded":0}')


def test_a_body_that_trickles_gets_408_and_is_cut(strict: Server) -> None:
    with connect(strict) as connection:
        connection.sendall(HEAD + b"Content-Length: 100\r\n\r\n{")
        assert trickle(connection, b" " * 50) < 8
        said = rest(connection)
    assert b" 408 " in said or said == b""
    with connect(strict) as connection:  # a body that stops gets an answer
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


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for the number of packets")
def test_an_answer_is_one_packet(server: Server) -> None:
    body = batch()
    request = HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body
    with connect(server) as connection:
        for number in range(1, 11):
            connection.sendall(request)
            said = b""
            while not said.endswith(b'{"accepted":2,"discarded":0}'):
                said += connection.recv(65536)
            assert _packets(connection) == number


def _packets(connection: socket.socket) -> int:
    """Return how many packets with data came: `tcpi_data_segs_in` of Linux's `struct tcp_info`."""
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 156)
    return int.from_bytes(info[152:156], sys.byteorder)


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
        gzip.compress(b"{}") * 2 + b"x",
        gzip.compress(b"{}") * 101,
        zlib.compress(b"{}"),
    ],
    ids=["empty", "plain", "cut", "more behind", "more behind two", "too many", "zlib"],
)
def test_a_body_that_is_not_whole_gzip_members_is_400(server: Server, body: bytes) -> None:
    answer = post(server, body)
    assert answer.status_code == 400
    assert answer.json()["type"].endswith("invalid-encoding")


def test_a_bomb_is_413_and_is_not_inflated(server: Server, strict: Server) -> None:
    bomb = gzip.compress(bytes(50_000_000))
    assert len(bomb) < 65536
    answer = post(server, bomb)
    assert (answer.status_code, answer.headers["connection"]) == (413, "close")
    before = memory_mib(strict.process.pid, "VmRSS")
    assert post(strict, bomb).status_code == 413
    assert memory_mib(strict.process.pid, "VmHWM") < before + 25


@pytest.mark.parametrize(
    "lines",
    [
        ["Content-Encoding: x-gzip"],
        ["Content-Encoding: GZIP \t"],
        ["Content-Encoding: gzip, identity"],
        ["Content-Encoding: gzip", "Content-Encoding: identity"],
        ["Content-Encoding:", "Content-Encoding: gzip", "Content-Type: application/json "],
        ["Content-Encoding: gzip", "Content-Type:"],
    ],
)
def test_headers_are_read_as_rfc_9110_says(server: Server, lines: list[str]) -> None:
    packed = gzip.compress(batch()[:99]) + gzip.compress(batch()[99:])
    assert _posted(server, lines, packed).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("value", ["", " ", "identity ", "Identity, identity", ","])
def test_an_encoding_that_means_none_is_none(server: Server, value: str) -> None:
    assert _posted(server, [f"Content-Encoding: {value}"], batch()).startswith(b"HTTP/1.1 200")


def _posted(server: Server, lines: list[str], body: bytes) -> bytes:
    """Send a batch with these header lines as they are, and return the first part of the answer."""
    head = ["POST /v1/events HTTP/1.1", "Host: x", *lines, f"Content-Length: {len(body)}", "", ""]
    with connect(server) as connection:
        connection.sendall("\r\n".join(head).encode() + body)
        return connection.recv(65536)


@pytest.mark.parametrize("encoding", ["br", "gzip, gzip", "gzip, br"])
def test_other_encodings_are_415(server: Server, encoding: str) -> None:
    assert post(server, batch(), encoding).status_code == 415


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
