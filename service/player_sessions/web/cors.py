"""CORS: the pages of which other origins may call the service from a browser.

The protocol is a part of the Fetch standard. A browser sends the header `Origin`, and keeps an
answer from the page unless the answer names that origin. Before a request that no form could send,
such as one with a JSON body, the browser asks by a preflight, which is an OPTIONS request.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from player_sessions.web.context import Context

_ALLOW_ORIGIN = b"access-control-allow-origin"
_VARY = (b"vary", b"Origin")
# What a page may read of an answer, beside its status, its body and a few common headers.
_EXPOSE = (
    b"access-control-expose-headers",
    b"Preference-Applied, Retry-After, X-Request-Id, traceparent",
)
_ALLOW_METHODS = b"access-control-allow-methods"
_ALLOW_HEADERS = (
    b"access-control-allow-headers",
    b"Authorization, Content-Encoding, Content-Type, Prefer, X-Request-Id, traceparent",
)
_MAX_AGE = (b"access-control-max-age", b"7200")  # Chromium keeps a preflight for two hours at most
Headers = Sequence[tuple[bytes, bytes]]


class Cors:
    """The headers of CORS for answers on the HTTP port.

    `origins` are those that may call; `*` alone means every origin. `methods` are those of all
    routes. A preflight is answered as any OPTIONS request is, with more headers.
    """

    def __init__(self, origins: Sequence[str], methods: Iterable[str], context: Context) -> None:
        self._context = context
        self._of_preflight = [
            (_ALLOW_METHODS, ", ".join(sorted(methods)).encode()),
            _ALLOW_HEADERS,
            _MAX_AGE,
        ]
        # A shared cache must not give the answer for one origin to a page of another.
        self._otherwise: Headers = [_VARY]
        self._by_origin: dict[bytes, Headers] = {}
        for origin in (each.encode() for each in origins):
            self._by_origin[origin] = [(_ALLOW_ORIGIN, origin), _EXPOSE, _VARY]
        if every := self._by_origin.pop(b"*", None):
            self._otherwise = every[:-1]  # the same answer for all origins: nothing varies

    def headers(self, scope: Any) -> Headers:
        """Return what the answer to this request has beside its own headers."""
        if scope["server"][1] == self._context.operations_port:
            return ()
        for name, value in scope["headers"]:
            if name == b"origin":
                headers = self._by_origin.get(value, self._otherwise)
                if scope["method"] == "OPTIONS" and _is_preflight(scope["headers"], headers):
                    return [*headers, *self._of_preflight]
                return headers
        return self._otherwise


def _is_preflight(sent: Headers, headers: Headers) -> bool:
    """Return whether an OPTIONS request is the preflight of an origin that may call."""
    asks = any(name == b"access-control-request-method" for name, _ in sent)
    return asks and headers[0][0] == _ALLOW_ORIGIN
