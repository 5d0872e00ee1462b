"""Measure what each part of a read costs, in one process without network or Cassandra.

Everything of the driver runs but its sockets: a node in this process answers at once (`node`).
"""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from unittest import mock
from uuid import UUID

from loadtest.bench import node, variants
from loadtest.bench.in_process import application, http, least
from player_sessions.rules.sessions import MAX_LIMIT, EndRow, Page, StartRow, Walk
from player_sessions.settings import load
from player_sessions.store import store
from player_sessions.store.reads import EXTRA_ENDS
from player_sessions.web import app as api
from player_sessions.web.context import Context
from player_sessions.web.documents import player_sessions
from player_sessions.web.middleware import Middleware

_PLAYER = UUID("0a2d12a1a7e145de8bae44c0c6e06629")
_REQUEST = f"GET /v1/players/{_PLAYER.hex}/sessions HTTP/1.1\r\nhost: bench\r\n\r\n".encode()


async def measure(sessions: int, repeats: int) -> list[tuple[str, float]]:
    """Return what was measured and its microseconds per read of a player with so many sessions."""
    settings, loop = load({}), asyncio.get_running_loop()
    connected = node.connected(settings, sessions, loop)
    connector = SimpleNamespace(reason=None, ready=lambda: connected)
    with mock.patch.object(store, "Connector", return_value=connector):
        service = Context(settings, store.Store(settings))
    app, requests = api.create_app(service), [_REQUEST]
    page = await service.store.read(_PLAYER, MAX_LIMIT, None)
    assert len(page.sessions) == min(sessions, MAX_LIMIT)

    async def read_store(_: int) -> Page:
        return await service.store.read(_PLAYER, MAX_LIMIT, None)

    async def query(_: int) -> None:
        queries, fetch = connected.player_queries, connected.client.fetch
        ends = await fetch(queries.first_ends(_PLAYER.bytes, 0, MAX_LIMIT + EXTRA_ENDS), 10)
        await fetch(queries.starts(_PLAYER.bytes, [session for _, session in ends]), 10)

    ends, starts = _rows(page)

    async def pair(_: int) -> None:
        walk = _walk()
        walk.unmet(ends)
        walk.add(ends, starts, ())

    async def document(_: int) -> None:
        player_sessions(_PLAYER.hex, page)

    through_litestar = Middleware(api.build(service), {}, lambda *_: None, service)

    return [
        ("two queries: bound, sent, and their frames decoded", await least(query, repeats)),
        ("pairing", await least(pair, repeats)),
        ("the store: queries, pairing, metrics", await least(read_store, repeats)),
        ("the document", await least(document, repeats)),
        ("the service: the store and the document behind the middleware",
         await application(app, requests, repeats)),
        ("the same through Litestar's router instead",
         await application(through_litestar, requests, repeats)),
        ("bare ASGI, with HTTP", await http(service, variants.asgi(service), requests, repeats)),
        ("the service, with HTTP", await http(service, app, requests, repeats)),
    ]  # fmt: skip


def _walk() -> Walk:
    return Walk(MAX_LIMIT, 0, None)


def _rows(page: Page) -> tuple[list[EndRow], list[StartRow]]:
    ends = [(each.ended_at, each.session_id) for each in page.sessions]
    return ends, [(each.session_id, each.started_at, each.country) for each in page.sessions]
