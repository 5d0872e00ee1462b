"""Guard the undocumented parts of uvicorn that we use; a version that changes them fails here.

Each message names our file that must be looked at again.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import signal
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn
from httptools import HttpParserUpgrade
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

CONNECTIONS = "service/player_sessions/web/connections.py relies on this behaviour of uvicorn"
SERVER = "service/player_sessions/server.py relies on this behaviour of uvicorn"
GET = b"GET / HTTP/1.1\r\n\r\n"
HEAD = b"HEAD / HTTP/1.1\r\n\r\n"
POST = b"POST / HTTP/1.1\r\ncontent-length: 1\r\nexpect: 100-continue\r\n\r\n"
LENGTH_5 = (b"content-length", b"5")
CLOSE = (b"connection", b"close")
HEAD_SENT, COMPLETE, CLOSED = "head", "complete", "close"


def start(*headers: tuple[bytes, bytes]) -> dict[str, Any]:
    return {"type": "http.response.start", "status": 200, "headers": list(headers)}


def body(data: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": more}


class Transport(asyncio.Transport):
    """A transport that notes each call; methods not defined here raise NotImplementedError."""

    def __init__(self, notes: list[Any]) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self.notes, self.closing = notes, False

    def write(self, data: Any) -> None:
        is_head = data.startswith(b"HTTP/1.1 200 ") and data.endswith(b"\r\n\r\n")
        self.notes.append(HEAD_SENT if is_head else bytes(data))

    def close(self) -> None:
        self.closing = True
        self.notes.append(CLOSED)

    def is_closing(self) -> bool:
        return self.closing

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


class Protocol(HttpToolsProtocol):
    """A protocol that notes the callbacks that `Connection` overrides."""

    notes: list[Any]

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self.notes.append("request head")

    def on_response_complete(self) -> None:
        self.notes.append(COMPLETE)
        super().on_response_complete()

    def timeout_keep_alive_handler(self) -> None:
        self.notes.append("idle")
        super().timeout_keep_alive_handler()


def noted(app: Any, *requests: bytes, idle: float = 0) -> list[Any]:
    """Return what uvicorn calls, in order, while it serves these requests."""

    async def run() -> list[Any]:
        config = uvicorn.Config(
            app,
            lifespan="off",
            ws="none",
            access_log=False,
            log_config=None,
            timeout_keep_alive=idle or 60,  # type: ignore[arg-type]
        )
        config.load()
        state = ServerState()
        notes: list[Any] = []
        connection = Protocol(config=config, server_state=state, app_state={}, _loop=None)
        connection.notes = notes
        transport = Transport(notes)
        connection.connection_made(transport)
        for request in requests:
            connection.data_received(request)
            while state.tasks:
                await asyncio.sleep(0)
        await asyncio.sleep(2 * idle)
        transport.closing = True
        connection.connection_lost(None)
        return notes

    notes = asyncio.run(run())
    return notes[:-1]  # leave out the close by connection_lost


def app_of(*messages: dict[str, Any], fail: bool = False, read: bool = False) -> Any:
    async def app(_: Any, receive: Any, send: Any) -> None:
        if read:
            await receive()
        for message in messages:
            await send(message)
        if fail:
            raise RuntimeError("a bug")

    return app


@pytest.mark.parametrize(
    ("app", "request_", "expected"),
    [
        (app_of(start(LENGTH_5), body(b"hello")), GET, [HEAD_SENT, b"hello", COMPLETE]),
        (app_of(start(LENGTH_5), body(b"hello")), HEAD, [HEAD_SENT, COMPLETE]),
        (
            app_of(start(LENGTH_5, CLOSE), body(b"hello")),
            GET,
            [HEAD_SENT, b"hello", CLOSED, COMPLETE],
        ),
        (app_of(start(LENGTH_5, CLOSE), body(b"hello")), HEAD, [HEAD_SENT, CLOSED, COMPLETE]),
        (app_of(start((b"content-length", b"0")), body(b"")), GET, [HEAD_SENT, b"", COMPLETE]),
        (app_of(start(LENGTH_5), fail=True), GET, [HEAD_SENT, CLOSED]),
        (app_of(start(LENGTH_5)), GET, [HEAD_SENT, CLOSED]),
        (
            app_of(start(), body(b"x", more=True), body(b"")),
            GET,
            [HEAD_SENT, b"1\r\nx\r\n", b"0\r\n\r\n", COMPLETE],
        ),
    ],
    ids=["plain", "HEAD", "close", "HEAD close", "empty", "crash", "no body", "chunked"],
)
def test_the_order_of_writes_close_and_completion(
    app: Any, request_: bytes, expected: list[Any]
) -> None:
    assert noted(app, request_) == ["request head", *expected], CONNECTIONS


def test_the_callbacks_of_pipelined_requests() -> None:
    app = app_of(start(LENGTH_5), body(b"hello"))
    answer = [HEAD_SENT, b"hello", COMPLETE]
    assert noted(app, GET + GET) == ["request head"] * 2 + answer * 2, CONNECTIONS


def test_100_continue_is_a_write_of_its_own() -> None:
    _, written, *rest = noted(app_of(start(LENGTH_5), body(b"hello"), read=True), POST + b"x")
    assert written == b"HTTP/1.1 100 Continue\r\n\r\n", CONNECTIONS
    assert rest == [HEAD_SENT, b"hello", COMPLETE], CONNECTIONS


def test_a_bad_request_is_one_write_and_a_close() -> None:
    head, closed = noted(app_of(), b"no request\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 "), CONNECTIONS
    assert not head.endswith(b"\r\n\r\n"), CONNECTIONS
    assert closed == CLOSED, CONNECTIONS


def test_an_idle_connection_is_handed_to_the_handler_after_a_fraction_of_a_second() -> None:
    app = app_of(start(LENGTH_5), body(b"hello"))
    assert noted(app, GET, idle=0.05)[-2:] == ["idle", CLOSED], CONNECTIONS


def test_the_protocol_is_one_of_asyncio_that_httptools_calls() -> None:
    assert issubclass(HttpToolsProtocol, asyncio.Protocol), CONNECTIONS
    keywords = set(inspect.signature(HttpToolsProtocol.__init__).parameters)
    assert {"config", "server_state", "app_state", "_loop"} <= keywords, CONNECTIONS


def test_a_callable_may_stand_for_the_protocol() -> None:
    def made(**_: Any) -> Any:
        raise AssertionError

    config = uvicorn.Config(app_of(), http=made, log_config=None)  # type: ignore[arg-type]
    config.load()
    assert config.http_protocol_class is made, SERVER


class Server(uvicorn.Server):
    """A server without signal handlers, like `server._Server`."""

    entered = left = False

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        self.entered = True
        yield
        self.left = True


def test_the_server_listens_closes_and_ends_as_the_drain_wants() -> None:
    async def run() -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        address = listener.getsockname()
        config = uvicorn.Config(
            app_of(start(LENGTH_5), body(b"hello")), lifespan="off", log_config=None, ws="none"
        )
        server, before = Server(config), signal.getsignal(signal.SIGTERM)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:
            await asyncio.sleep(0.01)
        assert server.entered, SERVER
        assert signal.getsignal(signal.SIGTERM) == before, SERVER
        reader, writer = await asyncio.open_connection(*address)
        (one,) = server.servers
        one.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*address)
        writer.write(b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n")
        assert (await reader.read()).endswith(b"hello"), SERVER
        writer.close()
        server.should_exit = True
        await asyncio.wait_for(serving, 5)
        assert server.left, SERVER

    asyncio.run(run())


def test_the_names_of_the_protocol_that_reading_needs() -> None:
    async def run() -> None:
        config = uvicorn.Config(
            app_of(), lifespan="off", ws="none", access_log=False, log_config=None
        )
        config.load()
        state = ServerState()
        connection = Protocol(config=config, server_state=state, app_state={}, _loop=None)
        connection.notes = []
        connection.connection_made(Transport([]))
        head = b"POST /x?y HTTP/1.1\r\nA: b\r\nConnection: upgrade\r\nUpgrade: c\r\n\r\n"
        with pytest.raises(HttpParserUpgrade) as stop:
            connection.parser.feed_data(head + b"more")
        assert stop.value.args[0] == len(head), CONNECTIONS
        assert connection.parser.should_upgrade(), CONNECTIONS
        assert (connection.parser.get_method(), connection.url) == (b"POST", b"/x?y"), CONNECTIONS
        assert connection.headers[0] == (b"a", b"b"), CONNECTIONS
        assert connection.headers is connection.scope["headers"], CONNECTIONS
        connection.timeout_keep_alive_task = asyncio.get_running_loop().call_later(9, print)
        connection._unset_keepalive_if_required()
        assert connection.timeout_keep_alive_task is None, CONNECTIONS
        await asyncio.gather(*state.tasks)

    asyncio.run(run())
    assert inspect.signature(HttpToolsProtocol.send_400_response).parameters.keys() == {
        "self",
        "msg",
    }, CONNECTIONS
    assert "lenient_data_after_close=True" in inspect.getsource(HttpToolsProtocol), CONNECTIONS
