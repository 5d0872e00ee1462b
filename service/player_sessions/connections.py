"""Connections of clients: how many there may be, and how long a slow one is borne.

A sweep twice a second looks at all of them, so that no request needs a timer of its own.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from player_sessions.problems import problem
from player_sessions.service import Service
from player_sessions.telemetry import metrics
from player_sessions.telemetry.logs import log

SWEEP_SECONDS = 0.5
_STALL_SECONDS = 0.1
TOO_MANY_CONNECTIONS = "too-many-connections"
_UVICORNS = (b"connection", b"transfer-encoding")


class _Cycle(RequestResponseCycle):
    """uvicorn's, but an answer in one piece leaves as one packet, where it would take two."""

    _start: Any = None

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start" and self._start is None:
            self._start = message
            return
        start, self._start = self._start, None
        if start is not None and (answer := self._in_one_piece(start, message)):
            self.transport.write(answer)
            self.response_started = self.response_complete = True
            self.message_event.set()
            self.on_response()
            return
        if start is not None:
            await super().send(start)
        await super().send(message)

    async def send_500_response(self) -> None:
        self._start = None  # of an application that has failed before its body
        await super().send_500_response()

    def _in_one_piece(self, start: Any, message: Any) -> bytes | None:
        """The whole answer; None where there is anything about it that uvicorn should decide."""
        if self.disconnected or not self.keep_alive or self.flow.write_paused:
            return None
        if message.get("more_body") or self.scope["method"] == "HEAD":
            return None
        body: bytes = message.get("body", b"")
        length = None
        headers = [*self.default_headers, *start["headers"]]
        parts = [STATUS_LINE[start["status"]]]
        for name, value in headers:
            if name == b"content-length":
                length = int(value)
            elif name in _UVICORNS:
                return None
            parts += name, b": ", value, b"\r\n"
        parts.append(b"\r\n")
        head = b"".join(parts)
        if length != len(body) or head.count(b"\n") != len(headers) + 2:
            return None
        return head + body


class Connection(HttpToolsProtocol):
    """uvicorn's, which knows since when it waits for the rest of a head."""

    def __init__(self, service: Service, **options: Any) -> None:
        super().__init__(**options)
        self._service = service
        self.head_since: float | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.head_since = self.loop.time()
        if len(self.connections) > self._service.settings.max_connections and not self._operations:
            metrics.SHED.labels(TOO_MANY_CONNECTIONS).inc()
            transport.write(_REFUSAL)
            transport.close()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        cycle.__class__ = _Cycle  # uvicorn makes it itself
        super()._start_asgi_task(cycle, app)

    @property
    def _operations(self) -> bool:
        """Whether it came to the port of health and metrics, which must answer in any crowd."""
        return self.server is not None and self.server[1] == self._service.operations_port

    def waits_for_head(self) -> bool:
        """Whether neither a request is under way nor the wait between two has begun."""
        idle = self.cycle is None or self.cycle.response_complete
        return idle and self.timeout_keep_alive_task is None

    def timeout_keep_alive_handler(self) -> None:
        metrics.CUT.labels("idle").inc()
        super().timeout_keep_alive_handler()

    def cut(self) -> None:
        metrics.CUT.labels("head-timeout").inc()
        self.transport.abort()


def _refusal() -> bytes:
    answer = problem(503, TOO_MANY_CONNECTIONS, "too many connections are open; try again later")
    lines = [b"HTTP/1.1 503 Service Unavailable", b"connection: close"]
    lines += [name + b": " + value for name, value in answer.headers]
    return b"\r\n".join([*lines, b"", answer.body])


_REFUSAL = _refusal()


async def sweep(service: Service, connections: set[Any]) -> None:
    """Until cancelled: cut what is too slow, read changed keys, count the loop's stalls."""
    loop = asyncio.get_running_loop()
    metrics.CONNECTIONS.set_function(lambda: len(connections))
    while True:
        slept = time.monotonic()
        await asyncio.sleep(SWEEP_SECONDS)
        late = time.monotonic() - slept - SWEEP_SECONDS
        if late >= _STALL_SECONDS:
            metrics.STALLS.inc()
            log.warning("the event loop was late", seconds=round(late, 3))
        _cut_slow_heads(connections, loop.time(), service.settings.head_timeout)
        _cut_slow_bodies(service, time.monotonic())
        if service.keys is not None:
            service.keys.refresh()


def _cut_slow_heads(connections: set[Any], now: float, timeout: float) -> None:
    for connection in list(connections):
        if not connection.waits_for_head():
            connection.head_since = None
        elif connection.head_since is None:
            connection.head_since = now
        elif now - connection.head_since > timeout:
            connection.cut()


def _cut_slow_bodies(service: Service, now: float) -> None:
    for task, since in list(service.reading.items()):
        if now - since > service.settings.body_timeout and task not in service.too_slow:
            metrics.CUT.labels("body-timeout").inc()
            service.too_slow.add(task)
            task.cancel()
