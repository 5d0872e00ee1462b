"""A small HTTP/1.1 connection that costs little and reports every way in which it breaks."""

from __future__ import annotations

import asyncio
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec

TORN = "torn"
_TIMEOUT = 30.0


class Torn(Exception):
    """No complete answer arrived."""


class Answer(NamedTuple):
    status: int
    head: bytes
    body: bytes

    @property
    def reason(self) -> str:
        """Return the last part of the problem's type, or the status if there is no problem."""
        try:
            kind = msgspec.json.decode(self.body)["type"]
        except (msgspec.DecodeError, KeyError, TypeError):
            return str(self.status)
        return str(kind).rpartition(":")[2]


class Connection:
    """A connection that opens itself when it is needed."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._address = parts.hostname, parts.port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, method: str, path: str, body: bytes = b"") -> Answer:
        """Send a request and return its answer; raise Torn."""
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
        if body:
            head += "Content-Type: application/json\r\n"
        return await self.send(head.encode() + b"\r\n" + body)

    async def send(self, request: bytes) -> Answer:
        """Send these bytes and return the answer; raise Torn."""
        try:
            async with asyncio.timeout(_TIMEOUT):
                if self._streams is None:
                    self._streams = await asyncio.open_connection(*self._address)
                reader, writer = self._streams
                writer.write(request)
                answer = await read_answer(reader)
        except (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError) as error:
            self.close()
            raise Torn(repr(error)) from error
        except BaseException:
            self.close()
            raise
        if b"\r\nconnection: close" in answer.head:
            self.close()
        return answer

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
        self._streams = None


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.partition(b"\r\ncontent-length:")[2].partition(b"\r")[0] or 0)
    return Answer(int(head.split(None, 2)[1]), head, await reader.readexactly(length))
