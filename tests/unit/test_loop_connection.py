"""The driver's connection on a loop of ours, against a plain socket instead of Cassandra."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest
import uvloop

from player_sessions.store.loop_connection import LoopConnection, call_soon
from tests.peer import OPTIONS, both_kinds, connected, on_a_loop, read


@both_kinds
@on_a_loop
async def test_more_than_the_socket_takes_arrives_whole_and_in_order(tls: bool) -> None:
    connection, peer = await connected(tls)
    options = await asyncio.to_thread(peer.recv, 1000)
    assert options[4] == OPTIONS
    chunks = [bytes([number % 256]) * 100_000 for number in range(200)]
    for number, chunk in enumerate(chunks):
        if number % 2:
            await asyncio.to_thread(connection.push, chunk)
        else:
            connection.push(chunk)
    assert connection.unsent  # the socket was full
    assert await asyncio.to_thread(read, peer, 20_000_000) == b"".join(chunks)
    assert not connection.unsent
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
    assert time.monotonic() - begun >= 0.04  # the loop's clock counts whole milliseconds
    assert sorted(fired) == [("loop", threading.get_ident()), ("thread", threading.get_ident())]


@on_a_loop
async def test_call_soon_runs_on_the_loop_but_not_at_once() -> None:
    ran: list[str] = []
    loop = asyncio.get_running_loop()
    call_soon(loop, ran.append, "loop")
    assert ran == []
    await asyncio.to_thread(call_soon, loop, ran.append, "thread")
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


@on_a_loop
async def test_a_push_on_the_loop_is_sent_at_once() -> None:
    connection, peer = await connected()
    assert read(peer, 9)[4] == OPTIONS
    connection.push(b"now")
    peer.setblocking(False)
    assert peer.recv(10) == b"now"
    connection.close()
    peer.close()
