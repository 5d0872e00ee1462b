"""Pages of another origin call the service in a real browser, as the setting for CORS allows."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from selenium.webdriver import Chrome

from dev.cluster import Cluster
from dev.game_events import end, now_ms, start
from dev.service import Server, new_key, variables, wait_for

API_PAGE = Path(__file__).parent.parent.parent / "docs" / "api.md"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
FETCH = """
const [url, options, done] = arguments;
fetch(url, options).then(
  async (answer) => done({
    status: answer.status, text: await answer.text(), headers: Object.fromEntries(answer.headers),
  }),
  (error) => done({failed: error.name}),
);
"""
FETCH_GZIP = """
const [url, options, done] = arguments;
const packed = new Blob([options.body]).stream().pipeThrough(new CompressionStream("gzip"));
new Response(packed).arrayBuffer()
  .then((body) => fetch(url, {...options, body}))
  .then((answer) => done({status: answer.status}), (error) => done({failed: error.name}));
"""


class Page(BaseHTTPRequestHandler):
    """Answers every GET with the script in `script`."""

    script = ""

    def do_GET(self) -> None:
        body = f'<!DOCTYPE html><link rel="icon" href="data:,"><script>{self.script}</script>'
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


@contextmanager
def pages() -> Iterator[str]:
    """Serve pages; yield their origin."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as site:
        threading.Thread(target=site.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{site.server_port}"
        site.shutdown()


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    """The origin that may call."""
    with pages() as served:
        yield served


@pytest.fixture(scope="module")
def key_and_line() -> tuple[str, str]:
    return new_key("game", ("ingest", "read"))


@pytest.fixture(scope="module")
def keyed(
    cassandra: Cluster,
    keyspace: str,
    origin: str,
    key_and_line: tuple[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    """Share a service that asks for keys and lets pages of `origin` call."""
    file = tmp_path_factory.mktemp("keys") / "keys"
    file.write_text(key_and_line[1])
    changes = {"KEYS_FILE": str(file), "CORS_ORIGINS": f"https://play.example.com,{origin}"}
    with Server(variables(cassandra, keyspace, **changes)) as server:
        server.http.headers["Authorization"] = f"Bearer {key_and_line[0]}"
        yield server.ready()


def fetched(browser: Chrome, script: str, url: str, **options: Any) -> dict[str, Any]:
    """Return what `fetch` gives to the page that the browser shows."""
    found: dict[str, Any] = browser.execute_async_script(script, url, options)
    return found


def batch() -> str:
    """Return a body with the start and the end of one session."""
    player, session, now = uuid4(), uuid4(), now_ms()
    events = [start(player, session, now - 1000), end(player, session, now)]
    return json.dumps({"events": events})


def headers(key: str, **more: str) -> dict[str, str]:
    return {"Content-Type": "application/json", "Authorization": f"Bearer {key}", **more}


def test_a_page_of_an_allowed_origin_sends_reads_and_sees_every_error(
    browser: Chrome, keyed: Server, origin: str, key_and_line: tuple[str, str]
) -> None:
    browser.get(origin)
    url, key = f"{keyed.url}/v1/events", key_and_line[0]
    ids = {"X-Request-Id": "level-3", "traceparent": TRACE}
    given = {"method": "POST", "body": batch(), "headers": headers(key, **ids)}
    stored = fetched(browser, FETCH, url, **given)
    assert (stored["status"], stored["text"]) == (200, '{"accepted":2,"discarded":0}')
    packed = {**given, "headers": headers(key, **{"Content-Encoding": "gzip"})}
    assert fetched(browser, FETCH_GZIP, url, **packed) == {"status": 200}
    sessions = f"{keyed.url}/v1/players/{uuid4().hex}/sessions"
    bearer = {"Authorization": f"Bearer {key}"}
    assert fetched(browser, FETCH, sessions, headers=bearer)["status"] == 200

    refused = fetched(browser, FETCH, url, **{**given, "body": '{"events":[]}'})
    assert refused["status"] == 422
    assert "batch-size" in refused["text"]
    assert refused["headers"]["x-request-id"] == "level-3"
    assert fetched(browser, FETCH, url, **{**given, "headers": {}})["status"] == 401
    assert fetched(browser, FETCH, url, method="PUT", headers=bearer)["failed"]  # not in Allow
    assert fetched(browser, FETCH, f"{keyed.url}/nowhere")["status"] == 404


def test_a_page_may_prefer_lenient_handling_and_see_that_it_was_applied(
    browser: Chrome, keyed: Server, origin: str, key_and_line: tuple[str, str]
) -> None:
    browser.get(origin)
    events = [*json.loads(batch())["events"], {}]
    given = {"method": "POST", "body": json.dumps({"events": events})}
    lenient = headers(key_and_line[0], Prefer="handling=lenient")
    answer = fetched(browser, FETCH, f"{keyed.url}/v1/events", **given, headers=lenient)
    assert answer["status"] == 200
    assert answer["headers"]["preference-applied"] == "handling=lenient"
    assert json.loads(answer["text"])["accepted"] == 2


def test_a_page_may_read_when_to_send_again(browser: Chrome, origin: str) -> None:
    """Nothing listens at Cassandra's port here, so the service sheds."""
    nowhere = {"PLAYER_SESSIONS_CASSANDRA_PORT": "1", "PLAYER_SESSIONS_HTTP_PORT": "0"}
    with Server({**nowhere, "PLAYER_SESSIONS_CORS_ORIGINS": "*"}) as server:
        browser.get(origin)
        given = {"method": "POST", "body": batch(), "headers": headers("any")}
        answer = fetched(browser, FETCH, f"{server.url}/v1/events", **given)
    assert answer["status"] == 503
    assert answer["headers"]["retry-after"] == "1"


def test_a_page_of_another_origin_may_neither_send_nor_read(
    browser: Chrome, keyed: Server, key_and_line: tuple[str, str]
) -> None:
    given = {"method": "POST", "body": batch(), "headers": headers(key_and_line[0])}
    with pages() as other:
        browser.get(other)
        assert fetched(browser, FETCH, f"{keyed.url}/v1/events", **given) == {"failed": "TypeError"}
        assert fetched(browser, FETCH, f"{keyed.url}/health/live") == {"failed": "TypeError"}


def test_the_example_of_the_docs_stores_the_end_of_a_page_that_closes(
    browser: Chrome, keyed: Server, origin: str, key_and_line: tuple[str, str]
) -> None:
    (example,) = re.findall(r"^```js\n(.*?)^```", API_PAGE.read_text(), re.MULTILINE | re.DOTALL)
    player = uuid4()
    for told, real in {
        "https://sessions.example.com": keyed.url,
        "ps_…": key_and_line[0],
        "0a2d12a1a7e145de8bae44c0c6e06629": player.hex,
    }.items():
        assert told in example
        example = example.replace(told, real)
    assert "keepalive: true" in example
    first = browser.current_window_handle
    browser.switch_to.new_window("tab")
    Page.script = example
    try:
        browser.get(origin)
    finally:
        Page.script = ""
    assert keyed.sessions(player) == []
    browser.close()
    browser.switch_to.window(first)
    (session,) = wait_for(lambda: keyed.sessions(player), what="the end is stored")
    assert session["country"] == "FI"
