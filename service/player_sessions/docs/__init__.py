"""The page at /docs, on which the interface can be read and tried: Swagger UI, served by us alone.

Litestar's own page would fetch its scripts from elsewhere. `dev/swagger.py` renews `bundle/`.
"""

from __future__ import annotations

from importlib.resources import files

from litestar import MediaType, Router, get
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import OpenAPIRenderPlugin
from litestar.openapi.spec import Components, SecurityRequirement, SecurityScheme
from litestar.response import Response

from player_sessions import __version__

PATH = "/docs"
# What the page may load and call: us alone. Swagger UI's style sheet has images as `data:`.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_PAGE = f"""<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>player-sessions</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="{PATH}/swagger-ui.css">
<div id="swagger-ui"></div>
<script src="{PATH}/swagger-ui-bundle.js"></script>
<script src="{PATH}/start.js"></script>
</html>
"""
# Without `validatorUrl: null` the page would send its address to a validator on the internet.
_START = f"""SwaggerUIBundle({{
  url: "{PATH}/openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null,
}});
"""


class _Page(OpenAPIRenderPlugin):
    def __init__(self) -> None:
        super().__init__(path="/")

    def render(self, *_: object, **__: object) -> bytes:
        return _PAGE.encode()

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


def config(security: list[SecurityRequirement]) -> OpenAPIConfig:
    """The interface's description, its page and what the page loads, under PATH."""
    return OpenAPIConfig(
        title="player-sessions",
        version=__version__,
        description="Start and end events in, the last 20 complete sessions of a player out.",
        openapi_router=Router(
            PATH, route_handlers=[], response_headers=HEADERS, include_in_schema=False
        ),
        use_handler_docstrings=True,
        render_plugins=[_Page()],
        components=Components(
            security_schemes={"key": SecurityScheme(type="http", scheme="bearer")}
        ),
        security=security,
    )
