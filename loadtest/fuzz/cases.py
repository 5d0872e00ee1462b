"""Almost valid requests: valid ones with mutated bytes, headers and framing."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable
from uuid import UUID

from dev.game_events import end, now_ms, start

_PLAYER, _SESSION = UUID(int=1), UUID(int=2)
_HEADERS = (
    b"Content-Length: 0", b"Content-Length: -1", b"Content-Length: 99999999999999999999",
    b"Content-Length: 1e3", b"Content-Length: \xb2", b"Content-Length: 5, 5",
    b"Content-Length: +5", b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding: \x0bchunked", b"Content-Encoding: gzip", b"Content-Encoding: gzip, gzip",
    b"Content-Type: application/json; charset=utf-16", b"Content-Type: \xff", b"Content-Type:",
    b"Expect: 100-continue", b"Upgrade: h2c", b"Upgrade: websocket", b"Connection: close",
    b"Connection: upgrade", b"Authorization: Bearer \xff\x00", b"Authorization:", b"Host:",
    b"traceparent: 00-" + b"f" * 32 + b"-" + b"0" * 16 + b"-01", b"traceparent: \xff",
    b"Cookie: " + b"a=b;" * 500, b" folded: x", b"X" * 9000 + b": y", b"\x00: \x00", b":",
)  # fmt: skip
_PIECES = (
    b"\x00", b"\xff", b"\r\n", b"\n", b"\r\n\r\n", b"%00", b"%ff", b"../", b"//", b"?", b"#",
    b"\xf0\x9f\x92\xa3", b"\xed\xa0\x80", b"[" * 2000, b'{"a":' * 2000, b"9" * 400, b"1e999",
    b"-0", b"NaN", b'"\\ud800"', b"\\u0000", b"null", b"true", b"{}", b"[]", b'""',
    b"9999-12-31T23:59:59.999999+23:59", b"0001-01-01T00:00:00-23:59", b"2016-12-31T23:59:60Z",
    b"0;x=y\r\n\r\n", b"ffffffffffffffff\r\n", b"HTTP/1.0", b"HTTP/2.0", b"HTTP/9.9",
)  # fmt: skip


def _request(line: str, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"{line} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def _chunked(line: str, body: bytes) -> bytes:
    half = len(body) // 2
    parts = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:half], body[half:]))
    head = f"{line} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head.encode() + parts + b"0\r\n\r\n"


def corpus() -> list[bytes]:
    """Return valid requests for every route."""
    now = now_ms()
    events = [start(_PLAYER, _SESSION, now - 1000), end(_PLAYER, _SESSION, now)]
    batch = json.dumps({"events": events}).encode()
    rows = json.dumps({"rows": events}).encode()
    player = json.dumps({"player_id": _PLAYER.hex}).encode()
    typed = "Content-Type: application/json"
    named = json.dumps(
        {"events": [{**each, "player_id": "J\u00f6rg/1"} for each in events]}
    ).encode()
    path = f"/v1/players/{_PLAYER.hex}/sessions"
    return [
        _request("POST /v1/events", batch, typed),
        _request("POST /v1/events", gzip.compress(batch), typed, "Content-Encoding: gzip"),
        _chunked("POST /v1/events", batch),
        _request("POST /", rows, typed),
        _request("POST /v1/events", named, typed),
        _request("GET /v1/players/J%C3%B6rg%2F1/sessions"),
        _request("GET /", player, typed),
        _request(f"GET {path}?limit=5&cursor=AQAA{'A' * 30}"),
        *(
            _request(f"GET {each}")
            for each in ("/health/live", "/health/ready", "/metrics", "/docs", "/docs/openapi.json")
        ),
        _request("OPTIONS /"),
    ]


def _flip(draw: random.Random, data: bytearray) -> None:
    data[draw.randrange(len(data))] = draw.randrange(256)


def _insert(draw: random.Random, data: bytearray) -> None:
    at = draw.randrange(len(data) + 1)
    data[at:at] = draw.choice(_PIECES)


def _replace(draw: random.Random, data: bytearray) -> None:
    at = draw.randrange(len(data))
    data[at : at + draw.randrange(1, 40)] = draw.choice(_PIECES)


def _remove(draw: random.Random, data: bytearray) -> None:
    at = draw.randrange(len(data))
    del data[at : at + draw.randrange(1, 20)]


def _repeat(draw: random.Random, data: bytearray) -> None:
    at = draw.randrange(len(data))
    piece = data[at : at + draw.randrange(1, 200)]
    data[at:at] = piece * draw.randrange(1, 50)


def _header(draw: random.Random, data: bytearray) -> None:
    at = data.find(b"\r\n") + 2
    data[at:at] = draw.choice(_HEADERS) + b"\r\n"


def _cut(draw: random.Random, data: bytearray) -> None:
    del data[draw.randrange(len(data)) :]


_MUTATIONS: tuple[Callable[[random.Random, bytearray], None], ...] = (
    _flip, _flip, _insert, _replace, _remove, _repeat, _header, _header, _cut,
)  # fmt: skip


def case(seed: str, number: int, good: list[bytes]) -> bytes:
    """Return one case; the same arguments make the same case."""
    draw = random.Random(f"{seed} {number}")
    data = bytearray(draw.choice(good))
    if draw.random() < 0.1:  # two requests on one connection
        data += draw.choice(good)
    for _ in range(draw.choice((1, 1, 2, 3, 8))):
        if data:
            draw.choice(_MUTATIONS)(draw, data)
    return bytes(data)
