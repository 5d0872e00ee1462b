"""Test the pure rules with Hypothesis: no body or history leads to an exception or difference."""

from __future__ import annotations

import base64
import contextlib
import json
import pickle
from datetime import datetime
from unittest import mock
from uuid import UUID

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from player_sessions.rules import events
from player_sessions.rules.events import (
    BatchRefused,
    Start,
    explain_event,
    from_ms,
    read_events,
)
from player_sessions.rules.players import (
    PLACEHOLDERS,
    InvalidPlayerId,
    PlayerOf,
    only_uuid,
    player_uuid,
    shown,
)
from player_sessions.rules.reasons import OF_EVENT, names
from player_sessions.rules.sessions import (
    InvalidCursor,
    Page,
    Position,
    Session,
    Walk,
    decode_cursor,
    duration_seconds,
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
uuid_texts = st.uuids().map(str) | st.uuids().map(lambda u: u.hex.upper())
player_ids = (
    uuid_texts
    | st.text(max_size=130)
    | st.sampled_from([*PLACEHOLDERS, "[Object Object]", "steam:1", "n" * 128, " \u00a0"])
)
nearly_events = st.fixed_dictionaries(
    {},
    optional={
        "player_id": player_ids | json_values,
        "session_id": st.uuids().map(str) | json_values,
        "event": st.sampled_from(["start", "end"]) | json_values,
        "ts": st.datetimes().map(lambda t: t.isoformat()) | json_values,
        "country": st.sampled_from(["FI", "fi", None]) | json_values,
    },
)
good_event = st.fixed_dictionaries(
    {
        "player_id": player_ids,
        "session_id": st.uuids().map(str),
        "event": st.just("end"),
        "ts": st.datetimes(max_value=datetime(2026, 1, 1)).map(lambda t: t.isoformat()),
    }
)
bodies = st.binary() | st.one_of(
    json_values,
    st.fixed_dictionaries({"events": st.lists(nearly_events | json_values, max_size=11)}),
).map(lambda document: json.dumps(document).encode())


@given(bodies)
@settings(max_examples=300)
def test_any_body_is_a_batch_or_refused_with_known_reasons(body: bytes) -> None:
    try:
        events = read_events(body, NOW)
    except BatchRefused as refused:
        assert all(error.reason in names(OF_EVENT) for error in refused.errors)
    else:
        assert 1 <= len(events) <= 10


@given(nearly_events | good_event, st.sampled_from([player_uuid, only_uuid]))
@settings(max_examples=500)
def test_all_passes_agree_on_what_is_valid(item: dict[str, object], player_of: PlayerOf) -> None:
    body = json.dumps({"events": [item]})
    faults = list(explain_event(0, item, NOW, player_of))
    try:
        read_events(body.encode(), NOW, player_of=player_of)
    except BatchRefused as refused:
        assert list(refused.errors) == faults
    else:
        assert faults == []


# What a sender may put into a field that we ignore: any JSON (RFC 8259), also what Python cannot
# hold, and text that is not UTF-8, which is skipped like the rest.
ignored_values = st.recursive(
    json_values.map(lambda value: json.dumps(value).encode())
    | st.text(st.characters()).map(lambda text: json.dumps(text).encode())
    | st.sampled_from([b"1e400", b"-1e999999999", b"9" * 5000, b"-" + b"9" * 20, b"-0", b"1E-9999"])
    | st.sampled_from([rb'"gg \ud83d"', rb'"\udc00\uD800"', rb'"\\\ud83d\ude00"', rb'"\\ud83d"'])
    | st.sampled_from(
        [b'"\xff"', b'"\xed\xa0\x80"', b'{"\xff": 1}', rb'{"\ud800": 1, "\ud800": 2}']
    ),
    lambda inner: (
        st.lists(inner, max_size=4).map(lambda items: b"[%b]" % b",".join(items))
        | inner.map(lambda value: b'{"events": %b, "rows": %b, "ts": %b}' % (value, value, value))
    ),
    max_leaves=8,
)
ignored_keys = st.sampled_from(
    [b'"nick"', rb'"\ud83d"', b'"\xff"', b'"Event"', b'""', rb'"ts\u0000"']
)


def outcome(body: bytes) -> object:
    """Return the events, or why they are refused; other passes alone must say the same."""
    try:
        found: object = read_events(body, NOW)
    except BatchRefused as refused:
        found = (refused.reason.name, refused.errors)
    no_decoder = mock.Mock(side_effect=msgspec.DecodeError)
    for without in ("_decode_events", "_decode_sent_events", None):
        with contextlib.ExitStack() as stack:
            if without != "_decode_sent_events":
                stack.enter_context(mock.patch.object(events, "_decode_events", no_decoder))
            if without != "_decode_events":
                nothing = mock.patch.object(events, "_decode_sent_events", return_value=[])
                stack.enter_context(nothing)
            try:
                otherwise: object = read_events(body, NOW)
            except BatchRefused as refused:
                otherwise = (refused.reason.name, refused.errors)
        assert otherwise == found
    return found


@given(bodies)
@settings(max_examples=300)
def test_all_passes_take_and_refuse_the_same_bodies(body: bytes) -> None:
    outcome(body)


@given(
    good_event | nearly_events,
    st.lists(st.tuples(ignored_keys, ignored_values, st.booleans()), min_size=1, max_size=3),
)
@settings(max_examples=1000)
def test_an_ignored_field_changes_nothing_whatever_stands_in_it(
    item: dict[str, object], fields: list[tuple[bytes, bytes, bool]]
) -> None:
    plain = json.dumps(item).encode()
    event, around = plain, b""
    for key, value, inside in fields:
        field = b"%b: %b, " % (key, value)
        if inside:
            event = b"{" + field + event[1:] if len(event) > 2 else b"{" + field[:-2] + b"}"
        else:
            around += field
    assert outcome(b'{%b"events": [%b]}' % (around, event)) == outcome(b'{"events": [%b]}' % plain)


@given(player_ids | st.text(st.characters()))  # with halves of surrogate pairs
def test_any_text_is_a_player_id_or_refused(text: str) -> None:
    try:
        player = player_uuid(text)
    except InvalidPlayerId as refused:
        assert refused.reason.name in ("invalid-player-id", "placeholder-player-id")
        assert (refused.reason.name == "placeholder-player-id") == (
            text.strip().lower() in {*PLACEHOLDERS, "[object object]"}
        )
        with pytest.raises(InvalidPlayerId):
            only_uuid(text)
        return
    assert 1 <= len(text) <= 128
    assert text.isprintable()
    again = pickle.loads(pickle.dumps(player))
    assert player == again == player_uuid(text) == UUID(str(player))
    assert (player.bytes, player.is_safe) == (again.bytes, again.is_safe)
    assert player_uuid(shown(text)) == player
    assert player_uuid(player.hex) == player


@given(player_ids, player_ids)
def test_two_ids_are_one_player_only_if_they_are_shown_alike(one: str, other: str) -> None:
    try:
        players = player_uuid(one), player_uuid(other)
    except InvalidPlayerId:
        return
    assert (players[0] == players[1]) == (shown(one) == shown(other))


@given(uuid_texts)
def test_a_uuid_is_that_uuid_in_any_form(text: str) -> None:
    assert player_uuid(text) == only_uuid(text) == UUID(text)
    assert shown(text) == UUID(text).hex


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
        event = Start(UUID(int=1), UUID(int=2), from_ms(at), country)
        row = inserts(retention=2.0**35).rows(event, event.at_ms, now)[0]
        assert type(row) is bytes
        return row[-8:]

    if one != other:
        assert written(one, at, NOW) != written(other, at, NOW + later)
    assert written(one, at, NOW) == written(one, at, NOW + later)
    assert written(one, at + 1, NOW) > written(other, at, NOW)


class Tables:
    """The rows of one player, kept as Cassandra does: the later write timestamp wins."""

    def __init__(self, starts: list[tuple[int, int, str]], ends: list[tuple[int, int]]) -> None:
        self.starts: dict[bytes, tuple[int, bytes]] = {}
        for number, at, country in starts:
            key = UUID(int=number).bytes
            start = at, country.encode()
            self.starts[key] = max(self.starts.get(key, (-1, b"")), start)
        found = {Position(at, UUID(int=number).bytes) for number, at in ends}
        self.ends = sorted(found, reverse=True)

    def page(self, limit: int, oldest: int, after: Position | None) -> Page:
        """Return a page as the store reads it, some rows at a time."""
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
            starts = [(key, *start) for key, start in self.starts.items() if key in wanted]
            walk.add(ends, starts, newer)
            if len(below) <= 2 and (not ends or walk.position == ends[-1]):
                return Page(walk.sessions, None)
            if walk.full:
                return Page(walk.sessions, walk.position)

    def expected(self, oldest: int) -> list[Session]:
        """Compute by brute force: each session once, at its newest end."""
        newest: dict[bytes, int] = {}
        for end in self.ends:
            if end.ended_at > oldest:
                newest[end.session_id] = max(newest.get(end.session_id, -1), end.ended_at)
        found = [
            Session(key, country, started_at, at)
            for key, at in newest.items()
            for started_at, country in [self.starts.get(key, (-1, b""))]
            if key in self.starts and started_at > oldest
        ]
        return sorted(found, key=lambda s: (s.ended_at, s.session_id), reverse=True)


numbers, times = st.integers(0, 6), st.integers(0, 8)


@given(
    st.lists(st.tuples(numbers, times, st.sampled_from(["FI", "SE"])), max_size=12),
    st.lists(st.tuples(numbers, times), max_size=25),
    st.integers(1, 5),
    st.integers(-1, 3),
)
@settings(max_examples=1000)
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
    assert duration_seconds(started, ended) == seconds
