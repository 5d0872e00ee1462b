"""The service as the audit sees it: batches in, whole lists of sessions out, patient with 503."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import gevent
import msgspec
from geventhttpclient import HTTPClient

from loadtest import target
from loadtest.audit.compare import Listed
from loadtest.play import Event

_TRIES = 8


class NoAnswer(Exception):
    """The service did not do what the audit needs; the message says what it answered."""


class _Page(msgspec.Struct):
    sessions: list[Listed]
    next_cursor: str | None


_decode = msgspec.json.Decoder(_Page).decode


class Service:
    def __init__(self, options: Any) -> None:
        if not urlsplit(options.host).hostname:
            raise ValueError("say which service: --host http://127.0.0.1:8080")
        self._headers = {**target.headers(options), "Content-Type": "application/json"}
        self._client = HTTPClient.from_url(
            options.host,
            concurrency=options.in_flight,
            connection_timeout=options.timeout,
            network_timeout=options.timeout,
            ssl_context_factory=lambda: target.tls(options),
            insecure=options.insecure,
        )

    def post(self, events: list[Event]) -> list[Event]:
        """Store them all; returns them."""
        rows = ",".join(event.json() for event in events)
        self._ask("POST", "/v1/events", f'{{"events":[{rows}]}}')
        return events

    def sessions(self, player: UUID) -> list[Listed]:
        """All pages, one after another."""
        listed: list[Listed] = []
        path = query = f"/v1/players/{player.hex}/sessions"
        cursors: set[str] = set()
        while True:
            page = _decode(self._ask("GET", query))
            listed += page.sessions
            cursor = page.next_cursor
            if cursor is None:
                return listed
            if cursor in cursors:
                raise NoAnswer(f"the cursors of player {player.hex} go round in circles")
            cursors.add(cursor)
            query = f"{path}?cursor={cursor}"

    def _ask(self, method: str, path: str, body: str = "") -> bytes:
        said: Any = None
        for attempt in range(_TRIES):
            if attempt:
                gevent.sleep(min(5.0, 0.25 * 2**attempt))
            try:
                answer = self._client.request(method, path, body=body, headers=self._headers)
                content = bytes(answer.read())
            except (OSError, ValueError) as error:  # the library raises both for cut connections
                said = error
                continue
            if answer.status_code == 200:
                return content
            said = f"{answer.status_code} {content.decode(errors='replace')[:500]}"
            if answer.status_code not in (429, 503):
                break
        raise NoAnswer(f"{method} {path}: {said}")
