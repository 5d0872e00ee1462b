"""OPTIONS names all methods of a path, whatever the order and the names of its handlers."""

from __future__ import annotations

import asyncio
from itertools import permutations
from typing import Any

import pytest
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler, get, post, put

from player_sessions.web.app import ROUTES, with_options


def allowed(handlers: list[HTTPRouteHandler], path: str) -> str:
    """Return the Allow header of an answer to OPTIONS."""
    app = Litestar(with_options(handlers), openapi_config=None, logging_config=None)
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope: Any = {
        "type": "http",
        "method": "OPTIONS",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [],
        "state": {},
    }
    asyncio.run(app(scope, receive, send))
    assert sent[0]["status"] == 204
    headers: dict[bytes, bytes] = dict(sent[0]["headers"])
    return headers[b"allow"].decode()


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/", "GET, HEAD, OPTIONS, POST"),
        ("/v1/events", "OPTIONS, POST"),
        ("/v1/players/x/sessions", "GET, HEAD, OPTIONS"),
        ("/v1/players/x", "DELETE, GET, HEAD, OPTIONS"),
        ("/metrics", "GET, HEAD, OPTIONS"),
    ],
)
def test_the_services_own_routes(path: str, methods: str, backwards: bool) -> None:
    assert allowed(ROUTES[::-1] if backwards else ROUTES, path) == methods


@pytest.mark.parametrize("names", list(permutations(["a_first", "m_middle", "z_last"])))
def test_handlers_of_any_name(names: tuple[str, ...]) -> None:
    handlers = []
    for decorator, name in zip((get, post, put), names, strict=True):

        async def handler() -> None:
            """Answer with nothing."""

        handler.__name__ = handler.__qualname__ = name
        handlers.append(decorator("/same", name=name)(handler))
    assert allowed(sorted(handlers, key=lambda h: str(h.name)), "/same") == (
        "GET, HEAD, OPTIONS, POST, PUT"
    )
