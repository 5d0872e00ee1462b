"""One HTTP/1.1 connection by hand: cheap, and every way in which it can break shows."""

from __future__ import annotations

import asyncio
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec

from player_sessions.openapi import PROBLEM_TYPE

TORN = "torn"
_TIMEOUT = 30.0


class Torn(Exception):
    """No whole answer came."""


class Answer(NamedTuple):
    status: int
    head: bytes
    body: bytes

    @property
    def reason(self) -> str:
        """The last part of a problem's type; the status where there is none."""
        try:
            kind = msgspec.json.decode(self.body)["type"]
        except (msgspec.DecodeError, KeyError, TypeError):
            return str(self.status)
        return str(kind.removeprefix(PROBLEM_TYPE))


class Connection:
    """Opens itself when it is needed."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._address = parts.hostname, parts.port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, method: str, path: str, body: bytes = b"") -> Answer:
        """Raises Torn."""
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
        if body:
            head += "Content-Type: application/json\r\n"
        return await self.send(head.encode() + b"\r\n" + body)

    async def send(self, request: bytes) -> Answer:
        """The answer to these bytes; raises Torn."""
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
