"""Answers on the wire are uvicorn's own bytes in one packet; a slow request head is noticed."""

from __future__ import annotations

import asyncio
import functools
import gc
import json
import weakref
from collections.abc import Callable, Coroutine
from typing import Any
from unittest import mock

import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from player_sessions.settings import load
from player_sessions.telemetry import metrics
from player_sessions.web import connections
from player_sessions.web.connections import Connection
from player_sessions.web.context import Context

LENGTH_5 = (b"content-length", b"5")
GET = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
CLOSE = (b"connection", b"close")
Message = dict[str, Any]
App = Callable[[Any, Any, Any], Coroutine[Any, Any, None]]


class Transport(asyncio.Transport):
    """A transport that keeps each write as an entry of its own."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self.written: list[bytes] = []
        self.closed = self.aborted = self.ended = False
        self.buffered = 0

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))

    def close(self) -> None:
        self.closed = True

    def write_eof(self) -> None:
        self.ended = True

    def abort(self) -> None:
        self.closed = self.aborted = True

    def get_write_buffer_size(self) -> int:
        return self.buffered

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


def start(*headers: tuple[bytes, bytes], status: int = 200) -> Message:
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def body(data: bytes, *, more: bool = False) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}


def app_of(*messages: Message) -> App:
    """Return an application that sends these messages and returns."""

    async def app(_: Any, __: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    return app


class Wire:
    """A connection, ours or uvicorn's own, between an application and a client's transport."""

    def __init__(self, app: App, *, ours: bool = True, crowd: int = 1000) -> None:
        config = uvicorn.Config(app, lifespan="off", ws="none", access_log=False, log_config=None)
        config.load()
        settings = load({"PLAYER_SESSIONS_MAX_CONNECTIONS": str(crowd)})
        self.service = Context(settings, None)  # type: ignore[arg-type]
        self.state, self.transport = ServerState(), Transport()
        made: Any = functools.partial(Connection, self.service) if ours else HttpToolsProtocol
        self.connection = made(config=config, server_state=self.state, app_state={})
        self.connection.connection_made(self.transport)

    async def finish(self) -> Transport:
        """Wait until the application has ended, then close the connection."""
        while self.state.tasks:
            await asyncio.gather(*self.state.tasks)
        if timer := getattr(self.connection, "timeout_keep_alive_task", None):  # of uvicorn's own
            timer.cancel()
        return self.transport


def exchange(app: App, *requests: bytes, ours: bool = True) -> Transport:
    """Return the transport after these requests to an application."""

    async def run() -> Transport:
        wire = Wire(app, ours=ours)
        for request in requests:
            wire.connection.data_received(request)
        return await wire.finish()

    return asyncio.run(run())


def answered(*messages: Message, request: bytes = GET) -> Transport:
    """Return the transport after an application has sent these messages."""
    return exchange(app_of(*messages), request)


def test_an_answer_in_one_piece_is_one_packet() -> None:
    transport = answered(start(LENGTH_5, (b"x-own", b"1")), body(b"hello"))
    (packet,) = transport.written
    assert packet == b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nx-own: 1\r\n\r\nhello"
    assert not transport.closed


def test_two_requests_at_once_are_answered_in_order() -> None:
    two = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n" * 2
    transport = answered(start(LENGTH_5), body(b"hello"), request=two)
    assert [packet[-5:] for packet in transport.written] == [b"hello", b"hello"]


@pytest.mark.parametrize(
    ("messages", "request_", "expected"),
    [
        pytest.param(
            [start(), body(b"hel", more=True), body(b"lo")],
            b"GET / HTTP/1.1\r\nhost: a\r\n\r\n",
            b"transfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
            id="in pieces",
        ),
        pytest.param(
            [start(LENGTH_5), body(b"hello")],
            b"HEAD / HTTP/1.1\r\nhost: a\r\n\r\n",
            b"content-length: 5\r\n\r\n",
            id="HEAD",
        ),
        pytest.param(
            [start(LENGTH_5), body(b"hello")],
            b"GET / HTTP/1.0\r\n\r\n",
            b"connection: close\r\n\r\nhello",
            id="no keep-alive",
        ),
        pytest.param(
            [start(status=204), body(b"")],
            b"GET / HTTP/1.1\r\nhost: a\r\n\r\n",
            b"HTTP/1.1 204 No Content\r\n\r\n",
            id="no body",
        ),
    ],
)
def test_all_other_bytes_are_those_of_uvicorn(
    messages: list[Message], request_: bytes, expected: bytes
) -> None:
    assert b"".join(answered(*messages, request=request_).written).endswith(expected)


def test_an_answer_with_connection_close_closes_the_connection() -> None:
    transport = answered(start(LENGTH_5, (b"connection", b"close")), body(b"hello"))
    assert transport.closed
    assert b"connection: close" in b"".join(transport.written)


def test_an_answer_without_its_body_is_an_error() -> None:
    assert b"".join(answered(start(LENGTH_5)).written).startswith(b"HTTP/1.1 500 ")


@pytest.mark.parametrize("told", [b"4", b"6"])
def test_a_wrong_length_closes_the_connection(told: bytes) -> None:
    transport = answered(start((b"content-length", told)), body(b"hello"))
    assert transport.closed


def failing(*messages: Message) -> App:
    """Return an application that fails after these messages."""

    async def app(_: Any, __: Any, send: Any) -> None:
        for message in messages:
            await send(message)
        raise RuntimeError("a bug")

    return app


async def echo(_: Any, receive: Any, send: Any) -> None:
    """Answer with the request's body."""
    message = await receive()
    while message["more_body"]:
        message = await receive()
    await send(start(LENGTH_5))
    await send(body(message["body"]))


HELLO = app_of(start(LENGTH_5, (b"x-own", b"1")), body(b"hello"))
PIECES = app_of(start(), body(b"hel", more=True), body(b"lo", more=True), body(b""))
KNOWN_PIECES = app_of(start(LENGTH_5), body(b"hel", more=True), body(b"lo"))
POST = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n"
HEAD = b"HEAD / HTTP/1.1\r\nhost: a\r\n\r\n"


@pytest.mark.parametrize(
    ("app", "requests", "packets"),
    [
        pytest.param(HELLO, [GET], 1, id="plain"),
        pytest.param(HELLO, [HEAD], 1, id="HEAD"),
        pytest.param(app_of(start(LENGTH_5, CLOSE), body(b"hello")), [GET], 1, id="close"),
        pytest.param(app_of(start(LENGTH_5, CLOSE), body(b"hello")), [HEAD], 1, id="HEAD, close"),
        pytest.param(HELLO, [b"GET / HTTP/1.0\r\n\r\n"], 1, id="HTTP/1.0"),
        pytest.param(HELLO, [b"HEAD / HTTP/1.0\r\n\r\n"], 1, id="HEAD, HTTP/1.0"),
        pytest.param(
            HELLO,
            [b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"],
            1,
            id="client closes",
        ),
        pytest.param(echo, [POST, b"hello"], 2, id="100-continue"),
        pytest.param(app_of(start(), body(b"hello")), [GET], 1, id="chunked"),
        pytest.param(PIECES, [GET], 3, id="streaming"),
        pytest.param(KNOWN_PIECES, [GET], 2, id="streaming, length known"),
        pytest.param(PIECES, [HEAD], 1, id="streaming, HEAD"),
        pytest.param(app_of(start(status=204), body(b"")), [GET], 1, id="204"),
        pytest.param(app_of(start(status=304), body(b"")), [GET], 1, id="304"),
        pytest.param(HELLO, [GET * 3], 3, id="pipelined"),
        pytest.param(HELLO, [GET + HEAD + GET], 3, id="pipelined HEAD"),
        pytest.param(HELLO, [GET, GET], 2, id="one request after another"),
        pytest.param(
            failing(start(LENGTH_5), body(b"hel", more=True)), [GET], 1, id="crash within the body"
        ),
        pytest.param(
            failing(start(LENGTH_5), body(b"hello")), [GET], 1, id="crash after the answer"
        ),
        pytest.param(
            app_of(start((b"content-length", b"6")), body(b"hello")), [GET], 1, id="short"
        ),
        pytest.param(
            app_of(start(LENGTH_5), body(b"\r\n\r\n\r"), body(b"!")),
            [GET],
            1,
            id="too many messages",
        ),
        pytest.param(
            app_of(start(), body(b"\r\n\r\n", more=True), body(b"\r\n\r\n")),
            [GET],
            2,
            id="a body like the end of a head",
        ),
    ],
)
def test_the_bytes_are_uvicorns_in_as_few_packets_as_can_be(
    app: App, requests: list[bytes], packets: int
) -> None:
    theirs, ours = exchange(app, *requests, ours=False), exchange(app, *requests)
    assert b"".join(ours.written) == b"".join(theirs.written)
    assert ours.closed == theirs.closed
    assert len([packet for packet in ours.written if packet]) == packets


@pytest.mark.parametrize(
    "app",
    [
        failing(),
        app_of(),
        app_of(body(b"hello")),
        failing(start(LENGTH_5)),
        app_of(start(LENGTH_5)),
        app_of(start(LENGTH_5), body(b"too long")),
        app_of(start(LENGTH_5, (b"x-own", b"1\r\nx-more: 2")), body(b"hello")),
    ],
    ids=[
        "crash at once", "no answer", "no head", "crash behind the head", "no body",
        "body too long", "a value with another header",
    ],
)  # fmt: skip
def test_a_failure_before_the_body_is_a_500(app: App) -> None:
    transport = exchange(app, GET)
    (packet,) = transport.written
    assert packet.startswith(b"HTTP/1.1 500 Internal Server Error\r\nconnection: close\r\n")
    assert b"internal-error" in packet
    assert transport.closed


def test_a_part_of_a_body_leaves_at_once_and_a_head_waits_for_it() -> None:
    async def run() -> None:
        go = asyncio.Event()

        async def app(_: Any, __: Any, send: Any) -> None:
            await send(start())
            await go.wait()
            await send(body(b"hel", more=True))
            await asyncio.Event().wait()

        wire = Wire(app)
        wire.connection.data_received(GET)
        await asyncio.sleep(0.01)
        # ASGI forbids sending the head before a part of the body.
        assert wire.transport.written == []
        go.set()
        await asyncio.sleep(0.01)
        (packet,) = wire.transport.written
        assert packet.endswith(b"3\r\nhel\r\n")
        (task,) = wire.state.tasks
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await wire.finish()
        assert wire.transport.closed

    asyncio.run(run())


def test_an_answer_waits_while_the_client_does_not_read() -> None:
    async def run() -> None:
        wire = Wire(PIECES)
        wire.connection.pause_writing()
        wire.connection.data_received(GET)
        await asyncio.sleep(0.01)
        assert wire.transport.written == []
        wire.connection.resume_writing()
        await wire.finish()
        assert len(wire.transport.written) == 3

    asyncio.run(run())


@pytest.mark.parametrize("cut", [False, True])
def test_a_client_that_leaves_between_head_and_body_is_sent_nothing(cut: bool) -> None:
    async def run() -> None:
        go = asyncio.Event()

        async def app(_: Any, __: Any, send: Any) -> None:
            await send(start(LENGTH_5))
            await go.wait()
            await send(body(b"hello"))

        wire = Wire(app)
        wire.connection.data_received(GET)
        await asyncio.sleep(0.01)
        if cut:
            wire.connection.cut(metrics.HEAD_TIMEOUT)
        wire.transport.closed = True
        wire.connection.connection_lost(None)
        go.set()
        await wire.finish()
        assert wire.transport.written == []
        assert wire.service.connections == set()

    asyncio.run(run())


def test_one_connection_too_many_is_refused_in_one_packet() -> None:
    async def run() -> None:
        wire = Wire(HELLO, crowd=1)
        wire.service.connections.add(object())
        assert wire.transport.written == []
        refused, connection = Transport(), wire.connection
        connection.connection_made(refused)
        (packet,) = refused.written
        assert packet.startswith(b"HTTP/1.1 503 ")
        assert refused.closed
        assert connection.waits_for() == [
            metrics.HEAD_TIMEOUT
        ]  # so it is cut if the client does not read the answer

    asyncio.run(run())


def test_when_a_connection_waits_for_a_head() -> None:
    async def run() -> None:
        go = asyncio.Event()

        async def app(_: Any, __: Any, send: Any) -> None:
            await go.wait()
            await send(start(LENGTH_5))
            await send(body(b"hello"))

        wire = Wire(app)
        connection = wire.connection

        def waits() -> list[str]:
            waiting: list[str] = connection.waits_for()
            return waiting

        head, idle = [metrics.HEAD_TIMEOUT], [metrics.IDLE]
        assert waits() == head  # it waits for the first byte
        connection.data_received(GET[:5])
        assert waits() == head
        connection.data_received(GET[5:] + GET)
        assert waits() == []
        go.set()
        while len(wire.transport.written) < 2:
            await asyncio.sleep(0)
            assert waits() in ([], idle)  # it becomes idle with the last answer
        await wire.finish()
        assert waits() == idle
        connection.data_received(GET[:1])
        assert waits() == head
        connection.data_received(GET[1:] + GET + b"G")  # two requests and a byte of the next one
        assert waits() == []
        await wire.finish()
        assert waits() == head
        connection.data_received(b"ET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        assert waits() == []
        await wire.finish()
        assert wire.transport.closed
        assert waits() == head  # it waits until the client has read the answer

    asyncio.run(run())


def test_a_lost_connection_leaves_no_reference_cycle() -> None:
    """The collector runs rarely, so a cycle would keep the memory of many connections."""

    async def run() -> None:
        wire = Wire(HELLO)
        wire.connection.data_received(GET + GET[:9])
        await wire.finish()
        connection, wire.connection = wire.connection, None
        gone = weakref.ref(connection)
        connection.connection_lost(None)
        del connection
        assert gone() is None

    gc.disable()
    try:
        asyncio.run(run())
    finally:
        gc.enable()


def told() -> tuple[list[tuple[Any, ...]], App]:
    """Return a list that gets each request, and the application that fills it."""
    requests: list[tuple[Any, ...]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        got = b""
        while (message := await receive())["more_body"]:
            got += message["body"]
        got += message["body"]
        requests.append((scope["method"], scope["path"], got, dict(scope["headers"])))
        await send(start(LENGTH_5))
        await send(body(b"hello"))

    return requests, app


OFFERS = [
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
    b"Connection: keep-alive, upgrade\r\nupgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
    b"UPGRADE: TLS/1.2\r\nconnection: UPGRADE\r\n",
]


@pytest.mark.parametrize("offer", OFFERS, ids=["h2c", "websocket", "TLS"])
@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize(
    "framed",
    [
        b"Content-Length: 5\r\n\r\nworld",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nworld\r\n0\r\n\r\n",
    ],
    ids=["length", "chunked"],
)
def test_a_request_that_offers_an_upgrade_is_served_as_without_the_offer(
    offer: bytes, size: int, framed: bytes
) -> None:
    one = b"POST /x?y=1 HTTP/1.1\r\nHost: a\r\n" + offer + b"X-Own: 1\r\n" + framed
    data = one + b"GET /z HTTP/1.1\r\nHost: a\r\n" + offer + b"\r\n" + one
    requests, app = told()
    transport = exchange(app, *(data[i : i + size] for i in range(0, len(data), size)))
    assert [answer[-5:] for answer in transport.written] == [b"hello"] * 3
    assert not transport.closed
    post = ("POST", "/x", b"world")
    assert [request[:3] for request in requests] == [post, ("GET", "/z", b""), post]
    assert requests[0][3][b"x-own"] == b"1"
    assert not any(b"upgrade" in request[3] for request in requests)


def test_an_offer_and_an_expectation_go_together() -> None:
    requests, app = told()
    head = POST.removesuffix(b"\r\n") + OFFERS[0] + b"\r\n"
    transport = exchange(app, head, b"world")
    assert b"".join(transport.written).count(b"HTTP/1.1 200 OK") == 1
    assert [request[2] for request in requests] == [b"world"]


def test_a_request_behind_a_connect_is_served() -> None:
    requests, app = told()
    exchange(app, b"CONNECT /x HTTP/1.1\r\nHost: a\r\n\r\n" + GET)
    assert [request[0] for request in requests] == ["CONNECT", "GET"]


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"/x?y", "/x"),
        (b"//x", "//x"),
        (b"/a%20b%2Fc", "/a b/c"),
        (b"http://a/x?y", "/x"),
        (b"http://a", "/"),
        (b"http://a?y", "/"),
        (b"*", "*"),
    ],
)
def test_the_path_of_each_form_of_a_target(target: bytes, path: str) -> None:
    requests, app = told()
    exchange(app, GET.replace(b" / ", b" %b " % target))
    assert [request[1] for request in requests] == [path]


def problem_of(answer: bytes) -> tuple[bytes, Any]:
    """Return the status line and the document of a problem after which the connection closes."""
    head, _, document = answer.partition(b"\r\n\r\n")
    status, *headers = head.split(b"\r\n")
    assert b"connection: close" in headers
    assert b"content-type: application/problem+json" in headers
    assert b"content-length: %d" % len(document) in headers
    return status, json.loads(document)


MALFORMED = [
    b"no request\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: a\r\nHOST: a\r\n\r\n",
    b"GET / HTTP/1.0\r\nhost: a\r\nhost: b\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: a\r\nupgrade: h2c\r\nconnection: upgrade\r\nhost: b\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: a\r\nno header\r\n\r\n",
    b"GET \xff HTTP/1.1\r\nhost: a\r\n\r\n",
    b"CONNECT a:1 HTTP/1.1\r\nhost: a\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
]


@pytest.mark.parametrize("bad", MALFORMED)
@pytest.mark.parametrize("before", [0, 2])
def test_what_is_not_http_gets_a_problem_behind_the_answers_to_what_was(
    bad: bytes, before: int
) -> None:
    _, app = told()
    transport = exchange(app, GET * before + bad + GET, GET)
    *answers, refusal = transport.written
    assert [answer[-5:] for answer in answers] == [b"hello"] * before
    status, document = problem_of(refusal)
    assert status == b"HTTP/1.1 400 Bad Request"
    assert document["type"].endswith(":malformed-request")
    assert transport.ended  # the rest of what the client sends is read, so that it can read this


CHUNKED = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"


def refused_within_a_body(*parts: bytes) -> list[bytes]:
    """Return what is written when these parts come one after another, then the client leaves."""

    async def run() -> list[bytes]:
        wire = Wire(echo)
        for part in parts:
            wire.connection.data_received(part)
            await asyncio.sleep(0.01)
        wire.connection.connection_lost(None)
        return (await wire.finish()).written

    return asyncio.run(run())


@pytest.mark.parametrize(
    "parts",
    [(CHUNKED, b"no chunk", GET), (CHUNKED.replace(b"chunked", b"x") + GET, GET)],
    ids=["no chunk", "unknown coding"],
)
def test_a_body_that_is_not_http_gets_a_problem_instead_of_the_answer(parts: list[bytes]) -> None:
    *answers, refusal = refused_within_a_body(*parts)
    assert answers == []
    status, document = problem_of(refusal)
    assert status == b"HTTP/1.1 400 Bad Request"
    assert document["type"].endswith(":malformed-request")


def test_a_refusal_does_not_interrupt_an_answer() -> None:
    async def streams(_: Any, receive: Any, send: Any) -> None:
        await send(start())
        await send(body(b"hel", more=True))
        await receive()
        await receive()
        await send(body(b"lo"))

    async def run() -> Transport:
        wire = Wire(streams)
        wire.connection.data_received(CHUNKED + b"1\r\nx\r\n")
        await asyncio.sleep(0.01)
        wire.connection.data_received(b"no chunk")
        wire.connection.connection_lost(None)
        return await wire.finish()

    (packet,) = asyncio.run(run()).written
    assert packet.endswith(b"3\r\nhel\r\n")


def test_a_connection_that_was_refused_is_cut_when_its_client_stays() -> None:
    async def run() -> None:
        with mock.patch.object(connections, "_LINGER_SECONDS", 0.01):
            wire = Wire(HELLO)
            wire.connection.data_received(b"no request\r\n\r\n")
            assert not wire.transport.closed
            await asyncio.sleep(0.05)
            assert wire.transport.aborted
        wire = Wire(HELLO)
        wire.connection.data_received(b"no request\r\n\r\n")
        assert not wire.connection.eof_received()  # so the transport closes

    asyncio.run(run())


@pytest.mark.parametrize("count", [0, 1, 3])
@pytest.mark.parametrize("unfinished", [b"", b"GET / HT", POST, POST + b"hell"])
def test_a_half_closed_connection_gets_its_answers_and_is_closed(
    count: int, unfinished: bytes
) -> None:
    async def run() -> None:
        wire = Wire(HELLO)
        wire.connection.data_received(GET * count + unfinished)
        assert wire.connection.eof_received() == bool(count)
        assert wire.transport.closed != bool(count)
        while not wire.transport.closed:
            await asyncio.sleep(0)
        assert [packet[-5:] for packet in wire.transport.written] == [b"hello"] * count
        assert not wire.connection.eof_received()
        wire.connection.connection_lost(None)
        await wire.finish()
        assert len(wire.transport.written) == count

    asyncio.run(run())


def endless(head: bytes, more: bytes) -> list[bytes]:
    """Return parts of a request that never ends: 256 KiB behind its beginning."""
    return [head, *[(more * (40_000 // len(more) + 1))[:40_000]] * 7]


TOO_LARGE = {
    "lines of headers": endless(b"GET / HTTP/1.1\r\n", b"x-a: " + b"b" * 3000 + b"\r\n"),
    "one header": endless(b"GET / HTTP/1.1\r\nx-a: ", b"b"),
    "the name of a header": endless(b"GET / HTTP/1.1\r\n", b"b"),
    "the target": endless(b"GET /", b"b"),
    "empty lines": endless(b"", b"\r\n"),
    "an offer": endless(b"GET / HTTP/1.1\r\nupgrade: a\r\nconnection: upgrade\r\nx: ", b"b"),
    "number of headers": [b"GET / HTTP/1.1\r\n" + b"a:\r\n" * 102],
    "number of headers, complete": [GET[:-2] + b"a:\r\n" * 100 + b"\r\n"],
    "one packet": [b"GET / HTTP/1.1\r\nx-a: " + b"b" * 1_000_000],
    "behind a request": [GET + b"GET / HTTP/1.1\r\nx-a: " + b"b" * 100_000],
}
TOO_LARGE_WITHIN = {
    "an extension of a chunk": endless(CHUNKED + b"1;", b"b"),
    "extensions of many chunks": endless(CHUNKED, b"1;" + b"b" * 3000 + b"\r\nx\r\n"),
    "a trailer": endless(CHUNKED + b"0\r\nx-a: ", b"b"),
    "trailers": endless(CHUNKED + b"0\r\n", b"x-a: " + b"b" * 3000 + b"\r\n"),
    "number of trailers": [CHUNKED + b"0\r\n" + b"a:\r\n" * 102],
}


def is_too_large(refusal: bytes) -> bool:
    status, document = problem_of(refusal)
    assert status == b"HTTP/1.1 431 Request Header Fields Too Large"
    return bool(document["type"].endswith(":head-too-large"))


@pytest.mark.parametrize("parts", TOO_LARGE.values(), ids=TOO_LARGE)
def test_a_head_beyond_its_bound_gets_431(parts: list[bytes]) -> None:
    _, app = told()
    *answers, refusal = exchange(app, *parts).written
    assert len(answers) == parts[0].startswith(GET + GET[:5])
    assert is_too_large(refusal)


@pytest.mark.parametrize("parts", TOO_LARGE_WITHIN.values(), ids=TOO_LARGE_WITHIN)
def test_what_surrounds_a_body_has_the_same_bound(parts: list[bytes]) -> None:
    (refusal,) = refused_within_a_body(*parts)
    assert is_too_large(refusal)


def test_what_follows_the_last_request_has_the_same_bound() -> None:
    requests, app = told()
    last = GET[:-2] + b"connection: close\r\n\r\n"
    (packet,) = exchange(app, last + b"b" * 100_000, b"b" * 100_000).written
    assert (packet[-5:], len(requests)) == (b"hello", 1)


def test_a_request_within_the_bounds_is_served() -> None:
    requests, app = told()
    head = GET[:-2] + b"a: b\r\n" * 98 + b"x: " + b"c" * 64_000 + b"\r\n\r\n"
    post = CHUNKED + b"".join(b"1;ext=1\r\nx\r\n" for _ in range(4000)) + b"0\r\nt: u\r\n\r\n"
    data = (head + post) * 3
    for size in (1000, 50_000, len(data)):
        transport = exchange(app, *(data[i : i + size] for i in range(0, len(data), size)))
        assert [packet[-5:] for packet in transport.written] == [b"hello"] * 6
    assert {len(request[2]) for request in requests} == {0, 4000}
    assert not any(b"t" in request[3] for request in requests)  # a trailer is no header
