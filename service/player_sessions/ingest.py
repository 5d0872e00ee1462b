"""The path of a batch: read its body, let `events` check it, store it, answer.

This is what the service does nearly all the time, so it is an ASGI application of its own, which
`front` calls directly; Litestar's routes lead to the same one.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import Callable
from typing import Any

from player_sessions.events import Event
from player_sessions.keys import INGEST
from player_sessions.problems import (
    BODY_TIMEOUT,
    BODY_TOO_LARGE,
    INVALID_ENCODING,
    UNSUPPORTED_MEDIA_TYPE,
    Answer,
    Refused,
    answer,
)
from player_sessions.service import Service
from player_sessions.store import now_ms

_JSON = b"application/json"


class Ingest:
    """Answers one contract: `read` decodes and checks its bodies, `thank` makes its answer."""

    def __init__(
        self,
        service: Service,
        read: Callable[[bytes, int], list[Event]],
        thank: Callable[[int, int], Answer],
    ) -> None:
        self._service = service
        self._tolerance = round(service.settings.future_tolerance * 1000)
        self._read = read
        self._thank = thank

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        service = self._service
        try:
            service.permit(scope, key=INGEST, operations=False)
            body = await read_body(scope, receive, service)
            events = self._read(body, now_ms() + self._tolerance)
            done = self._thank(*await service.store.write(events))
        except Exception as error:
            done = answer(error)
        await done(scope, receive, send)


async def read_body(scope: Any, receive: Any, service: Service) -> bytes:
    """The whole body, inflated; raises Refused when it is of another kind, too large or slow."""
    headers = dict(scope["headers"])  # Litestar's Headers would cost 10 µs
    media_type = headers.get(b"content-type", _JSON)
    if media_type != _JSON and media_type.partition(b";")[0].strip().lower() != _JSON:
        raise Refused(415, UNSUPPORTED_MEDIA_TYPE, "the body must be application/json")
    encoding = headers.get(b"content-encoding", b"identity").lower()
    if encoding not in (b"identity", b"gzip"):
        raise Refused(415, UNSUPPORTED_MEDIA_TYPE, "Content-Encoding must be gzip or identity")
    most = service.settings.max_body_bytes
    if int(headers.get(b"content-length", b"0")) > most:
        raise _too_large(most)
    body = await _receive(receive, service, most)
    return body if encoding == b"identity" else inflate(body, most)


async def _receive(receive: Any, service: Service, most: int) -> bytes:
    # A task that reads for too long is cancelled by the server's sweep; a timer of its own for
    # each request would cost 4 µs.
    task: Any = asyncio.current_task()
    service.reading[task] = time.monotonic()
    body: bytes = b""
    try:
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Refused(400, BODY_TIMEOUT, "the client went away")
            body += message.get("body", b"")
            if len(body) > most:
                raise _too_large(most)
            if not message.get("more_body"):
                return body
    except asyncio.CancelledError:
        if task not in service.too_slow:
            raise
        service.too_slow.discard(task)
        task.uncancel()
        raise Refused(408, BODY_TIMEOUT, "the body took too long to arrive") from None
    finally:
        del service.reading[task]


def _too_large(most: int) -> Refused:
    return Refused(413, BODY_TOO_LARGE, f"a body has at most {most} bytes, also when inflated")


def inflate(body: bytes, most: int) -> bytes:
    """What gzip packed; never makes more than `most` bytes, however many were packed."""
    inflater = zlib.decompressobj(wbits=31)
    try:
        inflated = inflater.decompress(body, most + 1)
    except zlib.error as error:
        raise Refused(400, INVALID_ENCODING, f"the body is not gzip: {error}") from None
    if len(inflated) > most:
        raise _too_large(most)
    if not inflater.eof or inflater.unused_data:
        raise Refused(400, INVALID_ENCODING, "the body is not one whole gzip stream")
    return inflated
