"""The page for people at `/`: look a player up, and see the session starts per country.

The page is static, and its scripts call the interface as any client does. The service serves all
its files: those in `static/`, which are ours, and those in `bundle/`, the charts of uPlot, which
`dev/bundles.py` renews. All addresses are relative to the page, since a proxy may serve it under a
prefix that the service does not know.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from litestar import Router, get
from litestar.handlers import HTTPRouteHandler
from litestar.response import Response

from player_sessions.web.answer import Answer
from player_sessions.web.context import Context
from player_sessions.web.openapi import HEADERS
from player_sessions.web.problems import Refused, answer_for

PATH = "/page"  # of the files that the page loads
_INDEX = "index.html"
_TYPES = {".js": "text/javascript", ".css": "text/css"}


class Page:
    """An ASGI application that answers with the page itself, which needs no key."""

    def __init__(self, context: Context) -> None:
        self._context = context
        text = (files(__name__) / "static" / _INDEX).read_text(encoding="utf-8")
        hours, keys = context.settings.country_hours, "off" if context.keys is None else "on"
        text = text.replace("COUNTRY_HOURS", str(hours)).replace("KEYS", keys)
        # The same address has JSON for others: a cache must look at `Accept`, and ask each time.
        more = {"Vary": "Accept", "Cache-Control": "no-cache"}
        self._answer = Answer(text.encode(), b"text/html; charset=utf-8", headers=HEADERS | more)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        answer = self._answer
        try:
            self._context.permit(scope, key=None, operations=False)
        except Refused as error:
            answer = answer_for(error)
        await answer(scope, receive, send)


def router() -> Router:
    """Return the routes of the files that the page loads."""
    ours = (files(__name__) / "static").iterdir()
    handlers = [_serve(each.name, each.read_bytes()) for each in ours if each.name != _INDEX]
    for each in (files(__name__) / "bundle").iterdir():
        if each.name.endswith(".gz"):
            handlers.append(_serve(each.name.removesuffix(".gz"), each.read_bytes(), "gzip"))
    return Router(PATH, route_handlers=handlers, response_headers=HEADERS, include_in_schema=False)


def _serve(name: str, content: bytes, encoding: str = "") -> HTTPRouteHandler:
    """Return the route of one file."""
    headers = {"Cache-Control": "no-cache"}  # the files of one release belong together
    if encoding:  # uPlot seldom changes
        headers = {"Cache-Control": "max-age=3600", "Content-Encoding": encoding}
    media_type = _TYPES[f".{name.rpartition('.')[2]}"]

    @get(f"/{name}", sync_to_thread=False)
    def serve_file() -> Response[bytes]:
        return Response(content, media_type=media_type, headers=headers)

    return serve_file
