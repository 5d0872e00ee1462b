"""A read past Litestar's router is answered as one through it; only plain reads go past it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from loadtest.bench import node
from player_sessions.rules.players import player_uuid
from player_sessions.settings import Settings
from player_sessions.store.store import Store
from player_sessions.web.access import INGEST, READ, Keys, new_key
from player_sessions.web.app import build, create_app
from player_sessions.web.context import Context
from player_sessions.web.middleware import Middleware
from player_sessions.web.player_reads import plain_read

PLAYER = "0a2d12a1a7e145de8bae44c0c6e06629"
DASHED = "0A2d12a1-a7e1-45de-8bae-44c0c6e06629"
ONE = f"/v1/players/{PLAYER}"
PATH = f"{ONE}/sessions"
PLAIN = [
    (PATH, ""),
    (f"/v1/players/{DASHED}/sessions", ""),
    ("/v1/players/x/sessions", ""),
    ("/v1/players/../sessions", ""),
    (f"/v1/players/{PLAYER}0/sessions", ""),
    (f"/v1/players/{PLAYER[:30]}-----0/sessions", ""),
    (PATH, "limit=1"),
    (PATH, "limit=9"),
    (PATH, "limit=20"),
    (PATH, "cursor=x"),
    (PATH, "cursor=________________________________"),
    (PATH, "limit=3&cursor=x"),
    (ONE, ""),
    (ONE.upper().replace("/V1/PLAYERS", "/v1/players"), ""),
    ("/v1/players/x", ""),
    ("/v1/players/sessions", ""),
    (f"{PATH}/{PLAYER}", ""),
    (f"{PATH}/{DASHED}", ""),
    (f"/v1/players/x/sessions/{DASHED.upper()}", ""),
]
NOT_PLAIN = [
    (f"{ONE}/", ""),
    (ONE, "limit=5"),
    (ONE, "more=1"),
    ("/v1/players/null", ""),
    ("/v1/players/", ""),
    (f"{PATH}/{PLAYER}", "limit=5"),
    (f"{PATH}/{PLAYER}/", ""),
    (f"{PATH}/{PLAYER}/x", ""),
    (f"{PATH}/{PLAYER}0", ""),
    (f"{PATH}/{PLAYER[:31]}", ""),
    (f"{PATH}/{DASHED[:35]}", ""),
    (f"{PATH}/{PLAYER[:31]}g", ""),
    (f"{PATH}/{PLAYER[:31]}\n", ""),
    (f"/v1/players/null/sessions/{PLAYER}", ""),
    (f"/v1/players/x/{PLAYER}", ""),
    (f"{PATH}/", ""),
    (f"//v1/players/{PLAYER}/sessions", ""),
    ("/v1/players//sessions", ""),
    (f"/v1/players//sessions/{PLAYER}", ""),
    ("/v1/players/null/sessions", ""),
    (f"/v1/players/{PLAYER * 5}/sessions", ""),
    ("/v1/players/a%20b/sessions", ""),
    *(
        (PATH, query)
        for query in (
            "limit=0", "limit=21", "limit=-1", "limit=x", "limit=1.5", "limit=", "limit=05",
            "limit=9" * 40, "limit=5&limit=21", "limit=5&limit=6", "limit=5cursor=x", "limit",
            "limit=%35", "limit=5\n", "cursor=", "cursor=%00", "cursor=x&cursor=y",
            "cursor=x&limit=5", "LIMIT=5", "more=1", "limit=5&more=1", "&limit=5",
        )
    ),
]  # fmt: skip


def connected(sessions: int = 30) -> Store:
    settings, loop = Settings(), asyncio.get_running_loop()
    store = Store(settings)
    store._connector.connected = node.connected(settings, sessions, loop)
    store._connector.reason = None
    return store


async def answer_of(app: Any, path: str, query: str, key: str = "", **more: Any) -> Any:
    """Return status, headers and body of a GET."""
    got: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        got.append(message)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    headers = [(b"x-request-id", b"one"), (b"authorization", f"Bearer {key}".encode())]
    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1",
        "method": "GET", "scheme": "http", "path": path, "raw_path": path.encode(),
        "query_string": query.encode(), "root_path": "", "headers": headers,
        "server": ("127.0.0.1", 80), "client": ("127.0.0.1", 1), "state": {}, **more,
    }  # fmt: skip
    await asyncio.create_task(app(scope, receive, send))
    begin, body = got
    return begin["status"], sorted(begin["headers"]), body["body"]


def both(context: Context) -> tuple[Any, Any]:
    """Return the service's application, and the one in which Litestar routes everything."""
    return create_app(context), Middleware(build(context), {}, lambda *_: None, context)


@pytest.mark.parametrize(("path", "query"), PLAIN + NOT_PLAIN)
def test_every_read_is_answered_as_litestars_route_answers_it(path: str, query: str) -> None:
    async def run() -> None:
        context = Context(Settings(), connected())
        service, through_litestar = both(context)
        found = await answer_of(service, path, query)
        assert found == await answer_of(through_litestar, path, query)
        assert found[0] in (200, 400, 404)

    asyncio.run(run())


@pytest.mark.parametrize("path", [ONE, PATH, f"{PATH}/{PLAYER}"])
def test_a_player_without_sessions_is_answered_alike_too(path: str) -> None:
    async def run() -> None:
        context = Context(Settings(), connected(sessions=0))
        service, through_litestar = both(context)
        found = await answer_of(service, path, "")
        assert found == await answer_of(through_litestar, path, "")
        assert found[0] == (404 if PLAYER in path.removeprefix(ONE) else 200)

    asyncio.run(run())


def test_a_plain_read_does_not_pass_litestar_and_any_other_does() -> None:
    context: Any = SimpleNamespace(player_of=player_uuid)
    for path, query in PLAIN:
        assert plain_read(context, path, query.encode()) is not None
    for path, query in NOT_PLAIN:
        assert plain_read(context, path, query.encode()) is None


@pytest.mark.parametrize("scopes", [(READ,), (INGEST,), None])
def test_keys_and_ports_are_asked_for_as_on_litestars_route(
    tmp_path: Path, scopes: tuple[str, ...] | None
) -> None:
    known, line = new_key("test", scopes or (READ,))
    key = known if scopes else ""
    (tmp_path / "keys").write_text(line)

    async def run() -> None:
        context = Context(Settings(), connected(), Keys(str(tmp_path / "keys")))
        for port, operations_port in ((80, None), (80, 81), (81, 81)):
            context.operations_port = operations_port
            for path, query in (
                (PATH, ""), (PATH, "cursor=x"), (PATH, "limit=0"), (ONE, ""),
                (f"{PATH}/{PLAYER}", ""),
            ):  # fmt: skip
                service, through_litestar = both(context)
                server = {"server": ("127.0.0.1", port)}
                found = await answer_of(service, path, query, key, **server)
                assert found == await answer_of(through_litestar, path, query, key, **server)
                if port == 81:
                    assert found[0] == 404
                elif scopes != (READ,):
                    assert found[0] == (403 if scopes else 401)

    asyncio.run(run())


def test_a_store_that_is_away_is_a_503_on_both_ways() -> None:
    async def run() -> None:
        context = Context(Settings(), Store(Settings()))
        answers = [await answer_of(app, PATH, "") for app in both(context)]
        assert answers[0] == answers[1]
        assert answers[0][0] == 503
        assert (b"retry-after", b"1") in answers[0][1]

    asyncio.run(run())
