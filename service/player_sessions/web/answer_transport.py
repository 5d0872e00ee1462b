"""A transport that sends an answer's head and the first part of its body as one packet.

uvicorn writes an answer's head by one `transport.write`, and the first part of the body by the next
one, which may be empty; an answer to HEAD has no second write. When an application fails after it
sent the head, uvicorn calls `transport.close()`. None of this is documented;
`tests/guards/test_guard_uvicorn.py` fails when a version of uvicorn changes it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any

from player_sessions.rules.reasons import INTERNAL_ERROR
from player_sessions.web.answer import Answer
from player_sessions.web.problems import problem

_CONTINUE = b"HTTP/1.1 100 "
_LARGE = 32_768
_END_OF_HEAD = b"\r\n\r\n"


def last_answer(answer: Answer) -> bytes:
    """Return the bytes of an answer after which the connection closes."""
    phrase = HTTPStatus(answer.status).phrase.encode()
    lines = [b"HTTP/1.1 %d %b" % (answer.status, phrase), b"connection: close"]
    lines += [name + b": " + value for name, value in answer.headers]
    return b"\r\n".join([*lines, b"", answer.body])


_FAILED = last_answer(problem(INTERNAL_ERROR, "the service failed; the log says why"))


def _drop(_: Any) -> None:
    pass


class AnswerTransport:
    """Wrap a transport so that an answer's head leaves together with the first part of its body.

    uvloop sends each write at once, as a packet of its own. ASGI wants the head to wait as well: a
    server must not send it before the application has sent a part of the body.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._write: Callable[[bytes], None] = transport.write
        self._head = b""  # waits for the first part of the body
        self._answering = False
        self._closing = False

    def __getattr__(self, name: str) -> Any:
        """Return what else the transport has, such as `pause_reading`."""
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Keep the head of an answer; send anything else, behind a head that waits."""
        if self._head:
            head, self._head = self._head, b""
            if len(data) > _LARGE:  # more than one packet in any case: do not copy it
                self._write(head)
                self._write(data)
            else:
                self._write(head + data)
        elif self._answering or data.startswith(_CONTINUE) or not data.endswith(_END_OF_HEAD):
            self._write(data)
        else:
            self._answering = True
            self._head = data

    def writelines(self, parts: Iterable[bytes]) -> None:
        """Write the parts as one."""
        self.write(b"".join(parts))

    def end_answer(self) -> None:
        """Send a head that has no body, and take the next write for the head of a new answer."""
        self._answering = False
        self._send_head()
        if self._closing:
            self._transport.close()

    def write_eof(self) -> None:
        """Send what waits, and no more after it."""
        self._send_head()
        self._transport.write_eof()

    def close(self) -> None:
        """Close the connection, but not yet between a head and the decision about its body.

        When a head waits, either `end_answer` follows at once, since there is no body to send, or
        the application has failed: then the client gets an answer of status 500 instead.
        """
        if not self._head or self._transport.is_closing():
            self._transport.close()
        elif not self._closing:
            self._closing = True
            asyncio.get_running_loop().call_soon(self._close_unanswered)

    def end_with(self, data: bytes) -> None:
        """Send `data`, unless a part of an answer has just been sent, and no more after it."""
        if self._head or not self._answering:
            self._write(data)
        self.drop()
        self._closing = True
        self._transport.write_eof()

    def drop(self) -> None:
        """Forget what waits, and send nothing more: a closed transport takes no data."""
        self._head = b""
        self._write = _drop

    def abort(self) -> None:
        """Close the connection at once, without what waits."""
        self.drop()
        self._transport.abort()

    def is_closing(self) -> bool:
        """Return whether nothing more is read or answered here."""
        return self._closing or self._transport.is_closing()

    def get_write_buffer_size(self) -> int:
        """Return the number of bytes that were written and not yet sent."""
        return len(self._head) + self._transport.get_write_buffer_size()

    def _send_head(self) -> None:
        if self._head:
            self.write(b"")

    def _close_unanswered(self) -> None:
        if self._head:
            self._head = b""
            self._write(_FAILED)
        self._transport.close()
