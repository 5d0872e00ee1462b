"""The body of a request: its media type, its encoding, its size and the time it may take.

The limits hold before anything decodes the body.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

from player_sessions.rules.reasons import (
    BODY_TIMEOUT,
    BODY_TOO_LARGE,
    INVALID_ENCODING,
    UNSUPPORTED_MEDIA_TYPE,
)
from player_sessions.web.context import Context
from player_sessions.web.headers import is_gzip
from player_sessions.web.problems import Refused

_JSON = b"application/json"
_MAX_MEMBERS = 100  # of a gzip body; each costs some processor time


async def read_body(headers: Mapping[bytes, bytes], receive: Any, context: Context) -> bytes:
    """Return the whole body, inflated; raises Refused when its kind, size or speed is wrong."""
    media_type = headers.get(b"content-type") or _JSON
    if media_type != _JSON and media_type.partition(b";")[0].strip().lower() != _JSON:
        raise Refused(UNSUPPORTED_MEDIA_TYPE, "the body must be application/json")
    packed = is_gzip(headers.get(b"content-encoding", b""))
    if packed is None:
        raise Refused(UNSUPPORTED_MEDIA_TYPE, "Content-Encoding must be gzip or identity")
    max_bytes = context.settings.max_body_bytes
    if int(headers.get(b"content-length", b"0")) > max_bytes:
        raise _too_large(max_bytes)
    body = await _receive(receive, max_bytes)
    return inflate(body, max_bytes) if packed else body


async def _receive(receive: Any, max_bytes: int) -> bytes:
    body: bytes = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":  # the client has gone, or `web/sweep.py` ended it
            raise Refused(BODY_TIMEOUT, "the body took too long to arrive")
        body += message["body"]
        if len(body) > max_bytes:
            raise _too_large(max_bytes)
        if not message["more_body"]:
            return body


def _too_large(max_bytes: int) -> Refused:
    return Refused(BODY_TOO_LARGE, f"a body has at most {max_bytes} bytes, also when inflated")


def inflate(body: bytes, max_bytes: int) -> bytes:
    """Return what gzip compressed; never inflates more than `max_bytes` and one byte of it.

    A gzip body is a series of members (RFC 1952). A client that flushes often sends several.
    """
    inflated = b""
    for _ in range(_MAX_MEMBERS):
        inflater = zlib.decompressobj(wbits=31)
        try:
            inflated += inflater.decompress(body, max_bytes + 1 - len(inflated))
        except zlib.error as error:
            raise Refused(INVALID_ENCODING, f"the body is not gzip: {error}") from None
        if len(inflated) > max_bytes:
            raise _too_large(max_bytes)
        if not inflater.eof:
            raise Refused(INVALID_ENCODING, "the gzip body ends too early")
        body = inflater.unused_data
        if not body:
            return inflated
    raise Refused(INVALID_ENCODING, f"a gzip body has at most {_MAX_MEMBERS} members")
