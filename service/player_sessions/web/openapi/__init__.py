"""The page /docs, to read and try the interface: Swagger UI, with every file served by us.

A proxy may serve all of it under a prefix that the service does not know. So every address is
relative: those of the page to the page, and the server in the description to the description.

Litestar's own page would load its scripts from elsewhere. `dev/swagger.py` renews `bundle/`. Our
routes join Litestar's by `OpenAPIRenderPlugin.receive_router`, a documented hook, which
`tests/guards/test_guard_litestar.py` checks nevertheless.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from litestar import MediaType, Request, Router, get
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import OpenAPIRenderPlugin
from litestar.openapi.spec import (
    Components,
    OpenAPI,
    SecurityRequirement,
    SecurityScheme,
    Server,
    Tag,
)
from litestar.response import Response

from player_sessions import __version__
from player_sessions.web.openapi import description

PATH = "/docs"
# The page may load and call only this service. Swagger UI's style sheet has images as `data:`.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_PAGE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>player-sessions</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="FOLDER/swagger-ui.css">
<div id="swagger-ui"></div>
<script src="FOLDER/swagger-ui-bundle.js"></script>
<script src="FOLDER/start.js"></script>
</html>
"""
# Without `validatorUrl: null` the page would send its address to a validator on the internet.
_START = """SwaggerUIBundle({
  url: new URL("openapi.json", document.currentScript.src).href,
  dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null,
});
"""


class _Page(OpenAPIRenderPlugin):
    def __init__(self) -> None:
        super().__init__(path="/")

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:  # noqa: ARG002
        """Return the page; its files are beside it at `/docs/` and below it at `/docs`."""
        is_folder = request.scope["raw_path"].endswith(b"/")
        return _PAGE.replace("FOLDER", "." if is_folder else PATH[1:]).encode()

    def receive_router(self, router: Router) -> None:
        bundle = files(__name__) / "bundle"
        script = (bundle / "swagger-ui-bundle.js.gz").read_bytes()
        style = (bundle / "swagger-ui.css.gz").read_bytes()
        gzip = {"Content-Encoding": "gzip", "Cache-Control": "max-age=3600"}

        @get("/swagger-ui-bundle.js", sync_to_thread=False)
        def serve_script() -> Response[bytes]:
            return Response(script, media_type="text/javascript", headers=gzip)

        @get("/swagger-ui.css", sync_to_thread=False)
        def serve_style() -> Response[bytes]:
            return Response(style, media_type=MediaType.CSS, headers=gzip)

        @get("/start.js", sync_to_thread=False)
        def serve_start() -> Response[str]:
            return Response(_START, media_type="text/javascript")

        for handler in (serve_script, serve_style, serve_start):
            router.register(handler)


@dataclass
class _Config(OpenAPIConfig):
    max_events: int = 0

    def to_openapi_schema(self) -> OpenAPI:
        made = description.Description(**vars(super().to_openapi_schema()))
        made.max_events = self.max_events
        return made


def config(security: list[SecurityRequirement], max_events: int) -> OpenAPIConfig:
    """Return the configuration of the description, its page and what the page loads, under PATH.

    `max_events` is the size of the largest batch.
    """
    return _Config(
        max_events=max_events,
        title="player-sessions",
        version=__version__,
        description="Start and end events in, the last 20 complete sessions of a player out.",
        openapi_router=Router(
            PATH, route_handlers=[], response_headers=HEADERS, include_in_schema=False
        ),
        use_handler_docstrings=True,
        servers=[Server("..")],
        tags=[
            Tag(description.GAMES, "Send events and read sessions from a game or its servers."),
            Tag(description.ANALYSTS, "Ask what players did."),
            Tag(description.OPERATORS, "Health and metrics."),
        ],
        render_plugins=[_Page()],
        components=Components(
            security_schemes={"key": SecurityScheme(type="http", scheme="bearer")}
        ),
        security=security,
    )
