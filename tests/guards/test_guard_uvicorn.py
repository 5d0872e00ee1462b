"""Guard the undocumented parts of uvicorn that we use; a version that changes them fails here.

Each message names our file that must be looked at again.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn
from httptools import HttpParserCallbackError, HttpParserUpgrade, HttpRequestParser
from uvicorn.server import ServerState

CONNECTIONS = "service/player_sessions/web/connections.py relies on this behaviour of uvicorn"
READER = "service/player_sessions/web/request_reader.py relies on this behaviour of httptools"
SERVER = "service/player_sessions/server.py relies on this behaviour of uvicorn"


class Server(uvicorn.Server):
    """A server without signal handlers, like `server._Server`."""

    entered = left = False

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        self.entered = True
        yield
        self.left = True


class Protocol(asyncio.Protocol):
    """A protocol that says `hello` and notes what uvicorn asks of it."""

    def __init__(self, config: Any, server_state: ServerState, app_state: Any, _loop: Any) -> None:
        assert app_state == {}, CONNECTIONS
        self.config, self.state = config, server_state
        self.closed = asyncio.Event()
        self.asked_to_shut_down = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport
        self.state.connections.add(self)  # type: ignore[arg-type]
        transport.write(b"hello")

    def connection_lost(self, _: Exception | None) -> None:
        self.state.connections.discard(self)

    def shutdown(self) -> None:
        self.asked_to_shut_down = True


async def application(_: Any, __: Any, ___: Any) -> None:
    raise AssertionError


class Serving:
    """A server with protocols of ours."""

    def __init__(self) -> None:
        self.made: list[Protocol] = []
        options: Any = {"http": self._make, "lifespan": "off", "ws": "none", "log_config": None}
        config = uvicorn.Config(application, server_header=False, proxy_headers=False, **options)
        self.server = Server(config)

    def _make(self, **given: Any) -> Protocol:
        self.made.append(Protocol(**given))
        return self.made[-1]

    @contextlib.asynccontextmanager
    async def run(self) -> Any:
        listener = socket.create_server(("127.0.0.1", 0))
        serving = asyncio.create_task(self.server.serve(sockets=[listener]))
        while not self.server.started:
            await asyncio.sleep(0.01)
        yield serving, listener.getsockname()
        self.server.should_exit = True
        await asyncio.wait_for(serving, 5)


def test_the_server_makes_our_protocol_and_shares_its_state() -> None:
    async def run() -> None:
        made = Serving()
        async with made.run() as (_, address):
            reader, writer = await asyncio.open_connection(*address)
            assert await reader.readexactly(5) == b"hello", CONNECTIONS
            (protocol,) = made.made
            assert protocol.config.loaded_app is application, CONNECTIONS
            assert protocol.state is made.server.server_state, CONNECTIONS
            assert protocol.state.total_requests == 0, CONNECTIONS
            ((name, _),) = protocol.state.default_headers
            assert name == b"date", CONNECTIONS
            writer.close()

    asyncio.run(run())


def test_the_server_ends_when_its_connections_and_tasks_have_ended() -> None:
    async def run() -> None:
        made = Serving()
        async with made.run() as (serving, address):
            _, writer = await asyncio.open_connection(*address)
            while not made.made:
                await asyncio.sleep(0.01)
            (protocol,) = made.made
            task: asyncio.Task[Any] = asyncio.create_task(protocol.closed.wait())
            protocol.state.tasks.add(task)
            made.server.should_exit = True
            while not protocol.asked_to_shut_down:
                await asyncio.sleep(0.01)
            protocol.transport.close()
            await asyncio.sleep(0.3)
            assert not serving.done(), CONNECTIONS  # it waits for the task
            protocol.closed.set()
            await task
            protocol.state.tasks.discard(task)
            await asyncio.wait_for(asyncio.shield(serving), 5)
            writer.close()

    asyncio.run(run())


def test_the_server_listens_closes_and_ends_as_the_drain_wants() -> None:
    async def run() -> None:
        made, before = Serving(), signal.getsignal(signal.SIGTERM)
        async with made.run() as (_, address):
            assert made.server.entered, SERVER
            assert signal.getsignal(signal.SIGTERM) == before, SERVER
            reader, writer = await asyncio.open_connection(*address)
            (one,) = made.server.servers
            one.close()
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(*address)
            assert await reader.readexactly(5) == b"hello", SERVER  # the open one goes on
            writer.close()
        assert made.server.left, SERVER

    asyncio.run(run())


def test_what_the_parser_says_of_an_offer_to_change_the_protocol() -> None:
    parser = HttpRequestParser(object())
    head = b"POST /x?y HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: c\r\n\r\n"
    with pytest.raises(HttpParserUpgrade) as stop:
        parser.feed_data(head + b"more")
    assert stop.value.args[0] == len(head), READER
    assert parser.should_upgrade(), READER
    assert parser.get_method() == b"POST", READER


def test_what_a_callback_raises_is_the_context_of_the_parsers_error() -> None:
    class Refuses:
        def on_headers_complete(self) -> None:
            raise ValueError("x")

    with pytest.raises(HttpParserCallbackError) as failed:
        HttpRequestParser(Refuses()).feed_data(b"GET / HTTP/1.1\r\n\r\n")
    assert isinstance(failed.value.__context__, ValueError), READER
