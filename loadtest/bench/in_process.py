"""Run the service's application in this process, and measure the processor time of a request.

There is no network: a client is a transport that only keeps the answer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import uvicorn

from player_sessions.web.connections import Connection
from player_sessions.web.context import Context


class Transport(asyncio.Transport):
    """A client's connection that only keeps the last answer."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self.answered = b""

    def write(self, data: Any) -> None:
        self.answered = data

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


async def least(one: Callable[[int], Awaitable[object]], repeats: int, calls: int = 25) -> float:
    """Return the processor time of one call in microseconds: the lowest mean of `repeats` runs.

    Other programs on the machine hardly change the lowest.
    """
    lowest = float("inf")
    for _ in range(repeats):
        begun = time.process_time()
        for number in range(calls):
            await one(number)
        lowest = min(lowest, time.process_time() - begun)
    return 1e6 * lowest / calls


async def application(app: Any, requests: Sequence[bytes], repeats: int) -> float:
    """Return what `app` needs for a request, given as bytes of HTTP, without a server."""
    parsed = [_parsed(request) for request in requests]

    async def one(number: int) -> None:
        scope, body = parsed[number % len(parsed)]

        async def receive() -> Any:
            return {"type": "http.request", "body": body, "more_body": False}

        # Run each request in a task, as a server does.
        await asyncio.create_task(app({**scope, "state": {}}, receive, _send))

    return await least(one, repeats)


async def http(service: Context, app: Any, requests: Sequence[bytes], repeats: int) -> float:
    """Return what the server and `app` need for a request; only the sockets are left out."""
    config = uvicorn.Config(
        app, lifespan="off", ws="none", access_log=False, log_config=None,
        server_header=False, proxy_headers=False,
    )  # fmt: skip
    config.load()
    state: Any = uvicorn.server.ServerState()
    connection = Connection(service, config, state)
    transport = Transport()
    connection.connection_made(transport)

    async def one(number: int) -> None:
        transport.answered = b""
        connection.data_received(requests[number % len(requests)])
        while not transport.answered:
            await asyncio.sleep(0)

    return await least(one, repeats)


def _parsed(request: bytes) -> tuple[dict[str, Any], bytes]:
    head, _, body = request.partition(b"\r\n\r\n")
    line, *lines = head.split(b"\r\n")
    method, target, _ = line.split(b" ")
    path, _, query = target.partition(b"?")
    headers = [line.split(b": ", 1) for line in lines]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method.decode(),
        "scheme": "http",
        "path": path.decode(),
        "raw_path": path,
        "query_string": query,
        "root_path": "",
        "headers": [(name.lower(), value) for name, value in headers],
        "server": ("127.0.0.1", 2),
        "client": ("127.0.0.1", 1),
    }
    return scope, body


async def _send(_: Any) -> None:
    pass
