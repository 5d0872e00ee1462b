"""Lenient batches on a running service: what is stored, what is named, and what stays strict."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from dev.cluster import Cluster
from dev.game_events import DAY_MS, end, now_ms, start
from dev.service import Server, variables

CONTRACTS = [("/v1/events", "events"), ("/", "rows")]
LENIENT = {"Prefer": "handling=lenient"}


@pytest.fixture(scope="module")
def plain(cassandra: Cluster, keyspace: str) -> Iterator[Server]:
    """Share a service without keys, whose metrics no other test changes."""
    with Server(variables(cassandra, keyspace)) as server:
        yield server.ready()


def sent(
    server: Server, path: str, body: Any, *, packed: bool = False, **headers: str
) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent_headers = {"Content-Type": "application/json", **LENIENT, **headers}
    if packed:
        content, sent_headers["Content-Encoding"] = gzip.compress(content), "gzip"
    return server.http.post(path, content=content, headers=sent_headers)


def session_of(player: UUID) -> tuple[UUID, list[dict[str, Any]]]:
    """Return a new session of the player, with its start and its end."""
    session, now = uuid4(), now_ms()
    return session, [start(player, session, now - 60_000), end(player, session, now)]


def rejected(server: Server) -> dict[str, float]:
    """Return how often each reason has been counted."""
    lines = server.http.get(f"{server.probe_url}/metrics").text.splitlines()
    name = 'player_sessions_rejected_events_total{reason="'
    found = (line.removeprefix(name).split('"} ') for line in lines if line.startswith(name))
    return {reason: float(count) for reason, count in found}


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize(("path", "key"), CONTRACTS)
def test_the_valid_events_are_stored_and_the_others_named_and_counted(
    plain: Server, path: str, key: str, packed: bool
) -> None:
    player = uuid4()
    session, (begun, ended) = session_of(player)
    old = end(player, uuid4(), now_ms() - 400 * DAY_MS)
    without_country = {name: begun[name] for name in begun if name != "country"}
    events = [without_country, begun, old, {**ended, "ts": "soon"}, ended, "end"]
    before = rejected(plain)
    answer = sent(plain, path, {key: events}, packed=packed)
    assert answer.status_code == 200
    assert answer.headers["Preference-Applied"] == "handling=lenient"
    assert answer.headers["Vary"] == "Prefer"
    document = answer.json()
    assert (document["accepted"], document["discarded"]) == (2, 1)
    assert [(e["index"], e["field"], e["reason"]) for e in document["rejected"]] == [
        (0, "country", "missing-country"),
        (3, "ts", "invalid-timestamp"),
        (5, "", "not-an-object"),
    ]
    assert [s["session_id"] for s in plain.sessions(player)] == [str(session)]
    added = {name: count - before[name] for name, count in rejected(plain).items()}
    assert {name: count for name, count in added.items() if count} == {
        "missing-country": 1,
        "invalid-timestamp": 1,
        "not-an-object": 1,
    }


@pytest.mark.parametrize(("path", "key"), CONTRACTS)
def test_several_lines_and_preferences_are_one_list_and_the_first_counts(
    plain: Server, path: str, key: str
) -> None:
    body = json.dumps({key: [*session_of(uuid4())[1], {}]}).encode()

    def status(*lines: str) -> int:
        headers = [("Content-Type", "application/json"), *(("Prefer", line) for line in lines)]
        return plain.http.post(path, content=body, headers=headers).status_code

    assert status("respond-async, wait=5", 'HANDLING = "lenient"; x="a,b"') == 200
    assert status("handling=lenient", "handling=strict") == 200
    assert status("handling=strict", "handling=lenient") == 422
    assert status('x="a, handling=lenient"') == 422
    assert status("respond-async") == 422
    assert status() == 422


@pytest.mark.parametrize(("path", "key"), CONTRACTS)
def test_without_a_valid_event_nothing_is_stored_and_the_answer_is_200(
    plain: Server, path: str, key: str
) -> None:
    answer = sent(plain, path, {key: [{}, {"event": "start"}]})
    assert (answer.status_code, answer.json()["accepted"]) == (200, 0)
    assert {error["index"] for error in answer.json()["rejected"]} == {0, 1}


@pytest.mark.parametrize(("path", "key"), CONTRACTS)
def test_what_is_no_batch_is_refused_as_always(plain: Server, path: str, key: str) -> None:
    player = uuid4()
    events = session_of(player)[1]
    for body, status in (
        (json.dumps({key: events}).encode()[:-1], 400),
        ({key: events[0]}, 422),
        ({key: []}, 422),
        ({key: events * 6}, 422),
        (json.dumps({key: events}).encode() + b" " * 65_536, 413),
    ):
        answer = sent(plain, path, body)
        assert answer.status_code == status
        assert "Preference-Applied" not in answer.headers
    assert plain.sessions(player) == []


def test_head_and_get_do_not_look_at_the_preference(plain: Server) -> None:
    for method, status in (("GET", 405), ("HEAD", 405)):
        for headers in ({}, LENIENT):
            answer = plain.http.request(method, "/v1/events", headers=headers)
            assert answer.status_code == status
            assert "Preference-Applied" not in answer.headers
    player = uuid4()
    plain.post(*session_of(player)[1])
    for method in ("GET", "HEAD"):
        answers = [
            plain.http.request(method, "/", json={"player_id": player.hex}, headers=headers)
            for headers in ({}, LENIENT)
        ]
        assert [answer.status_code for answer in answers] == [200, 200]
        assert answers[0].content == answers[1].content
        assert "Preference-Applied" not in answers[1].headers


def test_nothing_is_acknowledged_while_the_store_is_away() -> None:
    with Server({"PLAYER_SESSIONS_CASSANDRA_PORT": "1", "PLAYER_SESSIONS_HTTP_PORT": "0"}) as away:
        answer = sent(away, "/v1/events", {"events": [*session_of(uuid4())[1], {}]})
    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    assert "Preference-Applied" not in answer.headers
