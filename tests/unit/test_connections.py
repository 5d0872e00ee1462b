"""Answers on the wire: one packet where there is one piece, and uvicorn's own care otherwise."""

from __future__ import annotations

import asyncio
import functools
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from player_sessions.connections import Connection
from player_sessions.service import Service
from player_sessions.settings import load

LENGTH_5 = (b"content-length", b"5")
Message = dict[str, Any]


class Transport(asyncio.Transport):
    """Keeps each write apart."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self.written: list[bytes] = []
        self.closed = False

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))

    def close(self) -> None:
        self.closed = True

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


def answered(*messages: Message, request: bytes = b"GET / HTTP/1.1\r\n\r\n") -> Transport:
    """The transport after an application has sent these messages."""

    async def app(_: Any, __: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    async def run() -> Transport:
        config = uvicorn.Config(app, lifespan="off", ws="none", access_log=False, log_config=None)
        config.load()
        service: Any = Service(load({}), None)  # type: ignore[arg-type]
        state = ServerState()
        made = functools.partial(Connection, service, config=config, server_state=state)
        connection, transport = made(app_state={}), Transport()
        connection.connection_made(transport)
        connection.data_received(request)
        while state.tasks:
            await asyncio.gather(*state.tasks)
        if connection.timeout_keep_alive_task:
            connection.timeout_keep_alive_task.cancel()
        return transport

    return asyncio.run(run())


def test_an_answer_in_one_piece_is_one_packet() -> None:
    transport = answered(start(LENGTH_5, (b"x-own", b"1")), body(b"hello"))
    (packet,) = transport.written
    assert packet == b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nx-own: 1\r\n\r\nhello"
    assert not transport.closed


def test_two_requests_at_once_are_answered_in_order() -> None:
    two = b"GET / HTTP/1.1\r\n\r\n" * 2
    transport = answered(start(LENGTH_5), body(b"hello"), request=two)
    assert [packet[-5:] for packet in transport.written] == [b"hello", b"hello"]


@pytest.mark.parametrize(
    ("messages", "request_", "expected"),
    [
        pytest.param(
            [start(), body(b"hel", more=True), body(b"lo")],
            b"GET / HTTP/1.1\r\n\r\n",
            b"transfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
            id="in pieces",
        ),
        pytest.param(
            [start(LENGTH_5), body(b"hello")],
            b"HEAD / HTTP/1.1\r\n\r\n",
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
            b"GET / HTTP/1.1\r\n\r\n",
            b"HTTP/1.1 204 No Content\r\n\r\n",
            id="no body",
        ),
    ],
)
def test_all_else_is_as_uvicorn_does_it(
    messages: list[Message], request_: bytes, expected: bytes
) -> None:
    assert b"".join(answered(*messages, request=request_).written).endswith(expected)


def test_an_answer_that_asks_for_the_end_gets_it() -> None:
    transport = answered(start(LENGTH_5, (b"connection", b"close")), body(b"hello"))
    assert transport.closed
    assert b"connection: close" in b"".join(transport.written)


def test_an_answer_without_its_body_is_an_error() -> None:
    assert b"".join(answered(start(LENGTH_5)).written).startswith(b"HTTP/1.1 500 ")


def test_a_header_cannot_bring_another() -> None:
    transport = answered(start(LENGTH_5, (b"x-own", b"1\r\nx-more: 2")), body(b"hello"))
    assert (transport.written, transport.closed) == ([], True)


@pytest.mark.parametrize("told", [b"4", b"6"])
def test_a_wrong_length_closes_the_connection(told: bytes) -> None:
    transport = answered(start((b"content-length", told)), body(b"hello"))
    assert transport.closed
