"""A page of sessions, written as text at once, is the JSON of its documented types."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from player_sessions.rules.events import MAX_MS
from player_sessions.rules.sessions import Page, Position, Session, encode_cursor
from player_sessions.web.documents import (
    PlayerSessions,
    SessionDocument,
    moment,
    player_sessions,
)

ids = st.binary(min_size=16, max_size=16)
times = st.integers(0, 1 << 44) | st.integers(0, MAX_MS)
countries = st.text("AFIZ", min_size=2, max_size=2) | st.text(
    st.characters(max_codepoint=127), max_size=4
)
rows = st.builds(Session, ids, countries.map(str.encode), times, times)
positions = st.none() | st.builds(Position, times, ids)


def document(session: Session) -> SessionDocument:
    assert session.country is not None
    lasted = max(0, session.ended_at - session.started_at) / 1000
    return SessionDocument(
        UUID(bytes=session.session_id),
        session.country.decode(),
        moment(session.started_at),
        moment(session.ended_at),
        lasted,
    )


@given(st.text(st.characters(exclude_categories=["Cs"])), st.lists(rows, max_size=5), positions)
def test_a_page_is_what_the_encoder_makes_of_its_types(
    player: str, sessions: list[Session], position: Position | None
) -> None:
    cursor = position and encode_cursor(position)
    typed = PlayerSessions(player, [document(session) for session in sessions], cursor)
    assert player_sessions(player, Page(sessions, position)) == msgspec.json.encode(typed)


def test_a_start_without_a_country_has_null() -> None:
    page = Page([Session(bytes(16), None, 0, 1)], None)
    assert b'"country":null,' in player_sessions("0a", page)


@given(times)
def test_a_moment_is_that_time_with_milliseconds(ms: int) -> None:
    text = moment(ms)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", text)
    whole = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)
    assert datetime.fromisoformat(text) == whole
