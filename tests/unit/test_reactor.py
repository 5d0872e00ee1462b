"""The driver's connection on a loop of ours, against a plain socket instead of Cassandra."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvloop
from cassandra.connection import DefaultEndPoint

from player_sessions.reactor import LoopConnection, soon


def on_a_loop(test: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    def run() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(test())  # type: ignore[arg-type]

    run.__name__ = test.__name__
    return run


async def connected() -> tuple[Any, socket.socket]:
    """A connection, made on another thread as the driver does, and its other end."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        endpoint = DefaultEndPoint("127.0.0.1", listener.getsockname()[1])
        made = LoopConnection.on(asyncio.get_running_loop())
        connection = await asyncio.to_thread(made, endpoint, protocol_version=5, connect_timeout=5)
        peer, _ = listener.accept()
    peer.settimeout(5)
    return connection, peer


def read(peer: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := peer.recv(1 << 16)):
        data += more
    return data


@on_a_loop
async def test_more_than_the_socket_takes_arrives_whole_and_in_order() -> None:
    connection, peer = await connected()
    options = await asyncio.to_thread(peer.recv, 1000)
    assert options[4] == 5  # the opcode of OPTIONS
    chunks = [bytes([number % 256]) * 100_000 for number in range(200)]
    for number, chunk in enumerate(chunks):
        if number % 2:
            await asyncio.to_thread(connection.push, chunk)
        else:
            connection.push(chunk)
    assert connection.deque  # the socket was full
    assert await asyncio.to_thread(read, peer, 20_000_000) == b"".join(chunks)
    assert not connection.deque
    connection.close()
    assert await asyncio.to_thread(peer.recv, 1) == b""
    peer.close()


@on_a_loop
async def test_what_is_under_way_fails_when_the_node_goes_away() -> None:
    connection, peer = await connected()
    ended: list[Any] = []
    connection._requests[1] = (ended.append, None, None)
    peer.close()
    for _ in range(500):
        await asyncio.sleep(0.01)
        if ended:
            break
    assert "closed" in str(ended[0]) or "reset" in str(ended[0])
    assert connection.is_closed


@on_a_loop
async def test_a_timer_fires_on_the_loop_unless_it_is_cancelled() -> None:
    made = LoopConnection.on(asyncio.get_running_loop())
    fired: list[tuple[str, int]] = []

    def start(name: str, seconds: float) -> Any:
        return made.create_timer(seconds, lambda: fired.append((name, threading.get_ident())))

    begun = time.monotonic()
    await asyncio.to_thread(start, "thread", 0.05)
    start("loop", 0.0)
    start("cancelled", 0.02).cancel()
    while len(fired) < 2:
        await asyncio.sleep(0.01)
    assert time.monotonic() - begun >= 0.04  # the loop's clock has whole milliseconds
    assert sorted(fired) == [("loop", threading.get_ident()), ("thread", threading.get_ident())]


@on_a_loop
async def test_soon_runs_on_the_loop_but_not_at_once() -> None:
    ran: list[str] = []
    loop = asyncio.get_running_loop()
    soon(loop, ran.append, "loop")
    assert ran == []
    await asyncio.to_thread(soon, loop, ran.append, "thread")
    await asyncio.sleep(0.05)
    assert ran == ["loop", "thread"]


def test_a_connection_can_be_closed_after_its_loop() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        connection, peer = runner.run(connected())
    connection.close()
    assert connection._socket.fileno() == -1
    peer.close()
    with pytest.raises(RuntimeError):
        LoopConnection.on(connection.loop).create_timer(1, print)
