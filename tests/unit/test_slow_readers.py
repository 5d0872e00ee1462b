"""A client that does not read its answers is cut, and what it asked for ends quietly."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import socket
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn
import uvloop
from uvicorn.server import ServerState

from player_sessions.settings import load
from player_sessions.telemetry import metrics
from player_sessions.web.connections import MAX_UNANSWERED, Connection
from player_sessions.web.context import Context
from player_sessions.web.sweep import cut_all, sweep

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
LARGE, SMALL = bytes(2_000_000), b"hello"


class Service:
    """Connections of ours on a real socket, before an application that answers with `body`."""

    def __init__(self, body: bytes, **settings: str) -> None:
        given = {f"PLAYER_SESSIONS_{name}": value for name, value in settings.items()}
        self.body, self.state = body, ServerState()
        self.context = Context(load(given), None)  # type: ignore[arg-type]

    async def app(self, _: Any, __: Any, send: Any) -> None:
        headers = [(b"content-length", b"%d" % len(self.body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[socket.socket]:
        """Yield a client's connection to the service."""
        options: dict[str, Any] = {
            "lifespan": "off",
            "interface": "asgi3",
            "ws": "none",
            "log_config": None,
        }
        config = uvicorn.Config(self.app, access_log=False, timeout_keep_alive=1, **options)
        config.load()
        made = functools.partial(Connection, self.context, config=config, server_state=self.state)
        loop = asyncio.get_running_loop()
        server = await loop.create_server(functools.partial(made, app_state={}), "127.0.0.1", 0)
        sweeping = asyncio.create_task(sweep(self.context))
        client = socket.create_connection(server.sockets[0].getsockname())
        client.setblocking(False)
        try:
            yield client
        finally:
            client.close()
            sweeping.cancel()
            server.close()

    async def empty(self, seconds: float) -> None:
        """Wait until no connection and no task is left."""
        until = time.monotonic() + seconds
        while self.context.connections or self.state.tasks:
            assert time.monotonic() < until
            await asyncio.sleep(0.05)


def run(case: Any) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(case)


def cuts(reason: str) -> float:
    return float(metrics.CUT.labels(reason)._value.get())


@pytest.mark.parametrize("bytes_per_second", [0, 10])
@pytest.mark.parametrize("requests", [1, 8])
def test_a_client_that_does_not_read_is_cut(
    bytes_per_second: int, requests: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def case() -> None:
        service, before = Service(bytes(20_000_000), WRITE_TIMEOUT="1s"), cuts("write-timeout")
        async with service.open() as client:
            client.sendall(GET * requests)
            until = time.monotonic() + 6
            await asyncio.sleep(0.1)
            while service.context.connections and time.monotonic() < until:
                if bytes_per_second:
                    client.recv(1)
                await asyncio.sleep(1 / (bytes_per_second or 10))
            await service.empty(1)
        assert cuts("write-timeout") == before + 1

    with caplog.at_level(logging.DEBUG):
        run(case())
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_an_idle_client_with_an_unread_answer_is_cut_too() -> None:
    async def case() -> None:
        service = Service(bytes(20_000), WRITE_TIMEOUT="2s")
        async with service.open() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            for _ in range(400):  # until the buffers of the kernel are full
                with contextlib.suppress(BlockingIOError):
                    client.send(GET)
                await asyncio.sleep(0.002)
            await service.empty(8)

    run(case())


def test_a_client_that_reads_at_last_gets_all() -> None:
    async def case() -> None:
        service = Service(LARGE, WRITE_TIMEOUT="2s")
        async with service.open() as client:
            client.sendall(GET * 8)
            await asyncio.sleep(1)
            loop, got = asyncio.get_running_loop(), 0
            while got < 8 * len(LARGE):
                got += len(await asyncio.wait_for(loop.sock_recv(client, 1 << 20), 5))

    run(case())


@pytest.mark.parametrize("draining", [False, True])
def test_a_stop_cuts_those_that_do_not_read(draining: bool) -> None:
    async def case() -> None:
        service = Service(bytes(20_000_000), WRITE_TIMEOUT="60s", DRAIN_TIMEOUT="1500ms")
        async with service.open() as client:
            client.sendall(GET * 8)
            await asyncio.sleep(0.2)
            if draining:
                service.context.draining = True
            else:
                before = cuts("stop")
                cut_all(service.context)
                assert cuts("stop") == before + 1
            await service.empty(3)

    run(case())


def test_more_pipelined_requests_than_allowed_are_refused_behind_the_answers() -> None:
    async def case() -> None:
        service, before = Service(SMALL), cuts("too-many-pipelined")
        async with service.open() as client:
            loop, said = asyncio.get_running_loop(), b""
            client.sendall(GET * (MAX_UNANSWERED + 100))
            while part := await asyncio.wait_for(loop.sock_recv(client, 65536), 5):
                said += part
            client.close()
            await service.empty(3)
        assert said.count(b"HTTP/1.1 200 OK") == MAX_UNANSWERED
        assert said.count(b"HTTP/1.1 503 ") == 1
        assert b"too-many-pipelined" in said.rpartition(b"HTTP/1.1 ")[2]
        assert b"retry-after: 1" in said
        assert cuts("too-many-pipelined") == before + 1

    run(case())


def test_as_many_pipelined_requests_as_allowed_are_answered_again_and_again() -> None:
    async def case() -> None:
        service = Service(SMALL)
        async with service.open() as client:
            loop, said = asyncio.get_running_loop(), b""
            for turn in range(1, 4):
                client.sendall(GET * MAX_UNANSWERED)
                while said.count(SMALL) < turn * MAX_UNANSWERED:
                    said += await asyncio.wait_for(loop.sock_recv(client, 65536), 5)
        assert said.count(b"HTTP/1.1 200 OK") == 3 * MAX_UNANSWERED

    run(case())
