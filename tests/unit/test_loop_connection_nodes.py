"""The driver's connection on a loop of ours, to nodes that freeze, fall silent or go away."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from types import SimpleNamespace
from typing import Any

import pytest
from cassandra import OperationTimedOut
from cassandra.connection import (
    ConnectionBusy,
    ConnectionHeartbeat,
    ConnectionShutdown,
    DefaultEndPoint,
)
from cassandra.protocol import OptionsMessage

from player_sessions.store.loop_connection import LoopConnection
from tests.peer import OPTIONS, ask, both_kinds, connected, frame, on_a_loop, read, until


@both_kinds
@on_a_loop
async def test_all_that_a_node_sent_is_read_although_it_sends_no_more(tls: bool) -> None:
    connection, peer = await connected(tls)
    bodies = {7: b"a" * 100_000, 8: b"b" * 4087, 9: b"c"}
    ended = ask(connection, *bodies)
    frames = b"".join(frame(stream, body) for stream, body in bodies.items())
    await asyncio.to_thread(peer.sendall, frames)
    await until(lambda: len(ended) == len(bodies))
    assert ended == {stream: (stream, body) for stream, body in bodies.items()}
    connection.close()
    peer.close()


@both_kinds
@on_a_loop
async def test_a_node_that_stops_reading_is_sent_no_more_until_it_reads_again(tls: bool) -> None:
    connection, peer = await connected(tls)
    size = 0
    while not connection.unsent:
        connection.push(bytes(1_000_000))
        size += 1_000_000
    with pytest.raises(ConnectionBusy):
        connection.send_msg(OptionsMessage(), 5, print)
    assert len(connection.unsent) == 1
    await asyncio.to_thread(read, peer, 9 + size)
    await until(lambda: not connection.unsent)
    connection.send_msg(OptionsMessage(), 5, print)
    assert (await asyncio.to_thread(read, peer, 9))[4] == OPTIONS
    connection.close()
    peer.close()


@both_kinds
@on_a_loop
async def test_a_connection_to_a_node_that_stopped_reading_can_be_closed(tls: bool) -> None:
    connection, peer = await connected(tls)
    ended = ask(connection, 7)
    while not connection.unsent:
        connection.push(bytes(1_000_000))
    await asyncio.to_thread(connection.close)
    assert isinstance(ended[7], ConnectionShutdown)
    await until(lambda: connection._socket.fileno() == -1)
    assert not asyncio.get_running_loop().remove_writer(connection._descriptor)
    peer.close()


@both_kinds
@on_a_loop
async def test_a_node_that_goes_away_within_an_answer_fails_what_it_did_not_answer(
    tls: bool,
) -> None:
    connection, peer = await connected(tls)
    connection.connected_event.set()
    await asyncio.to_thread(read, peer, 9)  # otherwise the connection would end with a reset
    ended = ask(connection, 7, 8)
    await asyncio.to_thread(peer.sendall, frame(7, b"whole") + frame(8, b"half")[:-2])
    peer.close()
    await until(lambda: len(ended) == 2)
    assert ended[7] == (7, b"whole")
    assert isinstance(ended[8], ConnectionShutdown)
    assert connection.is_closed
    await until(lambda: connection._socket.fileno() == -1)


@pytest.mark.parametrize("leaves", [False, True])
@on_a_loop
async def test_a_node_that_does_not_answer_the_handshake_is_given_up(leaves: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        endpoint = DefaultEndPoint("127.0.0.1", listener.getsockname()[1])
        made = LoopConnection.on(asyncio.get_running_loop())
        begun = time.monotonic()
        timeout = 30.0 if leaves else 0.2
        making = asyncio.create_task(asyncio.to_thread(made.factory, endpoint, timeout))
        peer, _ = await asyncio.to_thread(listener.accept)
        await asyncio.to_thread(read, peer, 9)
        if leaves:
            peer.close()
        with pytest.raises(ConnectionShutdown if leaves else OperationTimedOut):
            await making
        assert time.monotonic() - begun < 5
        peer.close()


@on_a_loop
async def test_a_frozen_node_is_found_by_the_drivers_heartbeat() -> None:
    connection, peer = await connected()
    ended, returned = ask(connection, 7), list[Any]()
    owner = SimpleNamespace(get_connections=lambda: [connection], return_connection=returned.append)
    heartbeat = ConnectionHeartbeat(0.05, lambda: [] if returned else [owner], timeout=0.2)
    await until(lambda: returned)
    await asyncio.to_thread(heartbeat.stop)
    assert connection.is_defunct
    assert isinstance(connection.last_error, OperationTimedOut)
    assert isinstance(ended[7], ConnectionShutdown)
    peer.close()


class Crossed:
    """A TLS socket that must send before it can read, and read before it can send, once each.

    As TLS does, it may hold decrypted bytes, which the event loop cannot see, and return them in
    pieces shorter than was asked for.
    """

    def __init__(self, inner: socket.socket) -> None:
        self.inner = inner
        self.held: list[bytes] = []
        self.wants: dict[str, Exception] = {
            "recv": ssl.SSLWantWriteError(ssl.SSL_ERROR_WANT_WRITE),
            "send": ssl.SSLWantReadError(ssl.SSL_ERROR_WANT_READ),
        }

    def recv(self, size: int) -> bytes:
        if not self.held:
            try:
                data = self.inner.recv(size)
            except BlockingIOError:
                raise ssl.SSLWantReadError(ssl.SSL_ERROR_WANT_READ) from None
            self.held += [data[:4], data[4:]]
        if "recv" in self.wants:
            raise self.wants.pop("recv")
        return self.held.pop(0)

    def send(self, data: bytes) -> int:
        if "send" in self.wants:
            raise self.wants.pop("send")
        return self.inner.send(data)

    def close(self) -> None:
        self.inner.close()


@pytest.mark.parametrize("first", ["recv", "send"])
@on_a_loop
async def test_tls_may_send_before_it_reads_and_read_before_it_sends(first: str) -> None:
    connection, peer = await connected()
    await asyncio.to_thread(read, peer, 9)
    connection._is_tls = True
    crossed = connection._socket = Crossed(connection._socket)
    crossed.wants = {first: crossed.wants[first]}
    ended = ask(connection, 7)
    connection.push(b"request")
    if first == "send":
        await asyncio.sleep(0.05)
        assert connection.unsent  # it waits for the node's bytes without a busy loop
        assert not asyncio.get_running_loop().remove_writer(connection._descriptor)
    await asyncio.to_thread(peer.sendall, frame(7, b"answer"))
    assert await asyncio.to_thread(read, peer, 7) == b"request"
    await until(lambda: ended)
    assert ended == {7: (7, b"answer")}
    connection.close()
    peer.close()


@on_a_loop
async def test_an_error_of_the_socket_makes_the_connection_defunct() -> None:
    connection, peer = await connected()
    crossed = connection._socket = Crossed(connection._socket)
    crossed.wants = {"send": (reason := ConnectionResetError("reset"))}
    ended = ask(connection, 7)
    connection.push(b"request")
    assert (connection.is_defunct, connection.last_error) == (True, reason)
    assert isinstance(ended[7], ConnectionShutdown)
    peer.close()
