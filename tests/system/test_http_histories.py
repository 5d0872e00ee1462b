"""Compare any history over HTTP with the oracle: both contracts, cursors, keys, gzip, spellings."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote
from uuid import UUID, uuid4

import httpx
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine

from dev.cluster import Cluster
from dev.game_events import DAY_MS, now_ms
from dev.service import Server, new_key, variables, wait_for
from tests.oracle import AGES, YEAR_MS, Oracle, Session, SessionState

# For each needed scope: the status of the answer to a key of another scope, or to no key.
DENIED = {
    "ingest": {"read": 403, "": 401},
    "read": {"ingest": 403, "": 401},
    "erase": {"ingest": 403, "read": 403, "": 401},
}
HOUR_MS = 3_600_000
ZONES = (None, 0, 60, -330)
# What makes an event wrong, and the reason that must be answered.
FAULTS: dict[str, dict[str, Any]] = {
    "invalid-player-id": {"player_id": "x" * 129},
    "placeholder-player-id": {"player_id": "undefined"},
    "invalid-session-id": {"session_id": 7},
    "invalid-event": {"event": "begin"},
    "invalid-timestamp": {"ts": "yesterday"},
    "invalid-country": {"country": "Finland"},
    "timestamp-in-future": {"ts": "2999-01-01T00:00:00Z"},
}


class Event(NamedTuple):
    """A randomly drawn event; `row` has it in the form of JSON."""

    player_id: UUID
    session_id: UUID
    kind: str
    at_ms: int
    country: str | None


def spelt(at_ms: int, zone: int | None) -> str:
    """Write a time as RFC 3339, in a zone so many minutes from UTC or without an offset."""
    moment = datetime.fromtimestamp(at_ms / 1000, UTC)
    if zone is None:
        return moment.replace(tzinfo=None).isoformat()
    return moment.astimezone(timezone(timedelta(minutes=zone))).isoformat()


class Api(RuleBasedStateMachine):
    service: Server
    keys: dict[str, str]  # one key per scope

    def __init__(self) -> None:
        super().__init__()
        self.now = now_ms() // 1000 * 1000
        self.players = [uuid4(), uuid4()]
        self.named = self.players[1]  # the game has an id of its own for this player
        self.ids = [uuid4() for _ in range(7)]
        self.oracle = Oracle()
        self.sent: list[Event] = []
        self.erased: list[UUID] = []
        # By hour and country: the sessions that began, and when they were acknowledged.
        self.began: dict[tuple[int, str], dict[tuple[UUID, UUID], int]] = {}
        self.counted: dict[tuple[int, str], int] = {}

    def call(self, method: str, path: str, key: str, body: bytes = b"", **headers: str) -> Any:
        if key:
            headers["Authorization"] = f"Bearer {self.keys[key]}"
        headers["Content-Type"] = "application/json"
        url = self.service.url + path
        answer: httpx.Response = self.service.http.request(
            method, url, headers=headers, content=body
        )
        if answer.status_code != 200:
            assert answer.headers["Content-Type"] == "application/problem+json"
            assert answer.json()["status"] == answer.status_code
        return answer

    def post(
        self, rows: list[dict[str, Any]], how: Any, key: str = "ingest", **headers: str
    ) -> httpx.Response:
        """Post a batch by either contract, with or without gzip."""
        original, packed = how
        body = json.dumps({"rows" if original else "events": rows}).encode()
        headers |= {"Content-Encoding": "gzip"} if packed else {}
        path = "/" if original else "/v1/events"
        answer: httpx.Response = self.call(
            "POST", path, key, gzip.compress(body) if packed else body, **headers
        )
        return answer

    def spelt_id(self, player: UUID, *, dashes: bool = False) -> str:
        if player == self.named:
            return f"Jörg/{player} 100%"
        return str(player) if dashes else player.hex

    def path(self, player: UUID) -> str:
        return f"/v1/players/{quote(self.spelt_id(player), safe='')}"

    def row(self, event: Event, zone: int | None, *, dashes: bool) -> dict[str, Any]:
        return {
            "player_id": self.spelt_id(event.player_id, dashes=dashes),
            "event": event.kind,
            "session_id": str(event.session_id),
            "ts": spelt(event.at_ms, zone),
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
            self.now - data.draw(st.sampled_from(AGES)),
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
        self.took(events, now)

    def took(self, events: list[Event], now: int) -> None:
        """Take note of events that were sent at `now` and acknowledged."""
        for event in events:
            self.oracle.add(event, now)
            if event.kind == "start" and event.country:
                place = event.at_ms - event.at_ms % HOUR_MS, event.country
                began = self.began.setdefault(place, {})
                began.setdefault((event.player_id, event.session_id), now_ms())
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

    reasons = st.sampled_from(sorted(FAULTS))

    @rule(data=st.data(), how=how, reason=reasons, at=st.integers(0, 2))
    def a_batch_with_one_wrong_event(self, data: Any, how: Any, reason: str, at: int) -> None:
        rows = [self.row(self.drawn(data), 0, dashes=False) for _ in range(3)]
        rows[at] |= FAULTS[reason]
        answer = self.post(rows, how)
        assert answer.status_code == 422
        (error,) = answer.json()["errors"]
        assert (error["index"], error["reason"]) == (at, reason)

    @rule(data=st.data(), how=how, wrong=st.dictionaries(st.integers(0, 9), reasons, max_size=10))
    def a_lenient_batch(self, data: Any, how: Any, wrong: dict[int, str]) -> None:
        """Send ten events, some of them wrong: the others are stored."""
        events = [self.drawn(data) for _ in range(10)]
        rows = [self.row(event, 0, dashes=False) for event in events]
        for index, reason in wrong.items():
            rows[index] |= FAULTS[reason]
        valid, now = [e for index, e in enumerate(events) if index not in wrong], now_ms()
        answer = self.post(rows, how, Prefer="handling=lenient")
        assert answer.status_code == 200, answer.text
        assert answer.headers["Preference-Applied"] == "handling=lenient"
        found = answer.json()
        old = sum(event.at_ms <= now - YEAR_MS for event in valid)
        assert (found["accepted"], found["discarded"]) == (len(valid) - old, old)
        assert {each["index"]: each["reason"] for each in found["rejected"]} == wrong
        self.took(valid, now)

    @rule(data=st.data(), how=how, key=st.sampled_from(["", "read"]))
    def without_the_right_key_nothing_is_stored(self, data: Any, how: Any, key: str) -> None:
        answer = self.post([self.row(self.drawn(data), 0, dashes=False)], how, key)
        assert answer.status_code == DENIED["ingest"][key]

    @rule(player=st.sampled_from([0, 1]), key=st.sampled_from(["", "ingest"]))
    def without_the_right_key_nothing_is_read(self, player: int, key: str) -> None:
        path = self.path(self.players[player])
        for answer in (
            self.read(player, key=key),
            self.read_original(player, key=key),
            self.call("GET", path, key),
            self.call("GET", f"{path}/sessions/{self.ids[0]}", key),
            self.call("GET", "/v1/countries/starts", key),
        ):
            assert answer.status_code == DENIED["read"][key]

    def read(self, player: int, query: str = "", key: str = "read") -> Any:
        return self.call("GET", f"{self.path(self.players[player])}/sessions{query}", key)

    def read_original(self, player: int, key: str = "read") -> Any:
        body = json.dumps({"player_id": self.spelt_id(self.players[player])})
        return self.call("GET", "/", key, body.encode())

    @rule(player=st.sampled_from([0, 1]))
    def erase(self, player: int) -> None:
        """Erase a player; a new one takes the place, and old events may be sent again."""
        before, player_id = now_ms(), self.players[player]
        answer = self.call("DELETE", self.path(player_id), "erase")
        assert answer.status_code == 200, answer.text
        assert answer.json()["player_id"] == self.spelt_id(player_id)
        assert ms(answer.json()["erased_through"]) >= before + 300_000
        self.erased.append(player_id)
        self.players[player] = uuid4()

    @rule(player=st.sampled_from([0, 1]), key=st.sampled_from(["", "ingest", "read"]))
    def without_the_right_key_nothing_is_erased(self, player: int, key: str) -> None:
        answer = self.call("DELETE", self.path(self.players[player]), key)
        assert answer.status_code == DENIED["erase"][key]

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

    @rule(player=st.sampled_from([0, 1]))
    def one_session(self, player: int) -> None:
        player_id = self.players[player]
        for session_id in self.ids:
            answer = self.call("GET", f"{self.path(player_id)}/sessions/{session_id}", "read")
            expected = self.oracle.state(player_id, session_id)
            assert answer.status_code == (404 if expected is None else 200)
            assert (state(answer.json()) if expected else None) == expected

    @rule()
    def presence(self) -> None:
        for player_id in self.players:
            found = self.call("GET", self.path(player_id), "read").json()
            latest = found["latest_session"] and state(found["latest_session"])
            assert latest in self.oracle.latest(player_id)
            # The ages are at most a minute, or a day and more.
            is_open = latest is not None and latest.status == "open"
            began = (latest and latest.started_at) or 0
            assert found["online"] == (is_open and began > self.now - DAY_MS // 2)

    def counted_starts(self) -> dict[str, Any] | None:
        answer = self.call("GET", "/v1/countries/starts?hours=24&by=hour", "read")
        document: dict[str, Any] = answer.json()
        if answer.status_code == 503:
            assert document["type"].endswith(":still-counting")
            time.sleep(float(answer.headers["Retry-After"]))
            return None
        assert answer.status_code == 200, document
        return document

    @rule()
    def starts_per_country(self) -> None:
        """Check that starts stored before `as_of` are counted, and that no count shrinks.

        Other tests use the same keyspace, so there may be more starts, and a count is kept for a
        minute. test_country_histories.py has a keyspace of its own and checks every count.
        """
        found = wait_for(self.counted_starts, seconds=120, what="everything is counted")
        counts = {
            (ms(hour["hour"]), each["country"]): each["starts"]
            for hour in found["hours"]
            for each in hour["countries"]
        }
        assert sum(counts.values()) == found["total"]
        for place, sessions in self.began.items():
            if ms(found["from"]) <= place[0] < ms(found["to"]):
                least = sum(stored < ms(found["as_of"]) for stored in sessions.values())
                assert counts.get(place, 0) >= least
        for place, before in self.counted.items():
            if ms(found["from"]) <= place[0]:
                assert counts.get(place, 0) >= before
        self.counted = counts

    @rule(player=st.sampled_from([0, 1]), cursor=st.text(max_size=40))
    def a_cursor_that_is_none(self, player: int, cursor: str) -> None:
        parameters = httpx.QueryParams({"cursor": cursor})
        assert self.read(player, f"?{parameters}").status_code == 400

    @invariant()
    def both_contracts_show_the_newest_twenty(self) -> None:
        for player, player_id in enumerate(self.players):
            newest = self.oracle.sessions(player_id)[:20]
            for answer in (self.read(player).json(), self.read_original(player).json()):
                assert answer["player_id"] == self.spelt_id(player_id)
                assert shown(answer) == newest

    @invariant()
    def an_erased_player_has_nothing(self) -> None:
        for player_id in self.erased:
            path = self.path(player_id)
            assert self.call("GET", f"{path}/sessions", "read").json()["sessions"] == []
            assert self.call("GET", path, "read").json()["latest_session"] is None


def shown(page: dict[str, Any]) -> list[Session]:
    found = []
    for each in page["sessions"]:
        began, ended = (ms(each[name]) for name in ("started_at", "ended_at"))
        assert each["duration_seconds"] == max(0, ended - began) / 1000
        found.append(Session(UUID(each["session_id"]), each["country"], began, ended))
    return found


def state(document: dict[str, Any]) -> SessionState:
    """Return the state of a session that a document shows, whose parts must agree."""
    times = [document[name] and ms(document[name]) for name in ("started_at", "ended_at")]
    found = SessionState(UUID(document["session_id"]), document["country"], *times)
    assert found.status == document["status"]
    whole = max(0, times[1] - times[0]) / 1000 if found.status == "complete" else None
    assert document["duration_seconds"] == whole
    return found


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


@pytest.fixture(scope="module")
def keyed(
    cassandra: Cluster, keyspace: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    file: Path = tmp_path_factory.mktemp("keys") / "keys"
    made = {scope: new_key(scope, [scope]) for scope in ("ingest", "read", "erase")}
    file.write_text("".join(f"{line}\n" for _, line in made.values()))
    Api.keys = {scope: key for scope, (key, _) in made.items()}
    with Server(variables(cassandra, keyspace, KEYS_FILE=str(file))) as service:
        yield service.ready()


def test_any_history_over_http_reads_as_if_it_had_come_once_and_in_order(keyed: Server) -> None:
    Api.service = keyed
    run_machine(
        Api,
        settings=settings(
            max_examples=15,
            stateful_step_count=12,
            suppress_health_check=list(HealthCheck),
        ),
    )
