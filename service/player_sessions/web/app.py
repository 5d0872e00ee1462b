"""The whole surface of the service: its routes, its guard, its middleware and its errors.

All names of Litestar that we use are documented. Its documentation does not promise that a handler
for OPTIONS, registered before a path's other handlers, keeps Litestar from adding one of its own,
nor that a handler tells its `paths` and `http_methods` before it is registered:
`tests/guards/test_guard_litestar.py` fails when a version of Litestar changes that.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from litestar import HttpMethod, Litestar, route
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.handlers import BaseRouteHandler, HTTPRouteHandler
from litestar.response import Response
from litestar.types import ASGIApp

from player_sessions.web import openapi, page
from player_sessions.web.context import Context
from player_sessions.web.cors import Cors
from player_sessions.web.countries import starts_route
from player_sessions.web.headers import allow
from player_sessions.web.ingest import ingest, ingests, original_ingest
from player_sessions.web.middleware import Middleware
from player_sessions.web.operations import live, prometheus, ready
from player_sessions.web.player_reads import plain_read
from player_sessions.web.players import erase, original_sessions, player, session, sessions
from player_sessions.web.problems import HANDLERS

ROUTES = [
    ingest,  # POST /v1/events
    player,  # GET /v1/players/{player_id}
    sessions,  # GET /v1/players/{player_id}/sessions
    session,  # GET /v1/players/{player_id}/sessions/{session_id}
    erase,  # DELETE /v1/players/{player_id}
    # GET /v1/countries/starts, see `build`
    original_ingest,  # POST /
    original_sessions,  # GET /
    live,  # GET /health/live
    ready,  # GET /health/ready
    prometheus,  # GET /metrics
]


def create_app(context: Context) -> ASGIApp:
    """Return the ASGI application: Litestar's, behind the middleware."""
    app = build(context)
    gets = functools.partial(plain_read, context)
    for_people = None
    if context.settings.docs:
        app.register(page.router())
        for_people = page.Page(context)
    return Middleware(app, app.state["ingests"], gets, context, _cors(context), for_people)


def _cors(context: Context) -> Cors | None:
    """Return the headers of CORS, or None where no page of another origin may call."""
    if not context.settings.cors_origins:
        return None
    methods = {method for handler in ROUTES for method in handler.http_methods}
    return Cors(context.settings.cors_origins, methods, context)


def build(context: Context) -> Litestar:
    """Return Litestar's application, with all routes and errors."""
    keys: list[dict[str, list[str]]] = [] if context.keys is None else [{"key": []}]
    settings = context.settings
    hours = settings.country_hours
    routes = [*ROUTES, *([starts_route(hours)] if hours else [])]
    return Litestar(
        route_handlers=with_options(routes),
        guards=[_permit],
        exception_handlers=HANDLERS,
        openapi_config=openapi.config(keys, settings.max_batch_events) if settings.docs else None,
        state=State({"context": context, "ingests": ingests(context)}),
        logging_config=None,
        debug=False,
    )


async def _permit(
    connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler
) -> None:
    """Guard every route: the right port, and a key with the scope that the route asks for.

    The guard is asynchronous, since Litestar runs a synchronous one on a thread.
    """
    connection.app.state["context"].permit(
        connection.scope,
        key=handler.opt.get("key"),
        operations=handler.opt.get("operations", False),
    )


def with_options(handlers: Sequence[HTTPRouteHandler]) -> list[HTTPRouteHandler]:
    """Return a handler for OPTIONS on each path of `handlers`, followed by `handlers`.

    Litestar adds such a handler by itself where a path has none, when it registers the path's first
    handler: that one would never name the methods of the others. Ours are registered before all.
    """
    by_path: dict[str, list[HTTPRouteHandler]] = {}
    for handler in handlers:
        for path in handler.paths:
            by_path.setdefault(path, []).append(handler)
    return [*(_options(path, found) for path, found in by_path.items()), *handlers]


def _options(path: str, handlers: list[HTTPRouteHandler]) -> HTTPRouteHandler:
    methods = {HttpMethod.OPTIONS.value}.union(*(handler.http_methods for handler in handlers))
    headers = {"Allow": allow(methods)}

    @route(
        path,
        http_method=HttpMethod.OPTIONS,
        include_in_schema=False,
        sync_to_thread=False,
        operations=any(handler.opt.get("operations") for handler in handlers),
    )
    def options() -> Response[None]:
        return Response(None, status_code=204, headers=headers)

    return options
