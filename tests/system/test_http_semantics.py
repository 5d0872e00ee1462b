"""What HTTP and docs/api.md say of every answer: HEAD, caches, one name for a route, times."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

import httpx
import pytest

from dev.game_events import end, now_ms, start
from dev.service import Server

# The names of tests are the same in each worker of a run, so these ids are fixed.
PLAYER = "5d0b8a52a5d24d26a9a5f3d1f6b0c7e4"
SESSION = "c2a9f0a6-63c1-4f6f-9f5e-0b8f6f3f2d11"
SESSIONS = f"/v1/players/{PLAYER}/sessions"
BODY = f'{{"player_id": "{PLAYER}", "nick": "gg \\ud83d"}}'


@pytest.mark.parametrize(
    "path",
    [
        f"/v1/players/{PLAYER}",
        SESSIONS,
        f"{SESSIONS}?limit=0",
        f"{SESSIONS}/",
        f"{SESSIONS}/{SESSION}",
        "/",
        "/health/live",
        "/health/ready",
        "/metrics",
        "/docs",
        "/docs/openapi.json",
        "/docs/swagger-ui-bundle.js",
        "/v1/events",
        "/nowhere",
    ],
)
def test_head_is_answered_like_get_without_the_body(server: Server, path: str) -> None:
    def asked(method: str) -> httpx.Response:
        base = server.probe_url if path.startswith(("/health", "/metrics")) else server.url
        headers = {"X-Request-Id": "the-same", "Content-Type": "application/json"}
        content = BODY if path == "/" else None
        return server.http.request(method, base + path, headers=headers, content=content)

    changing = {"date", *(["content-length"] if path == "/metrics" else [])}
    got, head = asked("GET"), asked("HEAD")
    assert got.content
    assert head.content == b""
    assert head.status_code == got.status_code
    assert [h for h in head.headers.items() if h[0] not in changing] == [
        h for h in got.headers.items() if h[0] not in changing
    ]


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE"])
@pytest.mark.parametrize(
    "path",
    [
        f"/v1/players/{PLAYER}",
        SESSIONS,
        f"{SESSIONS}/{SESSION}",
        f"{SESSIONS}?limit=0",
        "/v1/players/x/sessions",
        "/v1/players/",
        f"/{SESSIONS}/",
    ],
)
def test_no_cache_stores_an_answer_about_a_player(server: Server, method: str, path: str) -> None:
    answer = server.http.request(method, server.url + path)
    assert answer.headers.get_list("Cache-Control") == ["no-store"]


@pytest.mark.parametrize(("body", "status"), [(BODY, 200), ("{}", 400)])
def test_no_cache_stores_an_answer_of_the_original_contract(
    server: Server, body: str, status: int
) -> None:
    answer = server.http.request("GET", "/", content=body)
    assert (answer.status_code, answer.headers["Cache-Control"]) == (status, "no-store")


@pytest.mark.parametrize(
    ("method", "path", "route", "key"),
    [
        ("POST", "/v1/events/", "POST /v1/events", "events"),
        ("POST", "//v1///events//", "POST /v1/events", "events"),
        ("POST", "/v1/%65vents", "POST /v1/events", "events"),
        ("POST", "/v1%2Fevents%2F", "POST /v1/events", "events"),
        ("POST", "//", "POST /", "rows"),
        ("GET", f"//v1//players/{PLAYER}/sessions", "GET /v1/players/{player_id}/sessions", ""),
        ("HEAD", f"/v1/players//{PLAYER}/", "GET /v1/players/{player_id}", ""),
        ("HEAD", f"{SESSIONS}/", "GET /v1/players/{player_id}/sessions", ""),
        ("GET", f"/v1/%70layers/{PLAYER}/sessions", "GET /v1/players/{player_id}/sessions", ""),
        ("GET", "///", "GET /", "player_id"),
    ],
)
def test_a_path_is_counted_as_the_route_that_it_is(
    server: Server, method: str, path: str, route: str, key: str
) -> None:
    now = now_ms()
    events = [start(uuid4(), uuid4(), now), end(uuid4(), uuid4(), now)]
    document = {key: PLAYER if key == "player_id" else events} if key else None

    def counted() -> float:
        lines = server.http.get(f"{server.probe_url}/metrics").text.splitlines()
        series = f'player_sessions_requests_total{{route="{route}",status="200"}} '
        return float(next(line for line in lines if line.startswith(series)).split()[-1])

    before = counted()
    answer = server.http.request(method, server.url + path, json=document)
    assert answer.status_code == 200, answer.text
    assert counted() == before + 1


DAY = now_ms() // 86_400_000 * 86_400_000 - 86_400_000  # midnight of yesterday
NOON = DAY + 12 * 3_600_000


def test_times_in_answers_always_have_three_decimals(server: Server) -> None:
    player, day = uuid4(), datetime.fromtimestamp(DAY / 1000, UTC).date().isoformat()
    for more in (0, 1, 120):
        session = uuid4()
        server.post(start(player, session, NOON + more), end(player, session, NOON + more))
    assert [session["ended_at"] for session in server.sessions(player)] == [
        f"{day}T12:00:00.120Z",
        f"{day}T12:00:00.001Z",
        f"{day}T12:00:00.000Z",
    ]
    document = server.http.get("/docs/openapi.json").json()
    session_schema = document["components"]["schemas"]["SessionDocument"]["properties"]
    for field in ("started_at", "ended_at"):
        assert session_schema[field]["format"] == "date-time"


def test_a_resumed_session_is_listed_as_the_docs_say(server: Server) -> None:
    """The table in docs/api.md, "Sessions out"."""
    player, session, minute = uuid4(), uuid4(), 60_000
    other = uuid4()
    server.post(start(player, other, NOON), end(player, other, NOON + 40 * minute))

    def listed() -> list[tuple[str, str, str, float]]:
        return [
            (s["session_id"], s["started_at"][11:16], s["ended_at"][11:16], s["duration_seconds"])
            for s in server.sessions(player)
        ]

    another = (str(other), "12:00", "12:40", 2400.0)
    server.post(start(player, session, NOON), end(player, session, NOON + 30 * minute))
    assert listed() == [another, (str(session), "12:00", "12:30", 1800.0)]
    server.post(start(player, session, NOON + 60 * minute))
    assert listed() == [another, (str(session), "13:00", "12:30", 0.0)]
    server.post(end(player, session, NOON + 70 * minute))
    assert listed() == [(str(session), "13:00", "13:10", 600.0), another]
