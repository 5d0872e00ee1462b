"""Hypothesis against the pure rules: any body, any history, no exception and no difference."""

from __future__ import annotations

import base64
import json
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from player_sessions.events import (
    EVENT_REASONS,
    BatchRefused,
    Event,
    explain_event,
    from_ms,
    read_events,
)
from player_sessions.sessions import (
    InvalidCursor,
    Page,
    Position,
    Session,
    Start,
    Walk,
    decode_cursor,
    encode_cursor,
)
from tests.support import inserts

NOW = 1_795_004_800_000
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
nearly_events = st.fixed_dictionaries(
    {},
    optional={
        "player_id": st.uuids().map(str) | st.uuids().map(lambda u: u.hex) | json_values,
        "session_id": st.uuids().map(str) | json_values,
        "event": st.sampled_from(["start", "end"]) | json_values,
        "ts": st.datetimes().map(lambda t: t.isoformat()) | json_values,
        "country": st.sampled_from(["FI", "fi", None]) | json_values,
    },
)
bodies = st.binary() | st.one_of(
    json_values,
    st.fixed_dictionaries({"events": st.lists(nearly_events | json_values, max_size=11)}),
).map(lambda document: json.dumps(document).encode())


@given(bodies)
@settings(max_examples=300, deadline=None)
def test_any_body_is_a_batch_or_refused_with_known_reasons(body: bytes) -> None:
    try:
        events = read_events(body, NOW)
    except BatchRefused as refused:
        assert all(error.reason in EVENT_REASONS for error in refused.errors)
    else:
        assert 1 <= len(events) <= 10


@given(nearly_events)
@settings(max_examples=300, deadline=None)
def test_both_passes_agree_on_what_is_valid(item: dict[str, object]) -> None:
    body = json.dumps({"events": [item]})
    faults = list(explain_event(0, item, NOW))
    try:
        read_events(body.encode(), NOW)
    except BatchRefused as refused:
        assert list(refused.errors) == faults
    else:
        assert faults == []


@given(st.text(), st.binary(min_size=25, max_size=25))
def test_any_text_is_a_cursor_or_refused(text: str, raw: bytes) -> None:
    for candidate in (text, base64.urlsafe_b64encode(raw).decode().rstrip("=")):
        try:
            position = decode_cursor(candidate)
        except InvalidCursor:
            continue
        from_ms(position.ended_at)
        assert decode_cursor(encode_cursor(position)) == position


countries = st.text("ABFZ", min_size=2, max_size=2)


@given(countries, countries, st.integers(0, NOW), st.integers(0, 2000))
def test_two_starts_that_differ_never_tie(one: str, other: str, at: int, later: int) -> None:
    def written(country: str, at: int, now: int) -> bytes:
        event = Event(UUID(int=1), UUID(int=2), "start", from_ms(at), country)
        row = inserts(1 << 45).row(event, event.at_ms, now)
        assert row is not None
        return row[-8:]

    if one != other:
        assert written(one, at, NOW) != written(other, at, NOW + later)
    assert written(one, at, NOW) == written(one, at, NOW + later)
    assert written(one, at + 1, NOW) > written(other, at, NOW)


class Tables:
    """One player's rows, kept as Cassandra keeps them: the later write timestamp wins."""

    def __init__(self, starts: list[tuple[int, int, str]], ends: list[tuple[int, int]]) -> None:
        self.starts: dict[UUID, Start] = {}
        for number, at, country in starts:
            key = UUID(int=number)
            self.starts[key] = max(self.starts.get(key, Start(-1, "")), Start(at, country))
        self.ends = sorted({Position(at, UUID(int=number)) for number, at in ends}, reverse=True)

    def page(self, limit: int, oldest: int, after: Position | None) -> Page:
        """As the store reads it, some rows at a time."""
        walk = Walk(limit, oldest, after)
        while True:
            below = [
                end
                for end in self.ends
                if end.ended_at > oldest and (walk.position is None or end < walk.position)
            ]
            ends = below[:2]
            wanted = set(walk.unmet(ends))
            newer = [
                end
                for end in self.ends
                if after is not None and end.ended_at >= after.ended_at and end.session_id in wanted
            ]
            walk.add(ends, {k: v for k, v in self.starts.items() if k in wanted}, newer)
            if len(below) <= 2 and (not ends or walk.position == ends[-1]):
                return Page(walk.sessions, None)
            if walk.full:
                return Page(walk.sessions, walk.position)

    def expected(self, oldest: int) -> list[Session]:
        """By brute force: each session once, at its newest end."""
        newest: dict[UUID, int] = {}
        for end in self.ends:
            if end.ended_at > oldest:
                newest[end.session_id] = max(newest.get(end.session_id, -1), end.ended_at)
        found = [
            Session(key, self.starts[key].country, self.starts[key].started_at, at)
            for key, at in newest.items()
            if key in self.starts and self.starts[key].started_at > oldest
        ]
        return sorted(found, key=lambda s: (s.ended_at, s.session_id), reverse=True)


numbers, times = st.integers(0, 6), st.integers(0, 8)


@given(
    st.lists(st.tuples(numbers, times, st.sampled_from(["FI", "SE"])), max_size=12),
    st.lists(st.tuples(numbers, times), max_size=25),
    st.integers(1, 5),
    st.integers(-1, 3),
)
@settings(max_examples=1000, deadline=None)
def test_pages_of_any_size_make_the_whole_list(
    starts: list[tuple[int, int, str]], ends: list[tuple[int, int]], limit: int, oldest: int
) -> None:
    tables = Tables(starts, ends)
    listed, after = [], None
    while True:
        page = tables.page(limit, oldest, after)
        assert len(page.sessions) <= limit
        listed += page.sessions
        after = page.next_position and decode_cursor(encode_cursor(page.next_position))
        if after is None:
            break
    assert listed == tables.expected(oldest)


@pytest.mark.parametrize(("started", "ended", "seconds"), [(5, 1505, 1.5), (9, 5, 0.0)])
def test_a_session_that_ended_before_it_began_lasted_0_seconds(
    started: int, ended: int, seconds: float
) -> None:
    assert Session(UUID(int=1), "FI", started, ended).duration_seconds == seconds
