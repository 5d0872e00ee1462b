"""Player ids over HTTP: any id that a game has, in bodies and paths, and what is refused."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlsplit
from uuid import UUID, uuid4

import httpx
import pytest

from dev.cluster import Cluster
from dev.game_events import end, now_ms, start
from dev.service import Server, variables

JSON = {"content-type": "application/json"}
PLAYER = "0a2d12a1a7e145de8bae44c0c6e06629"
PREFIX = "urn:player-sessions:problem:"


@pytest.fixture(scope="module")
def only_uuids(cassandra: Cluster, keyspace: str) -> Iterator[Server]:
    """Share a service that takes only UUIDs as ids of players."""
    with Server(variables(cassandra, keyspace, PLAYER_IDS="uuid")) as service:
        yield service.ready()


def played(player: str) -> tuple[str, list[dict[str, Any]]]:
    """Return a new session of this player, and its events."""
    session, now = uuid4(), now_ms()
    events = [start(uuid4(), session, now - 1000), end(uuid4(), session, now)]
    return str(session), [{**event, "player_id": player} for event in events]


def listed(server: Server, path: str) -> tuple[str, set[str]]:
    """Ask with exactly this path; return the id in the answer, and the sessions."""
    parts = urlsplit(server.url)
    assert parts.hostname
    with socket.create_connection((parts.hostname, parts.port or 80), timeout=30) as connection:
        head = f"GET {path} HTTP/1.1\r\nHost: {parts.hostname}\r\nConnection: close\r\n"
        if key := server.http.headers.get("Authorization"):
            head += f"Authorization: {key}\r\n"
        connection.sendall(f"{head}\r\n".encode())
        with connection.makefile("rb") as answer:
            status, _, body = answer.read().partition(b"\r\n\r\n")
    assert status.startswith(b"HTTP/1.1 200"), status + body
    document = json.loads(body)
    return document["player_id"], {each["session_id"] for each in document["sessions"]}


@pytest.mark.parametrize(
    "player",
    [
        "42", "steam:76561198000000000", "a/b", "/", "//", "a/sessions", "sessions", "..", ".",
        "../../health/live", "a b", " a", "100%", "%", "%2F", "%252F", "a?b#c", "a\\b", '"', "a+b",
        "Jörg", "日本", "😀", "'; DROP TABLE x; --", "a;b,c:d@e&f=g", "n" * 128, "😀" * 128,
    ],
)  # fmt: skip
def test_a_player_with_any_id_is_found_by_it_in_path_and_body(server: Server, player: str) -> None:
    session, events = played(player)
    other, rows = played(player)
    assert server.post(*events).json() == {"accepted": 2, "discarded": 0}
    assert server.http.post("/", json={"rows": rows}).text == "POST success"
    found, sessions = listed(server, f"/v1/players/{quote(player, safe='')}/sessions?limit=20")
    assert found == player
    assert sessions >= {session, other}
    original = server.http.request("GET", "/", content=json.dumps({"player_id": player}))
    assert original.json()["player_id"] == player
    assert {session, other} <= {each["session_id"] for each in original.json()["sessions"]}


@pytest.mark.parametrize("form", [PLAYER, PLAYER.upper(), str(UUID(PLAYER)), PLAYER[::-1].upper()])
def test_a_uuid_is_the_same_player_in_every_form(server: Server, form: str) -> None:
    session, events = played(form)
    assert server.post(*events).status_code == 200
    plain = UUID(form).hex
    encoded = "".join(f"%{ord(letter):02x}" for letter in form)
    for path in (form, plain, str(UUID(form)).upper(), encoded):
        found, sessions = listed(server, f"/v1/players/{path}/sessions")
        assert (found, session in sessions) == (plain, True)


def test_ids_that_differ_in_case_blanks_or_normalisation_are_different_players(
    server: Server,
) -> None:
    name = f"Jörg {uuid4()}"
    ids = [
        name,
        name.upper(),
        f" {name}",
        f"{name} ",
        name.replace("ö", "o\N{COMBINING DIAERESIS}"),
    ]
    sent = {}
    for player in ids:
        sent[player], events = played(player)
        assert server.post(*events).status_code == 200
    for player in ids:
        path = f"/v1/players/{quote(player, safe='')}/sessions"
        assert listed(server, path) == (player, {sent[player]})


@pytest.mark.parametrize(
    "path",
    [
        "null", "NULL", "undefined", "None", "NaN", "nil", "(null)", "%20", "%20null%20",
        "%5Bobject%20Object%5D", "", "a%00", "a%0A", "%ff", "%ED%A0%80", "n" * 129,
        "%F0%9F%98%80" * 129,
    ],
)  # fmt: skip
def test_what_is_no_id_is_refused_in_a_path(server: Server, path: str) -> None:
    answer = server.http.get(f"{server.url}/v1/players/{path}/sessions")
    assert_refused(answer)
    assert answer.json()["detail"].startswith("player_id: ")


def test_an_id_that_is_not_percent_encoded_gets_400_and_not_500(server: Server) -> None:
    parts = urlsplit(server.url)
    with socket.create_connection((parts.hostname or "", parts.port or 80), timeout=30) as one:
        one.sendall("GET /v1/players/Jörg/sessions HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        with one.makefile("rb") as answer:
            assert answer.readline().startswith(b"HTTP/1.1 400")


def assert_refused(answer: httpx.Response) -> None:
    assert (answer.status_code, answer.json()["type"]) == (400, f"{PREFIX}invalid-parameter")


@pytest.mark.parametrize(
    "player", ["", "null", " Undefined ", "[object Object]", "a\nb", "n" * 129]
)
def test_what_is_no_id_is_refused_in_the_body_of_get(server: Server, player: str) -> None:
    answer = server.http.request("GET", "/", content=json.dumps({"player_id": player}))
    assert_refused(answer)


def test_a_placeholder_for_an_id_is_refused_for_its_own_reason_and_counted(server: Server) -> None:
    def count() -> float:
        lines = server.http.get(f"{server.probe_url}/metrics").text.splitlines()
        return sum(float(li.split()[-1]) for li in lines if 'reason="placeholder-player-id"' in li)

    before = count()
    for player in ("", "null", "UNDEFINED", "[object Object]"):
        _, events = played(player)
        answer = server.post(*events)
        assert answer.status_code == 422
        errors = [(e["index"], e["field"], e["reason"]) for e in answer.json()["errors"]]
        assert errors == [(i, "player_id", "placeholder-player-id") for i in (0, 1)]
    assert count() == before + 4


@pytest.mark.parametrize("player", ["x", "0" * 31, "0" * 33, "g" * 32, "%27%20OR%201=1", "{}"])
def test_where_only_uuids_are_ids_a_bad_player_is_refused(only_uuids: Server, player: str) -> None:
    answer = only_uuids.http.get(f"/v1/players/{player}/sessions")
    assert_refused(answer)
    body = json.dumps({"player_id": player})
    answer = only_uuids.http.request("GET", "/", content=body, headers=JSON)
    assert_refused(answer)
    assert answer.json()["detail"] == "player_id: must be 32 hexadecimal digits or a UUID"
    _, events = played(player)
    for path, key in (("/v1/events", "events"), ("/", "rows")):
        answer = only_uuids.http.post(path, json={key: events})
        assert [e["reason"] for e in answer.json()["errors"]] == ["invalid-player-id"] * 2


def test_where_only_uuids_are_ids_a_uuid_is_taken(only_uuids: Server) -> None:
    session, events = played(str(uuid4()).upper())
    assert only_uuids.post(*events).status_code == 200
    player = UUID(events[0]["player_id"]).hex
    assert listed(only_uuids, f"/v1/players/{player}/sessions") == (player, {session})


def test_a_batch_may_have_players_with_all_kinds_of_ids(server: Server) -> None:
    kinds = [uuid4().hex, f"steam:{uuid4()}", str(uuid4()), f"{uuid4()}/ü"]
    sent = {}
    batch = []
    for player in kinds:
        sent[player], events = played(player)
        batch += events
    assert server.post(*batch).json() == {"accepted": 8, "discarded": 0}
    for player in kinds:
        _, sessions = listed(server, f"/v1/players/{quote(player, safe='')}/sessions")
        assert sessions == {sent[player]}
