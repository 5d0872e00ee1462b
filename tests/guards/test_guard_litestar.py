"""Guard what we rely on in Litestar beyond plain routes; a version that changes it fails here.

Each message names our file that must be looked at again.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import pytest
from litestar import HttpMethod, Litestar, Request, Router, get, post, route
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.exceptions import HTTPException, ValidationException
from litestar.handlers import BaseRouteHandler, HTTPRouteHandler
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import OpenAPIRenderPlugin
from litestar.params import Parameter
from litestar.response import Response
from litestar.types import ASGIApp

API = "service/player_sessions/web/app.py relies on this behaviour of Litestar"
DOCS = "service/player_sessions/web/openapi relies on this behaviour of Litestar"
PROBLEMS = "service/player_sessions/web/problems.py relies on this behaviour of Litestar"


class Refusal(Exception):
    """An exception like `problems.Refused`."""


def app_of(*handlers: HTTPRouteHandler, **options: Any) -> Litestar:
    options = {"openapi_config": None, "logging_config": None} | options
    return Litestar(list(handlers), **options)


def asked(app: Any, method: str, path: str, query: bytes = b"") -> tuple[int, Any, bytes]:
    """Return status, headers and body of an answer."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"sent", "more_body": False}

    scope: Any = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query,
        "root_path": "",
        "headers": [],
        "state": {},
    }
    asyncio.run(app(scope, receive, send))
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return sent[0]["status"], dict(sent[0]["headers"]), body


@get("/read")
async def read() -> dict[str, str]:
    return {}


@get("/same")
async def same_read() -> dict[str, str]:
    return {}


@post("/same")
async def same_write() -> dict[str, str]:
    return {}


def test_a_handler_may_return_an_asgi_application_that_reads_the_request() -> None:
    async def application(_: Any, receive: Any, send: Any) -> None:
        message = await receive()
        await send({"type": "http.response.start", "status": 201, "headers": [(b"x-own", b"1")]})
        await send({"type": "http.response.body", "body": message["body"]})

    @post("/", status_code=200)
    async def handler(request: Request[Any, Any, Any]) -> ASGIApp:
        assert request.scope["path"] == "/", API
        assert request.receive is not None, API
        app: ASGIApp = request.app.state["application"]
        return app

    app = app_of(handler, state=State({"application": application}))
    assert asked(app, "POST", "/") == (201, {b"x-own": b"1"}, b"sent"), API


def test_unknown_options_of_a_handler_are_kept_for_the_guards() -> None:
    seen: list[Any] = []

    def guard(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
        seen.append((connection.app.state["own"], connection.scope["path"], handler.opt.get("key")))

    @get("/opt", key="scope")
    async def handler() -> dict[str, str]:
        return {}

    app = app_of(handler, guards=[guard], state=State({"own": 1}))
    assert asked(app, "GET", "/opt")[0] == 200, API
    assert seen == [(1, "/opt", "scope")], API


def test_a_handler_has_its_paths_and_methods() -> None:
    assert (read.paths, read.http_methods) == ({"/read"}, {"GET"}), API

    @route("/o", http_method=HttpMethod.OPTIONS, sync_to_thread=False)
    def options() -> None: ...

    assert options.http_methods == {"OPTIONS"}, API


@pytest.mark.parametrize("backwards", [False, True])
def test_a_handler_for_options_that_is_registered_first_is_the_only_one(backwards: bool) -> None:
    @route("/same", http_method=HttpMethod.OPTIONS, sync_to_thread=False)
    def options() -> Response[None]:
        return Response(None, status_code=204, headers={"Allow": "ours"})

    handlers = [same_read, same_write]
    app = app_of(options, *(handlers[::-1] if backwards else handlers))
    status, headers, body = asked(app, "OPTIONS", "/same")
    assert (status, headers[b"allow"], body) == (204, b"ours", b""), API
    for method in ("GET", "POST"):
        assert asked(app, method, "/same")[0] < 300, API


@pytest.mark.parametrize("where", ["guard", "handler"])
def test_an_exception_handler_is_found_by_class_and_its_response_is_sent(where: str) -> None:
    def guard(*_: Any) -> None:
        if where == "guard":
            raise Refusal("no")

    @get("/")
    async def handler() -> dict[str, str]:
        raise Refusal("no")

    def refuse(request: Any, error: Exception) -> Response[bytes]:
        assert isinstance(request, Request), PROBLEMS
        own = {"content-length": "2", "x-own": "1"}
        return Response(str(error).encode(), status_code=418, media_type="a/b+json", headers=own)

    app = app_of(handler, guards=[guard], exception_handlers={Refusal: refuse})
    status, headers, body = asked(app, "GET", "/")
    assert (status, body) == (418, b"no"), PROBLEMS
    expected = {b"content-type": b"a/b+json", b"content-length": b"2", b"x-own": b"1"}
    assert headers == expected, PROBLEMS


@pytest.mark.parametrize(
    ("method", "path", "query", "status"),
    [
        ("GET", "/none", b"", 404),
        ("PUT", "/same", b"", 405),
        ("GET", "/limited", b"limit=x", 400),
    ],
)
def test_the_routers_own_errors_come_to_our_handlers(
    method: str, path: str, query: bytes, status: int
) -> None:
    seen: list[HTTPException] = []

    @get("/limited")
    async def limited(limit: Annotated[int, Parameter(ge=1)]) -> dict[str, int]:
        return {"limit": limit}

    def problem(_: Any, error: HTTPException) -> Response[bytes]:
        seen.append(error)
        return Response(b"{}", status_code=error.status_code, headers=error.headers)

    handlers: Any = {HTTPException: problem, Exception: problem}
    app = app_of(same_read, same_write, limited, exception_handlers=handlers)
    answer = asked(app, method, path, query)
    (error,) = seen
    assert answer[0] == error.status_code == status, PROBLEMS
    assert error.detail, PROBLEMS
    if status == 405:
        assert b"GET" in answer[1][b"allow"], PROBLEMS
    if status == 400:
        assert isinstance(error, ValidationException), PROBLEMS
        (wrong,) = error.extra or []
        assert isinstance(wrong, dict), PROBLEMS
        assert wrong["key"] == "limit", PROBLEMS
        assert wrong["message"], PROBLEMS


def test_a_render_plugin_may_add_routes_beside_its_page() -> None:
    class Page(OpenAPIRenderPlugin):
        def __init__(self) -> None:
            super().__init__(path="/")

        def render(self, *_: object, **__: object) -> bytes:
            return b"<html>"

        def receive_router(self, router: Router) -> None:
            @get("/script.js", sync_to_thread=False)
            def script() -> Response[bytes]:
                return Response(b"script", media_type="text/javascript")

            router.register(script)

    own = Router("/docs", route_handlers=[], response_headers={"X-Own": "1"})
    config = OpenAPIConfig(
        title="t", version="1", openapi_router=own, render_plugins=[Page()], path="/docs"
    )
    app = app_of(read, openapi_config=config)
    for path, expected in (("/docs", b"<html>"), ("/docs/script.js", b"script")):
        status, headers, body = asked(app, "GET", path)
        assert (status, headers[b"x-own"], body) == (200, b"1", expected), DOCS
    status, _, body = asked(app, "GET", "/docs/openapi.json")
    assert status == 200, DOCS
    assert b'"/read"' in body, DOCS
