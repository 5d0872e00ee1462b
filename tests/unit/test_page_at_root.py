"""`GET /` answers a browser with the page, at any state of the store, and others as before."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from player_sessions.rules.reasons import TOO_MANY_READS
from player_sessions.settings import Settings
from player_sessions.store.store import Store
from player_sessions.telemetry import metrics
from player_sessions.web.access import SCOPES, Keys, new_key
from player_sessions.web.app import create_app
from player_sessions.web.context import Context

HTML = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
BODY = b'{"player_id": "0a2d12a1a7e145de8bae44c0c6e06629"}'


def asked(
    path: str = "/",
    headers: dict[str, str] = HTML,
    body: bytes = b"",
    *,
    port: int = 8080,
    keys: Keys | None = None,
    prepare: Callable[[Context], object] = lambda _: None,
    **settings: Any,
) -> httpx.Response:
    """Return the answer of a service that is not connected to Cassandra."""

    async def ask() -> httpx.Response:
        given = Settings(**settings)
        context = Context(given, Store(given), keys)
        prepare(context)
        app: Any = create_app(context)

        async def with_state(scope: Any, receive: Any, send: Any) -> None:
            await app(scope | {"state": {}}, receive, send)

        transport = httpx.ASGITransport(with_state)
        async with httpx.AsyncClient(transport=transport, base_url=f"http://a:{port}") as client:
            return await client.request("GET", path, headers=headers, content=body or None)

    return asyncio.run(ask())


def test_a_browser_gets_the_page_without_a_key_and_without_a_store(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(new_key("test", SCOPES)[1])
    answer = asked(keys=Keys(str(tmp_path / "keys")))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["vary"] == "Accept"
    assert answer.headers["cache-control"] == "no-cache"
    assert 'data-keys="on"' in answer.text


def test_the_page_knows_the_settings_that_it_needs() -> None:
    assert 'data-country-hours="48" data-keys="off"' in asked(country_hours=48).text


@pytest.mark.parametrize("path", ["/", "//", "///"])
def test_the_page_is_there_where_the_original_contract_is(path: str) -> None:
    assert asked(path).text.startswith("<!DOCTYPE html>")


JSON = {"Content-Type": "application/json", "X-Request-Id": "the-same"}


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (JSON, b""),
        (JSON | {"Accept": "application/json"}, b""),
        (JSON, BODY),
        (JSON | HTML, BODY),
    ],
)
def test_other_clients_get_what_they_get_without_the_page(
    headers: dict[str, str], body: bytes
) -> None:
    on, off = (asked("/", headers, body, docs=docs) for docs in (True, False))
    assert on.headers["content-type"] == "application/problem+json"  # there is no store
    assert (on.status_code, on.content, on.headers) == (off.status_code, off.content, off.headers)


def test_the_setting_switches_the_page_and_its_files_off() -> None:
    assert asked(docs=False).headers["content-type"] == "application/problem+json"
    for name in ("page.js", "uPlot.iife.min.js"):
        assert asked(f"/page/{name}").status_code == 200
        assert asked(f"/page/{name}", docs=False).status_code == 404


@pytest.mark.parametrize("path", ["/", "/page/page.js"])
def test_the_page_is_not_on_the_operations_port(path: str) -> None:
    def apart(context: Context) -> None:
        context.operations_port = 9090

    assert asked(path, prepare=apart).status_code == 200
    answer = asked(path, port=9090, prepare=apart)
    assert (answer.status_code, answer.json()["detail"]) == (404, "not on this port")


def test_the_page_is_answered_when_there_is_no_room_for_reads() -> None:
    def fill(context: Context) -> None:
        context.store.surplus = lambda operation: (  # type: ignore[method-assign]
            TOO_MANY_READS if operation == "read" else None
        )

    assert asked("/", JSON, BODY, prepare=fill).status_code == 503
    assert asked(prepare=fill).status_code == 200


def test_the_page_counts_as_other_in_the_metrics() -> None:
    def counted() -> float:
        (metric,) = metrics.REQUESTS.collect()
        wanted = {"route": "other", "status": "200"}
        return sum(s.value for s in metric.samples if s.labels == wanted and "total" in s.name)

    before = counted()
    asked()
    assert counted() == before + 1


def test_the_page_has_no_script_or_style_of_its_own_and_names_no_other_host() -> None:
    page = asked().text
    assert page.count("<script") == page.count('<script src="page/')
    assert "<style" not in page
    assert " style=" not in page
    assert "://" not in page
    assert not re.search(r"\son\w+=", page)
