"""The service listens at several addresses and at both IP families, with both of its ports."""

from __future__ import annotations

import socket
from uuid import uuid4

import httpx
import pytest

from dev.cluster import Cluster
from dev.game_events import end, now_ms, start
from dev.service import Server, variables, wait_for

IPV4, IPV6 = "127.0.0.1", "[::1]"
# Nothing listens at this port of Cassandra: health and most refusals need none.
ALONE = {
    "PLAYER_SESSIONS_CASSANDRA_PORT": "1",
    "PLAYER_SESSIONS_HTTP_PORT": "0",
    "PLAYER_SESSIONS_OPERATIONS_PORT": "0",
    "PLAYER_SESSIONS_AUTH": "off",
}


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


pytestmark = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


def port(url: str) -> int:
    return int(url.rpartition(":")[2])


def answers(host: str, url: str, path: str = "/health/live") -> bool:
    """Return whether the port of `url` serves `path` at `host`."""
    try:
        return httpx.get(f"http://{host}:{port(url)}{path}").status_code == 200
    except httpx.ConnectError:
        return False


@pytest.mark.parametrize(
    ("addresses", "reached"),
    [
        ("::", {IPV4, IPV6}),
        ("0.0.0.0,::", {IPV4, IPV6}),
        ("127.0.0.1,::1", {IPV4, IPV6}),
        ("127.0.0.1,::", {IPV4, IPV6}),
        ("::1", {IPV6}),
        ("0.0.0.0", {IPV4}),
    ],
)
def test_both_ports_are_served_at_every_address(addresses: str, reached: set[str]) -> None:
    with Server({**ALONE, "PLAYER_SESSIONS_HTTP_HOST": addresses}, "operations") as server:
        for host in (IPV4, IPV6):
            assert answers(host, server.url, "/docs") == (host in reached)
            assert answers(host, server.probe_url) == (host in reached)
            # Health is on the operations port only, at every address.
            assert not answers(host, server.url)


def test_the_log_names_every_address() -> None:
    environ = {**ALONE, "PLAYER_SESSIONS_HTTP_HOST": "127.0.0.1,::1"}
    with Server(environ) as server:
        (line,) = server.logged("listening")
        number = port(line["url"])
        assert line["url"] == f"http://{IPV4}:{number}"
        assert line["urls"] == [f"http://{host}:{number}" for host in (IPV4, IPV6)]
        assert line["docs"] == f"http://{IPV4}:{number}/docs"


def test_an_address_that_another_process_has_is_named() -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as taken:
        environ = {
            **ALONE,
            "PLAYER_SESSIONS_HTTP_HOST": "127.0.0.1,::1",
            "PLAYER_SESSIONS_HTTP_PORT": str(taken.getsockname()[1]),
        }
        with pytest.raises(AssertionError, match="cannot listen at ::1, port"):
            Server(environ)


def test_a_session_is_stored_and_read_at_an_ipv6_address(cassandra: Cluster, keyspace: str) -> None:
    changes = {"HTTP_HOST": "::1", "OPERATIONS_PORT": "0"}
    with Server(variables(cassandra, keyspace, **changes), "operations") as server:
        server.ready()
        assert server.url.startswith(f"http://{IPV6}:")
        player, session, now = uuid4(), uuid4(), now_ms()
        assert server.post(start(player, session, now - 1000), end(player, session, now)).is_success
        (found,) = server.sessions(player)
        assert found["session_id"] == str(session)
        metrics = httpx.get(f"{server.probe_url}/metrics").text
        assert 'player_sessions_requests_total{route="POST /v1/events",status="200"} 1.0' in metrics
        assert server.stop() == 0
        wait_for(lambda: server.logged("stopped"), what="the drain ends")
