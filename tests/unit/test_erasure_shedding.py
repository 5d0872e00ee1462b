"""An erasure is shed and counted before it reaches the store."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import httpx

from player_sessions.rules.reasons import TOO_MANY_READS, Reason
from player_sessions.settings import Settings
from player_sessions.telemetry import metrics
from player_sessions.web.app import create_app
from player_sessions.web.context import Context

ROUTE = "DELETE /v1/players/{player_id}"


class Busy:
    """A double of a store that has too many reads under way."""

    reason = None

    def surplus(self, operation: str) -> Reason | None:
        return TOO_MANY_READS if operation == "read" else None


def test_an_erasure_is_shed_as_a_read_is_and_counted_under_its_route() -> None:
    store: Any = Busy()
    app: Any = create_app(Context(Settings(), store))

    async def with_state(scope: Any, receive: Any, send: Any) -> None:
        await app(scope | {"state": {}}, receive, send)

    async def asked() -> httpx.Response:
        transport = httpx.ASGITransport(with_state)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            return await client.delete(f"/v1/players/{uuid4().hex}")

    counter = metrics.REQUESTS.labels(ROUTE, "503")
    before = counter.value
    answer = asyncio.run(asked())
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert answer.json()["type"].endswith(":too-many-reads")
    assert counter.value == before + 1
