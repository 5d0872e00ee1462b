"""The head of a request, as the parser of httptools reads it."""

from __future__ import annotations

from typing import Any

from httptools import HttpRequestParser

from player_sessions.rules.reasons import HEAD_TOO_LARGE, MALFORMED_REQUEST
from player_sessions.web.problems import Refused

Headers = list[tuple[bytes, bytes]]
MAX_HEADERS = 100


def new_parser(protocol: Any) -> HttpRequestParser:
    """Return a parser that calls `protocol`, with the leniency that uvicorn gives to its own."""
    parser = HttpRequestParser(protocol)
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    return parser


def offers_upgrade(parser: HttpRequestParser) -> bool:
    """Return whether the head that `parser` has just read offers to change the protocol."""
    return parser.should_upgrade() and parser.get_method() != b"CONNECT"


def too_large(max_bytes: int) -> Refused:
    """Return the refusal of a request with too many bytes or headers outside its body."""
    bounds = f"{max_bytes} bytes and {MAX_HEADERS} headers"
    return Refused(HEAD_TOO_LARGE, f"a request has at most {bounds} outside its body")


def check_host(headers: Headers, parser: HttpRequestParser) -> None:
    """Raise Refused unless there is one `Host`; HTTP/1.0 may leave it out (RFC 9112, 3.2)."""
    hosts = [name for name, _ in headers].count(b"host")
    if hosts != 1 and (hosts or parser.get_http_version() != "1.0"):
        raise Refused(MALFORMED_REQUEST, f"a request has one Host, not {hosts}")


def without_upgrade(parser: HttpRequestParser, url: bytes, headers: Headers) -> bytes:
    """Return the head that `parser` has just read, without its header `Upgrade`."""
    version = parser.get_http_version().encode()
    lines = [b"%b %b HTTP/%b" % (parser.get_method(), url, version)]
    lines += [name + b": " + value for name, value in headers if name != b"upgrade"]
    return b"\r\n".join([*lines, b"", b""])
