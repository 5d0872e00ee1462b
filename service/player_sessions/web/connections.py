"""Connections of clients: limits on how many there are and on what comes over each.

`Connection` is the protocol that uvicorn's server makes for each client. It reads requests by
`web/request_reader.py` and serves one after another by `web/exchange.py`.
`web/sweep.py` cuts connections that wait for too long. uvicorn has a protocol of its own, which
costs more and has no limits (docs/adr/0017).

uvicorn does not document what its server asks of a protocol:

- It calls `http(config=, server_state=, app_state=, _loop=)` for each connection.
- `server_state` has `connections` and `tasks`, which must have each connection and each task while
  it lasts, `total_requests`, and `default_headers`, which every answer begins with.
- At the end, `shutdown()` of each connection asks it to close after the answers under way.

`tests/guards/test_guard_uvicorn.py` fails when a version of uvicorn changes any of these.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any

from litestar.types import ASGIApp

from player_sessions.rules.reasons import BODY_TIMEOUT, TOO_MANY_CONNECTIONS, TOO_MANY_PIPELINED
from player_sessions.telemetry import metrics
from player_sessions.web.context import Context
from player_sessions.web.exchange import Exchange, last_answer
from player_sessions.web.problems import Refused, problem
from player_sessions.web.request_reader import RequestReader, Scope, ends_of

MAX_UNANSWERED = 32  # requests of one connection
_LINGER_SECONDS = 2.0  # how long a client that was refused may take to read why

_REFUSAL = last_answer(
    problem(TOO_MANY_CONNECTIONS, "too many connections are open; try again later")
)


class Connection(asyncio.Protocol):
    """A client's connection."""

    def __init__(self, context: Context, config: Any, server_state: Any, **_: Any) -> None:
        self.loop = asyncio.get_running_loop()
        self.full: asyncio.Future[None] | None = None
        self.waiting: dict[str, float] = {}  # since when, by reason; kept by the sweep
        self._context = context
        self._app: ASGIApp = config.loaded_app
        self._state = server_state
        self._head_begun = True  # a client must not wait with the first byte either
        self._exchanges: deque[Exchange] = deque()  # the first is being answered
        self._paused = False
        self._ended = False  # nothing more is sent
        # What to send behind the answers to the requests taken so far, before the connection
        # closes; None as long as it takes requests.
        self._last: bytes | None = None

    # What asyncio calls.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        context, ends = self._context, ends_of(transport)
        self._reader = RequestReader(self, ends, context.settings.max_head_bytes)
        self._state.connections.add(self)
        context.connections.add(self)
        # The port of health and metrics must answer in any crowd.
        on_operations_port = ends["server"] and ends["server"][1] == context.operations_port
        crowded = len(context.connections) > context.settings.max_connections
        if crowded and not on_operations_port:
            metrics.SHED.labels(TOO_MANY_CONNECTIONS.name).inc()
            transport.write(_REFUSAL)
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._state.connections.discard(self)
        self._context.connections.discard(self)
        self._ended = True
        for exchange in self._exchanges:
            exchange.end()
        self.resume_writing()
        self._reader.end()

    def data_received(self, data: bytes) -> None:
        if self._last is not None:
            return
        self._head_begun = True
        try:
            self._reader.read(data)
        except Refused as refused:
            metrics.CUT.labels(refused.reason.name).inc()
            self._end(last_answer(problem(refused.reason, str(refused))))

    def eof_received(self) -> bool:
        """Answer the requests of a client that sends no more; return whether any is unanswered."""
        if self._last is None:
            self._end(b"")
        return not self.is_closing()

    def pause_writing(self) -> None:
        self.full = self.loop.create_future()

    def resume_writing(self) -> None:
        full, self.full = self.full, None
        if full is not None and not full.done():
            full.set_result(None)

    # What the reader and an exchange call.

    def take(self, scope: Scope, *, keep_alive: bool, expects_continue: bool) -> Exchange:
        """Return the exchange of a request whose head is complete; raises Refused."""
        if len(self._exchanges) >= MAX_UNANSWERED:
            raise Refused(TOO_MANY_PIPELINED, f"{MAX_UNANSWERED} requests wait for their answers")
        exchange = Exchange(self, scope, keep_alive=keep_alive, expects_continue=expects_continue)
        self.waiting.clear()
        self._exchanges.append(exchange)
        if len(self._exchanges) == 1:
            self._serve(exchange)
        else:
            self.pause_reading()
        return exchange

    @property
    def default_headers(self) -> Sequence[tuple[bytes, bytes]]:
        """The headers of every answer."""
        headers: list[tuple[bytes, bytes]] = self._state.default_headers
        return headers

    def write(self, data: bytes) -> None:
        """Send bytes of the answer."""
        if not self._ended:
            self._transport.write(data)

    def close(self) -> None:
        """Close the connection once all is sent."""
        self._transport.close()

    def answered(self) -> None:
        """Go on with the next exchange; without one, the connection is idle to the next head."""
        self._exchanges.popleft()
        self._state.total_requests += 1
        self.waiting.clear()
        if self._last is not None:
            self._close_behind_answers()
        # Where it closes instead, the client has as long as for a head to take the answer.
        closing = self.is_closing()
        self._head_begun = closing or self._reader.within_head
        if closing:
            return
        self.resume_reading()
        if self._exchanges:
            self._serve(self._exchanges[0])

    def pause_reading(self) -> None:
        """Take no more from the client for now."""
        if not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Go on reading what the client sends."""
        if self._paused:
            self._paused = False
            self._transport.resume_reading()

    def _serve(self, exchange: Exchange) -> None:
        task, tasks = self.loop.create_task(exchange.run(self._app)), self._state.tasks
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    # How it ends.

    def is_closing(self) -> bool:
        """Return whether nothing more is read or answered here."""
        return self._ended or self._transport.is_closing()

    def _end(self, last: bytes) -> None:
        """Take no more requests; after the answers to those taken send `last`, and close."""
        self._last = last
        self._close_behind_answers()

    def _close_behind_answers(self) -> None:
        receiving = self._reader.receiving
        incomplete = int(receiving is not None and not receiving.complete)
        if len(self._exchanges) > incomplete or self.is_closing():
            return
        self._head_begun = True
        if not self._last:
            self._transport.close()
            return
        if not (self._exchanges and self._exchanges[0].begun):
            self._transport.write(self._last)
        # A close while data arrives would reset the connection, and the client might not get to
        # read the answer.
        self._ended = True
        self._transport.write_eof()
        self.loop.call_later(_LINGER_SECONDS, self._transport.abort)

    def shutdown(self) -> None:
        """Close after the answers under way, as uvicorn's server asks at the end."""
        if self._exchanges:
            self._exchanges[-1].keep_alive = False
        else:
            self._transport.close()

    def cut(self, reason: str) -> None:
        """Close the connection at once, for a reason of `metrics.CUT`."""
        metrics.CUT.labels(reason).inc()
        self._ended = True
        self._transport.abort()

    # What the sweep asks.

    def waits_for(self) -> list[str]:
        """Return why it would be cut if this went on for too long: reasons of `metrics.CUT`."""
        reasons = []
        if not self._exchanges:
            reasons.append(metrics.HEAD_TIMEOUT if self._head_begun else metrics.IDLE)
        elif self._exchanges[0].receiving:
            reasons.append(BODY_TIMEOUT.name)
        if self._transport.get_write_buffer_size():
            reasons.append(metrics.WRITE_TIMEOUT)
        return reasons

    def end_body(self) -> None:
        """Receive no more of a body that takes too long, so that its request is refused."""
        metrics.CUT.labels(BODY_TIMEOUT.name).inc()
        self._exchanges[0].end()
