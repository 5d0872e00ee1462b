"""What every request passes before its handler: measured, traced, and shed when there is too much.

Shedding is decided here, on the head alone and outside of Litestar, so that the surplus is cheap.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from litestar.types import ASGIApp

from player_sessions.problems import SHED, problem
from player_sessions.service import Service
from player_sessions.telemetry import metrics
from player_sessions.telemetry.logs import debugging, log
from player_sessions.telemetry.traces import enter

WRITE, READ = "write", "read"
_PLAYERS = "/v1/players/"
_READ_ROUTE = "GET /v1/players/{player_id}/sessions"
_OTHER = "other"
_SURPLUS = "the service has more to do than it can; nothing was stored"
_CLOSE = {"Connection": "close"}


class Front:
    """`app`, or for a path in `posts` that application, with all of the above."""

    def __init__(self, app: ASGIApp, posts: Mapping[str, ASGIApp], service: Service) -> None:
        self._app = app
        self._posts = posts
        self._service = service
        self._tracing = service.tracing
        self._seconds = {route: metrics.REQUEST_SECONDS.labels(route) for route in metrics.ROUTES}
        self._counts: dict[tuple[str, int | str], Any] = {
            (route, status): metrics.REQUESTS.labels(route, str(status))
            for route in metrics.ROUTES
            for status in metrics.STATUSES
        }
        self._surplus = {
            (reason, draining): problem(503, reason, _SURPLUS, headers=_CLOSE if draining else None)
            for reason in SHED
            for draining in (False, True)
        }

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        begun = time.perf_counter()
        service, tracing = self._service, self._tracing
        operation, route, app = self._find(scope["method"], scope["path"])
        if reason := service.store.surplus(operation):
            metrics.SHED.labels(reason).inc()
            self._counts[route, 503].inc()
            await self._surplus[reason, service.draining](scope, receive, send)
            return
        enter(scope)
        span = None if tracing is None else tracing.begin(scope)
        status = 500

        async def sending(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if service.draining:
                    message["headers"] = [*message["headers"], (b"connection", b"close")]
                if tracing is not None and span is not None:
                    message["headers"] = [*message["headers"], tracing.header(span)]
            await send(message)

        service.in_flight[operation] += 1
        try:
            await app(scope, receive, sending)
        finally:
            service.in_flight[operation] -= 1
            took = time.perf_counter() - begun
            self._seconds[route].observe(took)
            (self._counts.get((route, status)) or self._counts[route, _OTHER]).inc()
            if tracing is not None and span is not None:
                tracing.end(span, route, status)
            if debugging():
                log.debug("request", route=route, status=status, seconds=round(took, 6))

    def _find(self, method: str, path: str) -> tuple[str, str, ASGIApp]:
        """(operation, route, who answers): all that metrics may say of a path."""
        if method == "POST" and (ingest := self._posts.get(path)):
            return WRITE, f"POST {path}", ingest
        if method == "GET":
            if path == "/":
                return READ, "GET /", self._app
            if path.startswith(_PLAYERS):
                return READ, _READ_ROUTE, self._app
        return _OTHER, _OTHER, self._app
