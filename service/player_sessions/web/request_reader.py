"""What a client sends as requests: httptools' parser, with limits on all that is not a body."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol
from urllib.parse import unquote

from httptools import (
    HttpParserCallbackError,
    HttpParserError,
    HttpParserUpgrade,
    HttpRequestParser,
    parse_url,
)

from player_sessions.rules.reasons import HEAD_TOO_LARGE, MALFORMED_REQUEST
from player_sessions.web.exchange import Exchange
from player_sessions.web.problems import Refused

# A longer packet is parsed in parts, so that little is kept of a request that goes beyond a limit.
_PART_BYTES = 4096
_MAX_HEADERS = 100

Headers = list[tuple[bytes, bytes]]
Scope = dict[str, Any]


class Taker(Protocol):
    """The connection that takes the requests."""

    def take(self, scope: Scope, *, keep_alive: bool, expects_continue: bool) -> Exchange:
        """Return the exchange of a request whose head is complete; raises Refused."""


class RequestReader:
    """Reads requests and hands each to `taker` when its head is complete; its body follows.

    `ends` is what a scope says of the connection.
    """

    def __init__(self, taker: Taker, ends: Scope, max_head_bytes: int) -> None:
        self.receiving: Exchange | None = None  # its head is complete, its body is not
        self.within_head = False  # a head has begun and is not complete
        self._taker = taker
        self._ends = ends
        self._max_bytes = max_head_bytes
        self._outside_body = 0  # bytes of the present request that are not its body
        self._url = b""
        self._headers: Headers = []
        self._expects_continue = False
        self._parser = self._new_parser()

    def read(self, data: bytes) -> None:
        """Read what the client sent; raises Refused, behind which nothing more can be read."""
        try:
            if len(data) <= _PART_BYTES:
                self._feed(data)
            else:
                for begin in range(0, len(data), _PART_BYTES):
                    self._feed(data[begin : begin + _PART_BYTES])
        except HttpParserCallbackError as error:
            if isinstance(cause := error.__context__, Refused):
                raise cause from None
            raise Refused(MALFORMED_REQUEST, "the target of the request is not valid") from None
        except HttpParserError as error:
            detail = f"the request is not valid HTTP: {error}"
            raise Refused(MALFORMED_REQUEST, detail) from None

    def end(self) -> None:
        """Let go of the parser and the connection: each holds the other, which costs memory."""
        self.receiving = None
        del self._parser, self._taker

    def _new_parser(self) -> HttpRequestParser:
        """Return a parser that calls this reader, and reads on behind `Connection: close`."""
        parser = HttpRequestParser(self)
        parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return parser

    def _feed(self, data: bytes) -> None:
        """Let the parser read; a head that offers an upgrade is read again, without the offer.

        A server may ignore an offer (RFC 9110, section 7.8). The parser cannot: it takes all bytes
        behind such a head, and behind a CONNECT, for another protocol.
        """
        self._outside_body += len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade as stop:
            if self._offers_upgrade():
                head = self._without_upgrade()
                self._parser = self._new_parser()
                self._parser.feed_data(head)
            if rest := data[stop.args[0] :]:
                self._outside_body -= len(rest)
                self._feed(rest)
        if self._outside_body > self._max_bytes or len(self._headers) > _MAX_HEADERS:
            raise self._too_large()

    # What the parser calls.

    def on_message_begin(self) -> None:
        self.within_head = True
        self._url, self._headers, self._expects_continue = b"", [], False

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self._expects_continue = True
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        parser, headers = self._parser, self._headers
        if self._offers_upgrade():
            return  # `_feed` reads this request again
        self.within_head = False
        if len(headers) > _MAX_HEADERS:
            raise self._too_large()
        version = parser.get_http_version()
        _check_host(headers, version)
        self.receiving = self._taker.take(
            self._scope(version),
            keep_alive=version != "1.0" and parser.should_keep_alive(),
            expects_continue=self._expects_continue,
        )
        self._headers = []  # for trailers, which are no part of the head

    def on_body(self, body: bytes) -> None:
        self._outside_body -= len(body)
        if self.receiving is not None:
            self.receiving.feed(body)

    def on_message_complete(self) -> None:
        if self.receiving is not None:
            self._outside_body = 0  # what remains of this part of a packet is not counted
            self.receiving.end_body()
            self.receiving = None

    # The head that the parser has just read.

    def _scope(self, version: str) -> Scope:
        url = parse_url(self._url)
        raw_path = url.path or b"/"  # of `http://host`, a target that a client may send (RFC 9112)
        path = raw_path.decode("ascii")
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": version,
            "method": self._parser.get_method().decode("ascii"),
            "path": unquote(path) if "%" in path else path,
            "raw_path": raw_path,
            "query_string": url.query or b"",
            "root_path": "",
            "headers": self._headers,
            "state": {},
            **self._ends,
        }

    def _offers_upgrade(self) -> bool:
        """Return whether the head offers to change the protocol."""
        return self._parser.should_upgrade() and self._parser.get_method() != b"CONNECT"

    def _without_upgrade(self) -> bytes:
        """Return the head without its header `Upgrade`."""
        parser = self._parser
        version = parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (parser.get_method(), self._url, version)]
        lines += [name + b": " + value for name, value in self._headers if name != b"upgrade"]
        return b"\r\n".join([*lines, b"", b""])

    def _too_large(self) -> Refused:
        bounds = f"{self._max_bytes} bytes and {_MAX_HEADERS} headers"
        return Refused(HEAD_TOO_LARGE, f"a request has at most {bounds} outside its body")


def _check_host(headers: Headers, version: str) -> None:
    """Raise Refused unless there is one `Host`; HTTP/1.0 may leave it out (RFC 9112, 3.2)."""
    hosts = [name for name, _ in headers].count(b"host")
    if hosts != 1 and (hosts or version != "1.0"):
        raise Refused(MALFORMED_REQUEST, f"a request has one Host, not {hosts}")


def ends_of(transport: asyncio.BaseTransport) -> Scope:
    """Return what a scope says of a connection: the scheme, and both ends as (host, port)."""
    ends = {}
    for name, key in (("server", "sockname"), ("client", "peername")):
        address = transport.get_extra_info(key)
        ends[name] = tuple(address[:2]) if isinstance(address, tuple | list) else None
    return {"scheme": "https" if transport.get_extra_info("sslcontext") else "http", **ends}
