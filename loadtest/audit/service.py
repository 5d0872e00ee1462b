"""Store batches and list whole players through the service, for the audit; retry a 503."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlsplit
from uuid import UUID

import gevent
import msgspec
from geventhttpclient import HTTPClient

from loadtest import target
from loadtest.audit.compare import Listed, Presence, State
from loadtest.play import Event, player_id

_TRIES = 8


class NoAnswer(Exception):
    """The service did not do what the audit needs; the message says what it answered."""


class _Page(msgspec.Struct):
    sessions: list[Listed]
    next_cursor: str | None


_decode = msgspec.json.Decoder(_Page).decode
_decode_state = msgspec.json.Decoder(State).decode
_decode_presence = msgspec.json.Decoder(Presence).decode


class Service:
    def __init__(self, options: Any) -> None:
        url = target.url(options.host)
        self._prefix = urlsplit(url).path
        self._headers = {**target.headers(options), "Content-Type": "application/json"}
        self._client = HTTPClient.from_url(
            url,
            concurrency=options.in_flight,
            connection_timeout=options.timeout,
            network_timeout=options.timeout,
            ssl_context_factory=lambda: target.tls(options),
            insecure=options.insecure,
        )

    def post(self, events: list[Event]) -> list[Event]:
        """Store these events and return them."""
        rows = ",".join(event.json() for event in events)
        self._ask("POST", "/v1/events", f'{{"events":[{rows}]}}')
        return events

    def sessions(self, player: UUID) -> list[Listed]:
        """Yield the sessions of all pages, one after another."""
        listed: list[Listed] = []
        path = query = f"{_path(player)}/sessions"
        cursors: set[str] = set()
        while True:
            page = _decode(self._ask("GET", query))
            listed += page.sessions
            cursor = page.next_cursor
            if cursor is None:
                return listed
            if cursor in cursors:
                raise NoAnswer(f"the cursors of player {player_id(player)} go round in circles")
            cursors.add(cursor)
            query = f"{path}?cursor={cursor}"

    def session(self, player: UUID, session: UUID) -> State | None:
        """Return one session, or None if the service finds none of its events."""
        found = self._ask("GET", f"{_path(player)}/sessions/{session}", absent=404)
        return _decode_state(found) if found else None

    def presence(self, player: UUID) -> Presence:
        return _decode_presence(self._ask("GET", _path(player)))

    def _ask(self, method: str, path: str, body: str = "", absent: int = 0) -> bytes:
        """Return the body of a 200, or b"" for the status `absent`."""
        said: Any = None
        for attempt in range(_TRIES):
            if attempt:
                gevent.sleep(min(5.0, 0.25 * 2**attempt))
            try:
                answer = self._client.request(
                    method, self._prefix + path, body=body, headers=self._headers
                )
                content = bytes(answer.read())
            except (OSError, ValueError) as error:  # the library raises both for cut connections
                said = error
                continue
            if answer.status_code == 200:
                return content
            if answer.status_code == absent:
                return b""
            said = f"{answer.status_code} {content.decode(errors='replace')[:500]}"
            if answer.status_code not in (429, 503):
                break
        raise NoAnswer(f"{method} {path}: {said}")


def _path(player: UUID) -> str:
    return f"/v1/players/{quote(player_id(player), safe='')}"
