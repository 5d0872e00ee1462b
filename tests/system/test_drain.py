"""SIGTERM under load, 20 times: no accepted request is lost, no connection is torn."""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from uuid import UUID, uuid4

import httpx
import pytest

from dev.cluster import Cluster
from dev.game_events import end, now_ms, start
from dev.service import Server, variables, wait_for
from tests.batch_load import batches

PAIRS = 10


class Client:
    """A closed loop that keeps its connections, and opens new ones until one is refused."""

    def __init__(self, url: str) -> None:
        _, _, port = url.rpartition(":")
        self.port = int(port)
        self.acknowledged: list[UUID] = []
        self.errors: list[str] = []

    async def run(self, connections: int) -> None:
        await asyncio.gather(*(self._one() for _ in range(connections)))

    async def _one(self) -> None:
        source = batches()
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except ConnectionError:
                return  # the listener is closed, as it should be
            used = False
            try:
                while await self._post(reader, writer, *next(source)):
                    used = True
            except (asyncio.IncompleteReadError, ConnectionError) as error:
                # A connection that was not yet accepted when the listener closed may end like this.
                if used:
                    self.errors.append(repr(error))
            finally:
                writer.close()

    async def _post(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        players: list[UUID],
        body: bytes,
    ) -> bool:
        """Post a batch; return whether the connection may be used again."""
        writer.write(
            b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n" % len(body) + body
        )
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        await reader.readexactly(int(head.split(b"content-length: ")[1].split()[0]))
        if not head.startswith(b"http/1.1 200"):
            self.errors.append(head.decode())
        else:
            self.acknowledged += players
        return b"connection: close" not in head


@pytest.fixture(scope="module")
def reader(cassandra: Cluster, keyspace: str) -> Iterator[Server]:
    with Server(variables(cassandra, keyspace)) as service:
        yield service.ready()


@pytest.mark.parametrize("number", range(PAIRS))
def test_a_stop_under_load_loses_nothing(
    cassandra: Cluster, keyspace: str, reader: Server, number: int
) -> None:
    """Stop two services at once; one of them serves on for a while."""
    with ExitStack() as running:
        services = [
            running.enter_context(Server(variables(cassandra, keyspace, DRAIN_DELAY=delay)))
            for delay in ("0ms", "300ms")
        ]
        clients = [Client(service.ready().url) for service in services]

        async def load_and_stop() -> None:
            load = asyncio.gather(*(client.run(16) for client in clients))
            await asyncio.sleep(0.3)
            for service in services:
                service.process.send_signal(signal.SIGTERM)
            await load

        asyncio.run(load_and_stop())
        for service in services:
            assert service.process.wait(20) == 0
            assert service.logged("stopped")
    for client in clients:
        assert client.errors == []
        assert len(client.acknowledged) > 20
        sample = client.acknowledged[-100:]
        assert [player for player in sample if len(reader.sessions(player)) != 1] == []


def test_while_it_drains_it_is_not_ready_but_serves(cassandra: Cluster, keyspace: str) -> None:
    with Server(variables(cassandra, keyspace, DRAIN_DELAY="3s")) as service:
        service.ready()
        service.process.send_signal(signal.SIGTERM)
        wait_for(lambda: service.logged("draining"))
        answer = service.http.get("/health/ready")
        assert (answer.status_code, answer.json()["reason"]) == (503, "draining")
        assert answer.headers["connection"] == "close"
        assert service.http.get("/health/live").status_code == 200
        answer = service.post(start(uuid4(), uuid4(), now_ms()))
        assert (answer.status_code, answer.headers["connection"]) == (200, "close")
        assert "player_sessions_draining 1.0" in service.http.get("/metrics").text
        assert service.process.wait(20) == 0


def test_a_second_signal_ends_it_at_once(cassandra: Cluster, keyspace: str) -> None:
    with Server(variables(cassandra, keyspace, DRAIN_DELAY="60s")) as service:
        service.ready()
        service.process.send_signal(signal.SIGTERM)
        wait_for(lambda: service.logged("draining"))
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(5) == 128 + signal.SIGTERM


def test_the_end_of_the_grace_period_ends_it_at_once(cassandra: Cluster, keyspace: str) -> None:
    with Server(variables(cassandra, keyspace, DRAIN_TIMEOUT="1s", BODY_TIMEOUT="60s")) as service:
        service.ready()
        with httpx.stream("GET", f"{service.url}/health/live"):
            pass

        async def hang() -> None:
            _, writer = await asyncio.open_connection("127.0.0.1", int(service.url.split(":")[-1]))
            writer.write(
                b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                b"Content-Length: 100\r\n\r\n{"
            )
            await asyncio.sleep(0.3)
            service.process.send_signal(signal.SIGTERM)
            begun = time.monotonic()
            await asyncio.to_thread(service.process.wait, 20)
            assert time.monotonic() - begun < 8
            writer.close()

        asyncio.run(hang())


def test_a_batch_that_is_under_way_is_answered(cassandra: Cluster, keyspace: str) -> None:
    player, session, now = uuid4(), uuid4(), now_ms()
    events = [start(player, session, now - 1000), end(player, session, now)]
    with Server(variables(cassandra, keyspace)) as service:
        service.ready()
        body = httpx.Request("POST", "http://x", json={"events": events}).content

        def slowly() -> Iterator[bytes]:
            yield body[:10]
            service.process.send_signal(signal.SIGTERM)
            wait_for(lambda: service.logged("draining"))
            time.sleep(0.3)
            yield body[10:]

        headers = {"Content-Type": "application/json", "Content-Length": str(len(body))}
        answer = service.http.post("/v1/events", content=slowly(), headers=headers)
        assert answer.status_code == 200
        assert service.process.wait(20) == 0
    with Server(variables(cassandra, keyspace)) as service:
        assert len(service.ready().sessions(player)) == 1


def test_clients_that_do_not_read_their_answers_do_not_hold_up_a_stop(
    cassandra: Cluster, keyspace: str
) -> None:
    get = b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n"
    with Server(variables(cassandra, keyspace, DRAIN_TIMEOUT="6s")) as service:
        service.ready()
        port = int(service.url.rpartition(":")[2])
        clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(3)]
        for client in clients:
            client.sendall(get * 30)
        time.sleep(0.5)
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(20) == 0
        for client in clients:
            client.close()
        assert service.logged("stopped")
        assert not [line for line in service.lines if "Traceback" in line or "rror" in line]
