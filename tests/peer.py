"""The other end of a `LoopConnection`: a plain or TLS socket that a test reads and writes."""

from __future__ import annotations

import asyncio
import functools
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trustme
import uvloop
from cassandra.connection import DefaultEndPoint

from player_sessions.store.loop_connection import LoopConnection

OPTIONS, SUPPORTED = 5, 6
both_kinds = pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])


def on_a_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(**given: Any) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(test(**given))  # type: ignore[arg-type]

    return run


def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return the TLS context of a node and that of its client."""
    authority = trustme.CA()
    node = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(node)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return node, client


async def connected(tls: bool = False) -> tuple[Any, socket.socket]:
    """Yield a connection, made on another thread as the driver does, and its other end."""
    node, client = contexts() if tls else (None, None)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> socket.socket:
            peer, _ = listener.accept()
            peer.settimeout(5)
            return node.wrap_socket(peer, server_side=True) if node else peer

        endpoint = DefaultEndPoint("127.0.0.1", listener.getsockname()[1])
        made = functools.partial(LoopConnection.on(asyncio.get_running_loop()), endpoint)
        connecting = asyncio.to_thread(
            made, protocol_version=5, connect_timeout=5, ssl_context=client
        )
        return await asyncio.gather(connecting, asyncio.to_thread(accept))


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


def read(peer: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := peer.recv(1 << 16)):
        data += more
    return data


def frame(stream: int, body: bytes) -> bytes:
    """Return an answer as a node sends it before the handshake is over."""
    return struct.pack(">BBhBi", 0x85, 0, stream, SUPPORTED, len(body)) + body


def ask(connection: Any, *streams: int) -> dict[int, Any]:
    """Open a request on each stream; return a dict that gets each one's body or error."""
    ended: dict[int, Any] = {}

    def decoded(version: int, types: Any, stream: int, *rest: Any) -> tuple[int, bytes]:
        return stream, rest[2]

    for stream in streams:
        end = functools.partial(ended.__setitem__, stream)
        connection._requests[stream] = (end, decoded, None)
    return ended
