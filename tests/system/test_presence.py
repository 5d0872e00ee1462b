"""One session of a player and the latest one over HTTP: status, form, and when there is none."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest

from dev.game_events import end, iso, now_ms, start
from dev.service import Server

NOW = now_ms()
AN_ID = UUID("5d0b8a52-a5d2-4d26-a9a5-f3d1f6b0c7e4")


def state(session: Any, **fields: Any) -> dict[str, Any]:
    """Return the document of a session, in which null stands for what is not given."""
    names = ("status", "country", "started_at", "ended_at", "duration_seconds")
    return {"session_id": str(session), **{name: fields.get(name) for name in names}}


def test_a_session_has_the_status_that_its_events_give_it(server: Server) -> None:
    player, late, lost = uuid4(), uuid4(), uuid4()
    began, ended = NOW - 90_000, NOW - 1500
    server.post(start(player, late, began))
    started = {"country": "FI", "started_at": iso(began)}
    assert server.session(player, late) == state(late, status="open", **started)
    server.post(end(player, late, ended), end(player, lost, ended, country="SE"))
    assert server.session(player, late) == state(
        late, status="complete", ended_at=iso(ended), duration_seconds=88.5, **started
    )
    assert server.session(player, lost) == state(lost, status="unstarted", ended_at=iso(ended))
    assert [listed["session_id"] for listed in server.sessions(player)] == [str(late)]


def test_a_session_without_events_is_a_problem_of_its_own(server: Server) -> None:
    player, session = uuid4(), uuid4()
    server.post(start(player, session, NOW))
    for other in (f"{player.hex}/sessions/{uuid4()}", f"{uuid4().hex}/sessions/{session}"):
        answer = server.http.get(f"/v1/players/{other}")
        assert answer.status_code == 404
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json()["type"] == "urn:player-sessions:problem:session-not-found"


@pytest.mark.parametrize("spelling", ["str", "hex", "upper"])
def test_both_ids_may_be_spelt_in_any_way(server: Server, spelling: str) -> None:
    player, session = uuid4(), uuid4()
    server.post(start(player, session, NOW))
    forms = [{"str": str(i), "hex": i.hex, "upper": str(i).upper()} for i in (player, session)]
    spelt = [form[spelling] for form in forms]
    answer = server.http.get("/v1/players/{}/sessions/{}".format(*spelt))
    assert answer.json()["session_id"] == str(session)


@pytest.mark.parametrize(
    "session", ["x", "1", f"{AN_ID}0", AN_ID.hex[:-1], "%00", f"{AN_ID}%0A", "null"]
)
def test_a_session_id_that_is_no_uuid_is_a_bad_parameter(server: Server, session: str) -> None:
    answer = server.http.get(f"/v1/players/{uuid4().hex}/sessions/{session}")
    assert answer.status_code == 400
    assert answer.json()["type"].endswith(":invalid-parameter")
    assert answer.json()["detail"] == "session_id: must be a UUID"


@pytest.mark.parametrize("player", ["null", "x" * 129, f"{AN_ID.hex}%0A"])
@pytest.mark.parametrize("below", ["", "/sessions", f"/sessions/{AN_ID}"])
def test_a_player_id_that_is_none_is_a_bad_parameter(
    server: Server, player: str, below: str
) -> None:
    answer = server.http.get(f"/v1/players/{player}{below}")
    assert answer.status_code == 400
    assert answer.json()["type"].endswith(":invalid-parameter")
    assert "player_id" in answer.json()["detail"]


def test_the_requests_have_a_route_of_their_own(server: Server) -> None:
    route = "GET /v1/players/{player_id}/sessions/{session_id}"

    def counted(status: int) -> float:
        lines = server.http.get(f"{server.probe_url}/metrics").text.splitlines()
        series = f'player_sessions_requests_total{{route="{route}",status="{status}"}} '
        return float(next(line for line in lines if line.startswith(series)).split()[-1])

    player, session, before = uuid4(), uuid4(), (counted(200), counted(404))
    server.post(start(player, session, NOW))
    assert server.session(player, session) is not None
    assert server.session(player, uuid4()) is None
    path = f"//v1/players/{player}/sessions/{session}/"
    assert server.http.head(server.url + path).status_code == 200
    assert (counted(200), counted(404)) == (before[0] + 2, before[1] + 1)


def test_a_player_is_online_until_the_end_of_the_latest_session(server: Server) -> None:
    player, first, second = uuid4(), uuid4(), uuid4()
    nobody = {"player_id": player.hex, "online": False, "latest_session": None}
    assert server.player(player) == nobody
    server.post(end(player, first, NOW - 1000))
    assert server.player(player) == nobody
    server.post(start(player, second, NOW - 2000), start(player, first, NOW - 3000))
    assert server.player(player) == {
        "player_id": player.hex,
        "online": True,
        "latest_session": server.session(player, second),
    }
    server.post(end(player, second, NOW - 500))
    found = server.player(player)
    assert not found["online"]
    assert found["latest_session"] == server.session(player, second)
    assert found["latest_session"]["status"] == "complete"


def test_a_game_that_crashed_closes_its_session_at_the_next_launch(server: Server) -> None:
    """The docs say how: send the end with the last time known, then begin a new session."""
    player, crashed, new = uuid4(), uuid4(), uuid4()
    server.post(start(player, crashed, NOW - 3_600_000))
    assert server.player(player)["online"]
    server.post(end(player, crashed, NOW - 1_800_000), start(player, new, NOW))
    found = server.player(player)
    assert (found["online"], found["latest_session"]["session_id"]) == (True, str(new))
    assert [each["duration_seconds"] for each in server.sessions(player)] == [1800]
