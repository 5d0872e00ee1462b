"""CORS: what the answers say to browsers, for every kind of answer and origin."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from player_sessions.rules import reasons
from player_sessions.settings import Settings
from player_sessions.web.access import SCOPES, Keys, new_key
from player_sessions.web.app import create_app
from player_sessions.web.context import Context

PAGE = "https://play.example.com"
OTHER = "https://other.example.com"
PLAYER = "0a2d12a1a7e145de8bae44c0c6e06629"
SESSIONS = f"/v1/players/{PLAYER}/sessions"
OPERATIONS_PORT = 9090
ASKS = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
READABLE = "Preference-Applied, Retry-After, X-Request-Id, traceparent"


@pytest.fixture
def context(request: pytest.FixtureRequest) -> Context:
    """A context that allows the test's parameter as origins, by default PAGE alone."""
    origins = getattr(request, "param", (PAGE,))
    store: Any = SimpleNamespace(surplus=lambda _: None, reason=None)
    return Context(Settings(cors_origins=origins), store)


def asked(
    context: Context,
    method: str,
    path: str,
    origin: str | None = PAGE,
    port: int = 8080,
    **more: Any,
) -> httpx.Response:
    """Return the application's answer to this request on `port`."""
    app: Any = create_app(context)

    async def with_state(scope: Any, receive: Any, send: Any) -> None:
        await app(scope | {"state": {}}, receive, send)

    async def run() -> httpx.Response:
        headers = more.pop("headers", {}) | ({} if origin is None else {"Origin": origin})
        transport = httpx.ASGITransport(with_state)
        url = f"http://service:{port}"
        async with httpx.AsyncClient(transport=transport, base_url=url) as client:
            return await client.request(method, path, headers=headers, **more)

    return asyncio.run(run())


def of_cors(answer: httpx.Response) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if "access-control" in name}


def test_a_preflight_names_origin_methods_headers_and_how_long_it_holds(context: Context) -> None:
    answer = asked(context, "OPTIONS", "/v1/events", headers=ASKS)
    assert (answer.status_code, answer.content) == (204, b"")
    found = of_cors(answer)
    assert {"GET", "POST"} <= set(found.pop("access-control-allow-methods").split(", "))
    assert found == {
        "access-control-allow-origin": PAGE,
        "access-control-allow-headers": "Authorization, Content-Encoding, Content-Type, Prefer,"
        " X-Request-Id, traceparent",
        "access-control-expose-headers": READABLE,
        "access-control-max-age": "7200",
    }
    assert answer.headers["vary"] == "Origin"


@pytest.mark.parametrize("path", ["/", "/v1/events", SESSIONS, "/health/live", "/docs"])
def test_every_path_answers_a_preflight(context: Context, path: str) -> None:
    answer = asked(context, "OPTIONS", path, headers=ASKS)
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert answer.headers["access-control-max-age"]
    named = set(answer.headers["allow"].split(", ")) - {"HEAD", "OPTIONS"}
    assert named <= set(answer.headers["access-control-allow-methods"].split(", "))


def test_a_preflight_needs_no_key(context: Context, tmp_path: Any) -> None:
    (tmp_path / "keys").write_text(new_key("game", SCOPES)[1])
    context.keys = Keys(str(tmp_path / "keys"))
    assert asked(context, "OPTIONS", "/v1/events", headers=ASKS).status_code == 204
    refused = asked(context, "POST", "/v1/events", json={})
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == PAGE


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/health/live", None, 200),
        ("POST", "/v1/events", {"events": []}, 422),
        ("POST", "/", "no object", 422),
        ("GET", SESSIONS + "?limit=0", None, 400),
        ("GET", "/nowhere", None, 404),
        ("PUT", "/v1/events", None, 405),
        ("GET", SESSIONS, None, 500),  # the double of the store cannot read
    ],
)
def test_a_page_may_read_every_answer_errors_included(
    context: Context, method: str, path: str, body: Any, status: int
) -> None:
    answer = asked(context, method, path, json=body)
    assert answer.status_code == status
    assert of_cors(answer) == {
        "access-control-allow-origin": PAGE,
        "access-control-expose-headers": READABLE,
    }
    assert answer.headers["vary"] == "Origin"


@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/events"), ("GET", SESSIONS)])
def test_a_page_may_read_that_its_request_was_shed(
    context: Context, method: str, path: str
) -> None:
    context.store.surplus = lambda _: reasons.OVERLOADED  # type: ignore[method-assign,assignment]
    for _ in range(2):  # the ready answer stays as it was
        answer = asked(context, method, path)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert answer.headers.get_list("access-control-allow-origin") == [PAGE]


@pytest.mark.parametrize("origin", [OTHER, None, "null", PAGE + ":8443", "http" + PAGE[5:]])
@pytest.mark.parametrize("headers", [{}, ASKS], ids=["answer", "preflight"])
def test_another_origin_learns_nothing_and_caches_know(
    context: Context, origin: str | None, headers: dict[str, str]
) -> None:
    for method, path in (("OPTIONS", "/v1/events"), ("GET", "/health/live")):
        answer = asked(context, method, path, origin, headers=headers)
        assert answer.is_success
        assert of_cors(answer) == {}
        assert answer.headers["vary"] == "Origin"


@pytest.mark.parametrize("context", [(PAGE, OTHER)], indirect=True)
def test_each_of_several_origins_is_answered_with_itself(context: Context) -> None:
    for origin in (PAGE, OTHER):
        answer = asked(context, "GET", "/health/live", origin)
        assert answer.headers["access-control-allow-origin"] == origin


@pytest.mark.parametrize("context", [("*",)], indirect=True)
@pytest.mark.parametrize("origin", [PAGE, OTHER, "null", None])
def test_an_asterisk_allows_every_origin(context: Context, origin: str | None) -> None:
    answer = asked(context, "GET", "/health/live", origin)
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "vary" not in answer.headers
    preflight = asked(context, "OPTIONS", "/v1/events", origin, headers=ASKS)
    assert ("access-control-max-age" in preflight.headers) == (origin is not None)


@pytest.mark.parametrize("headers", [{}, {"Access-Control-Request-Method": "POST"}])
@pytest.mark.parametrize("context", [(), (PAGE,)], indirect=True, ids=["off", "on"])
def test_options_without_an_origin_stays_as_it_is(
    context: Context, headers: dict[str, str]
) -> None:
    answer = asked(context, "OPTIONS", "/v1/events", None, headers=headers)
    assert (answer.status_code, answer.headers["allow"]) == (204, "OPTIONS, POST")
    assert of_cors(answer) == {}


@pytest.mark.parametrize("context", [()], indirect=True)
def test_without_the_setting_no_answer_has_headers_of_cors(context: Context) -> None:
    for method, path in (("OPTIONS", "/v1/events"), ("POST", "/v1/events"), ("GET", "/nowhere")):
        answer = asked(context, method, path, headers=ASKS)
        assert of_cors(answer) == {}
        assert "vary" not in answer.headers


@pytest.mark.parametrize("context", [(PAGE,), ("*",)], indirect=True)
def test_the_operations_port_knows_no_cors(context: Context) -> None:
    context.operations_port = OPERATIONS_PORT
    for method, path in (("GET", "/health/live"), ("GET", "/metrics"), ("OPTIONS", "/metrics")):
        answer = asked(context, method, path, port=OPERATIONS_PORT, headers=ASKS)
        assert answer.is_success
        assert of_cors(answer) == {}
    assert of_cors(asked(context, "GET", "/metrics")) != {}  # 404 on the HTTP port
