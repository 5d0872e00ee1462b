"""One request and its answer, between a connection and an ASGI application.

The head of an answer waits for the first part of the body, and both leave as one packet: uvloop
sends each write by itself. ASGI wants the head to wait as well, so a client whose request fails
before then gets an answer that says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Any, Protocol

from litestar.types import ASGIApp

from player_sessions.rules.reasons import INTERNAL_ERROR
from player_sessions.telemetry.logs import log
from player_sessions.web.answer import Answer
from player_sessions.web.problems import problem

_STATUS_LINES = {
    each.value: b"HTTP/1.1 %d %b\r\n" % (each.value, each.phrase.encode()) for each in HTTPStatus
}
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_BODILESS = (204, 304)
_LARGE = 32_768  # a part of a body that is sent as it is, since joining it to its head copies it
_HIGH_WATER = 65_536  # bytes of a body that wait for the application


def last_answer(answer: Answer) -> bytes:
    """Return the bytes of an answer after which the connection closes."""
    lines = [_STATUS_LINES[answer.status], b"connection: close\r\n"]
    lines += [b"%b: %b\r\n" % header for header in answer.headers]
    return b"".join([*lines, b"\r\n", answer.body])


_FAILED = last_answer(problem(INTERNAL_ERROR, "the service failed; the log says why"))


class Carrier(Protocol):
    """The connection that an exchange belongs to."""

    loop: asyncio.AbstractEventLoop
    full: asyncio.Future[None] | None  # done when the client has read; None: there is room

    @property
    def default_headers(self) -> Sequence[tuple[bytes, bytes]]:
        """The headers of every answer."""

    def write(self, data: bytes) -> None:
        """Send bytes of the answer."""

    def close(self) -> None:
        """Close the connection once all is sent."""

    def answered(self) -> None:
        """Go on with the next exchange."""

    def pause_reading(self) -> None:
        """Take no more from the client for now."""

    def resume_reading(self) -> None:
        """Go on reading what the client sends."""


class Exchange:
    """A request, whose body may still arrive, and its answer."""

    __slots__ = (
        "_bodiless",
        "_body",
        "_carrier",
        "_chunked",
        "_expects_continue",
        "_head",
        "_left",
        "_more_body",
        "_news",
        "_over",
        "_started",
        "_waiter",
        "complete",
        "keep_alive",
        "scope",
    )

    def __init__(
        self, carrier: Carrier, scope: dict[str, Any], *, keep_alive: bool, expects_continue: bool
    ) -> None:
        self.scope = scope
        self.keep_alive = keep_alive
        self.complete = False  # all of the answer is written
        self._carrier = carrier
        self._expects_continue = expects_continue
        self._body = b""  # what came and was not yet received
        self._more_body = True
        self._news = False  # something came, or came to its end, since the last `receive`
        self._over = False  # nothing more is received
        self._waiter: asyncio.Future[None] | None = None
        self._started = False
        self._head = b""  # waits for the first part of the body
        self._bodiless = scope["method"] == "HEAD"
        self._chunked = False
        self._left = 0  # bytes of the answer's body that are still to come

    @property
    def receiving(self) -> bool:
        """Whether a part of the request's body is still to come."""
        return self._more_body and not self._over

    @property
    def begun(self) -> bool:
        """Whether a part of the answer has left."""
        return self._started and not self._head

    async def run(self, app: ASGIApp) -> None:
        """Let an application serve the request; a client always gets an answer, or the end."""
        scope: Any = self.scope
        try:
            await app(scope, self.receive, self.send)  # type: ignore[arg-type]
            if not self.complete and not self._over:
                raise RuntimeError("the application did not answer")
        except asyncio.CancelledError:  # at the end of a stop that took too long
            self._carrier.close()
            raise
        except Exception:
            log.exception("a request failed")
            if not self.complete and not self.begun:
                self._head = b""
                self._carrier.write(_FAILED)
            self._carrier.close()

    def feed(self, body: bytes) -> None:
        """Take a part of the request's body."""
        if not self.complete:
            self._body = self._body + body if self._body else body
            if len(self._body) > _HIGH_WATER:
                self._carrier.pause_reading()
            self._wake()

    def end_body(self) -> None:
        """Take the end of the request's body."""
        self._more_body = False
        self._wake()

    def end(self) -> None:
        """Receive no more: the client has gone, or sends its body too slowly."""
        self._over = True
        self._wake()

    def _wake(self) -> None:
        self._news = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def receive(self) -> dict[str, Any]:
        """Return ASGI's next message of the request."""
        if self._expects_continue:
            self._expects_continue = False
            self._carrier.write(_CONTINUE)
        if not self._news:
            self._carrier.resume_reading()
            self._waiter = self._carrier.loop.create_future()
            await self._waiter
        if self._over or self.complete:
            return {"type": "http.disconnect"}
        body, self._body, self._news = self._body, b"", False
        return {"type": "http.request", "body": body, "more_body": self._more_body}

    async def send(self, message: Any) -> None:
        """Take ASGI's next message of the answer; wait while the client does not read."""
        while (full := self._carrier.full) is not None:
            await full
        kind = message["type"]
        if kind == "http.response.start" and not self._started:
            headers = *self._carrier.default_headers, *message.get("headers", ())
            self._start(message["status"], headers)
        elif kind == "http.response.body" and self._started and not self.complete:
            self._part(message.get("body", b""), more=message.get("more_body", False))
        else:
            raise RuntimeError(f"the application sent {kind} out of turn")

    def _start(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Make the head of the answer; raises ValueError for a header with a line break."""
        lines, length, closes = [_STATUS_LINES[status]], None, False
        for name, value in headers:
            lines.append(b"%b: %b\r\n" % (name, value))
            if name == b"content-length":
                length = int(value)
            elif name == b"connection":
                closes = b"close" in value.lower()
        if closes:
            self.keep_alive = False
        elif not self.keep_alive:
            lines.append(b"connection: close\r\n")
        if length is None and not self._bodiless and status not in _BODILESS:
            self._chunked = True
            lines.append(b"transfer-encoding: chunked\r\n")
        self._left = length or 0
        head = b"".join(lines)
        if not head.count(b"\r") == head.count(b"\n") == len(lines):
            raise ValueError("a header has a line break")
        self._head = head + b"\r\n"
        self._started, self._expects_continue = True, False

    def _part(self, body: bytes, *, more: bool) -> None:
        """Write a part of the body; raises ValueError when its length is not what the head says."""
        if self._bodiless:
            body, self._left = b"", 0
        elif self._chunked:
            chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            body = chunk if more else chunk + b"0\r\n\r\n"
        else:
            self._left -= len(body)
            if self._left < 0:
                raise ValueError("the body is longer than its Content-Length")
        head, self._head = self._head, b""
        if head and len(body) > _LARGE:
            self._carrier.write(head)
            self._carrier.write(body)
        elif head or body:
            self._carrier.write(head + body)
        if not more:
            if self._left:
                raise ValueError("the body is shorter than its Content-Length")
            self.complete = True
            self._wake()
            if not self.keep_alive:
                self._carrier.close()
            self._carrier.answered()
