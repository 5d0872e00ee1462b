"""What every request passes before its handler: it is measured, traced, or shed.

Shedding is decided on the head alone and before Litestar, so that a surplus request costs little.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote_from_bytes, unquote_to_bytes

from litestar.types import ASGIApp

from player_sessions.rules import reasons
from player_sessions.telemetry import metrics
from player_sessions.telemetry.logs import debugging, log
from player_sessions.telemetry.request_ids import enter
from player_sessions.web.context import Context
from player_sessions.web.cors import Cors, Headers
from player_sessions.web.headers import normalised
from player_sessions.web.page.accept import wants_page
from player_sessions.web.problems import problem

WRITE, READ = "write", "read"
_PLAYERS = "/v1/players/"
_COUNTRIES = "/v1/countries/starts"
_ERASE_ROUTE = "DELETE /v1/players/{player_id}"
# By how many segments follow the player: none, `sessions`, or that and a session.
_PLAYER_ROUTES = (
    "GET /v1/players/{player_id}",
    "GET /v1/players/{player_id}/sessions",
    "GET /v1/players/{player_id}/sessions/{session_id}",
)
_OTHER = "other"
_SURPLUS = "the service has more to do than it can; nothing was stored"
_CLOSE = {"Connection": "close"}


class Middleware:
    """Middleware around `app`.

    A POST to a path in `posts` goes straight to that application, and a GET to the one that `gets`
    returns for its path and query, if it returns one. `page` answers browsers at `/`, if there is
    such a page.
    """

    def __init__(
        self,
        app: ASGIApp,
        posts: Mapping[str, ASGIApp],
        gets: Callable[[str, bytes], ASGIApp | None],
        context: Context,
        cors: Cors | None = None,
        page: ASGIApp | None = None,
    ) -> None:
        self._app = app
        self._page = page
        self._posts = posts
        self._gets = gets
        self._context = context
        self._cors = cors
        self._tracing = context.tracing
        self._seconds = {route: metrics.REQUEST_SECONDS.labels(route) for route in metrics.ROUTES}
        self._counts: dict[tuple[str, int | str], Any] = {
            (route, status): metrics.REQUESTS.labels(route, str(status))
            for route in metrics.ROUTES
            for status in metrics.STATUSES
        }
        self._surplus = {
            (reason, draining): problem(reason, _SURPLUS, headers=_CLOSE if draining else None)
            for reason in reasons.OF_SHEDDING
            for draining in (False, True)
        }

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        begun = time.perf_counter()
        context, tracing = self._context, self._tracing
        more = () if self._cors is None else self._cors.headers(scope)
        is_head = scope["method"] == "HEAD"
        method = "GET" if is_head else scope["method"]
        encoded = b"%" in scope["raw_path"]
        path = scope["path"] = _routed_path(scope) if encoded else scope["path"]
        query, headers = scope["query_string"], scope["headers"]
        operation, route, app = self._find(method, path, query, headers)
        if reason := context.store.surplus(operation):
            metrics.SHED.labels(reason.name).inc()
            self._counts[route, 503].inc()
            answer = self._surplus[reason, context.draining]
            await answer.with_headers(more)(scope, receive, send)
            return
        scope["headers"] = normalised(scope["headers"])
        enter(scope)
        span = None if tracing is None else tracing.begin(scope)
        status = 500

        async def sending(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if more:
                    message["headers"] = [*message["headers"], *more]
                if context.draining:
                    message["headers"] = [*message["headers"], (b"connection", b"close")]
                if tracing is not None and span is not None:
                    message["headers"] = [*message["headers"], tracing.header(span)]
            await send(message)

        if is_head:  # the exchange keeps its own scope, and leaves out the body of the answer
            scope = {**scope, "method": "GET"}
        context.in_flight[operation] += 1
        try:
            await app(scope, receive, sending)
        finally:
            context.in_flight[operation] -= 1
            took = time.perf_counter() - begun
            self._seconds[route].observe(took)
            (self._counts.get((route, status)) or self._counts[route, _OTHER]).inc()
            if tracing is not None and span is not None:
                tracing.end(span, route, status)
            if debugging():
                log.debug("request", route=route, status=status, seconds=round(took, 6))

    def _find(
        self, method: str, path: str, query: bytes, headers: Headers
    ) -> tuple[str, str, ASGIApp]:
        """Return (operation, route, application); metrics name a path by its route only.

        Litestar's router looks only at what stands between slashes, however many they are.
        """
        if method == "POST" and (ingest := self._posts.get(path)):
            return WRITE, f"POST {path}", ingest
        plain = "/" + "/".join(filter(None, path.split("/")))
        if plain != path:  # the id may be what is empty, which Litestar's route refuses
            operation, route, app = self._find(method, plain, query, headers)
            return operation, route, app if app is self._page else self._app
        if method == "GET":
            if path == "/":
                if self._page is not None and wants_page(headers):
                    return _OTHER, _OTHER, self._page
                return READ, "GET /", self._app
            if path.startswith(_PLAYERS):
                route = _PLAYER_ROUTES[min(path.count("/", len(_PLAYERS)), 2)]
                return READ, route, self._gets(path, query) or self._app
            if path == _COUNTRIES:
                return READ, f"GET {_COUNTRIES}", self._app
        if method == "DELETE" and path.startswith(_PLAYERS):
            return READ, _ERASE_ROUTE, self._app  # shed by the limit of reads
        return _OTHER, _OTHER, self._app


def _routed_path(scope: Any) -> str:
    """Return the path by which a request with an encoded path is routed.

    A scope has the whole path decoded, so `%2F` in a player id would become a slash. Under
    `/v1/players` each segment is therefore encoded again, and the handler decodes the id.
    """
    raw: bytes = scope["raw_path"]
    parts = [quote_from_bytes(unquote_to_bytes(part), "") for part in raw.split(b"/")]
    named = [part for part in parts if part]
    path: str = scope["path"]
    return "/".join(parts) if named[:2] == ["v1", "players"] else path
