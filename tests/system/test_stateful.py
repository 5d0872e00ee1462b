"""Any history over HTTP against the oracle: both contracts, cursors, keys, gzip, all spellings."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine

from dev.cluster import Cluster
from player_sessions.events import Event, from_ms
from player_sessions.keys import new_key
from player_sessions.sessions import Session
from tests.oracle import AGES, YEAR_MS, Oracle
from tests.support import Server, now_ms, variables

KEYS = {scope: new_key(scope, [scope]) for scope in ("ingest", "read")}
DENIED = {"ingest": {"read": 403, "": 401}, "read": {"ingest": 403, "": 401}}  # wanted -> given
ZONES = (None, 0, 60, -330)
# What makes an event wrong, and the reason it must be given.
FAULTS: dict[str, dict[str, Any]] = {
    "invalid-player-id": {"player_id": "x"},
    "invalid-session-id": {"session_id": 7},
    "invalid-event": {"event": "begin"},
    "invalid-timestamp": {"ts": "yesterday"},
    "invalid-country": {"country": "Finland"},
    "timestamp-in-future": {"ts": "2999-01-01T00:00:00Z"},
}


def spelt(moment: datetime, zone: int | None) -> str:
    """RFC 3339 in a zone so many minutes from UTC, or as UTC without an offset."""
    if zone is None:
        return moment.replace(tzinfo=None).isoformat()
    return moment.astimezone(timezone(timedelta(minutes=zone))).isoformat()


class Api(RuleBasedStateMachine):
    service: Server

    def __init__(self) -> None:
        super().__init__()
        self.now = now_ms() // 1000 * 1000
        self.players = [uuid4(), uuid4()]
        self.ids = [uuid4() for _ in range(7)]
        self.oracle = Oracle()
        self.sent: list[Event] = []

    def call(self, method: str, path: str, key: str, body: bytes = b"", **headers: str) -> Any:
        if key:
            headers["Authorization"] = f"Bearer {KEYS[key][0]}"
        headers["Content-Type"] = "application/json"
        url = self.service.url + path
        answer: httpx.Response = self.service.http.request(
            method, url, headers=headers, content=body
        )
        if answer.status_code != 200:
            assert answer.headers["Content-Type"] == "application/problem+json"
            assert answer.json()["status"] == answer.status_code
        return answer

    def post(self, rows: list[dict[str, Any]], how: Any, key: str = "ingest") -> httpx.Response:
        """By either contract, packed or not."""
        original, packed = how
        body = json.dumps({"rows" if original else "events": rows}).encode()
        headers = {"Content-Encoding": "gzip"} if packed else {}
        path = "/" if original else "/v1/events"
        answer: httpx.Response = self.call(
            "POST", path, key, gzip.compress(body) if packed else body, **headers
        )
        return answer

    @staticmethod
    def row(event: Event, zone: int | None, *, dashes: bool) -> dict[str, Any]:
        return {
            "player_id": str(event.player_id) if dashes else event.player_id.hex,
            "event": event.event,
            "session_id": str(event.session_id),
            "ts": spelt(event.ts, zone),
            "unknown": "ignored",
            **({"country": event.country} if event.country else {}),
        }

    def drawn(self, data: Any) -> Event:
        kind = data.draw(st.sampled_from(["start", "end"]))
        country = data.draw(st.sampled_from(["FI", "SE", "UK"] + [None] * (kind == "end")))
        return Event(
            data.draw(st.sampled_from(self.players)),
            data.draw(st.sampled_from(self.ids)),
            kind,
            from_ms(self.now - data.draw(st.sampled_from(AGES))),
            country,
        )

    def send(self, events: list[Event], data: Any, how: Any) -> None:
        zones, dashes = st.sampled_from(ZONES), st.booleans()
        rows = [self.row(e, data.draw(zones), dashes=data.draw(dashes)) for e in events]
        now = now_ms()
        answer = self.post(rows, how)
        assert answer.status_code == 200, answer.text
        old = sum(event.at_ms <= now - YEAR_MS for event in events)
        if how[0]:
            assert answer.text == "POST success"
        else:
            assert answer.json() == {"accepted": len(events) - old, "discarded": old}
        for event in events:
            self.oracle.add(event, now)
        self.sent += events

    how = st.tuples(st.booleans(), st.booleans())

    @rule(data=st.data(), count=st.integers(1, 10), how=how)
    def new_events(self, data: Any, count: int, how: Any) -> None:
        self.send([self.drawn(data) for _ in range(count)], data, how)

    @rule(data=st.data(), how=how)
    @precondition(lambda self: self.sent)
    def some_again_in_any_order(self, data: Any, how: Any) -> None:
        self.send(
            data.draw(st.lists(st.sampled_from(self.sent), min_size=1, max_size=10)), data, how
        )

    @rule(data=st.data(), how=how, reason=st.sampled_from(sorted(FAULTS)), at=st.integers(0, 2))
    def a_batch_with_one_wrong_event(self, data: Any, how: Any, reason: str, at: int) -> None:
        rows = [self.row(self.drawn(data), 0, dashes=False) for _ in range(3)]
        rows[at] |= FAULTS[reason]
        answer = self.post(rows, how)
        assert answer.status_code == 422
        (error,) = answer.json()["errors"]
        assert (error["index"], error["reason"]) == (at, reason)

    @rule(data=st.data(), how=how, key=st.sampled_from(["", "read"]))
    def without_the_right_key_nothing_is_stored(self, data: Any, how: Any, key: str) -> None:
        answer = self.post([self.row(self.drawn(data), 0, dashes=False)], how, key)
        assert answer.status_code == DENIED["ingest"][key]

    @rule(player=st.sampled_from([0, 1]), key=st.sampled_from(["", "ingest"]))
    def without_the_right_key_nothing_is_read(self, player: int, key: str) -> None:
        for answer in (self.read(player, key=key), self.read_original(player, key=key)):
            assert answer.status_code == DENIED["read"][key]

    def read(self, player: int, query: str = "", key: str = "read") -> Any:
        return self.call("GET", f"/v1/players/{self.players[player].hex}/sessions{query}", key)

    def read_original(self, player: int, key: str = "read") -> Any:
        return self.call(
            "GET", "/", key, b'{"player_id": "%s"}' % self.players[player].hex.encode()
        )

    @rule(player=st.sampled_from([0, 1]), limit=st.integers(1, 20))
    def page_through(self, player: int, limit: int) -> None:
        listed: list[Session] = []
        query = f"?limit={limit}"
        while True:
            page = self.read(player, query).json()
            assert len(page["sessions"]) <= limit
            listed += shown(page)
            if page["next_cursor"] is None:
                break
            query = f"?limit={limit}&cursor={page['next_cursor']}"
        assert listed == self.oracle.sessions(self.players[player])

    @rule(player=st.sampled_from([0, 1]), cursor=st.text(max_size=40))
    def a_cursor_that_is_none(self, player: int, cursor: str) -> None:
        parameters = httpx.QueryParams({"cursor": cursor})
        assert self.read(player, f"?{parameters}").status_code == 400

    @invariant()
    def both_contracts_show_the_newest_twenty(self) -> None:
        for player, player_id in enumerate(self.players):
            newest = self.oracle.sessions(player_id)[:20]
            assert shown(self.read(player).json()) == newest
            assert shown(self.read_original(player).json()) == newest


def shown(page: dict[str, Any]) -> list[Session]:
    found = []
    for each in page["sessions"]:
        began, ended = (ms(each[name]) for name in ("started_at", "ended_at"))
        assert each["duration_seconds"] == max(0, ended - began) / 1000
        found.append(Session(UUID(each["session_id"]), each["country"], began, ended))
    return found


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


@pytest.fixture(scope="module")
def keyed(
    cassandra: Cluster, keyspace: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    file: Path = tmp_path_factory.mktemp("keys") / "keys"
    file.write_text("".join(f"{line}\n" for _, line in KEYS.values()))
    with Server(variables(cassandra, keyspace, KEYS_FILE=str(file))) as service:
        yield service.ready()


def test_any_history_over_http_reads_as_if_it_had_come_once_and_in_order(keyed: Server) -> None:
    Api.service = keyed
    run_machine(
        Api,
        settings=settings(
            max_examples=15,
            stateful_step_count=12,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
