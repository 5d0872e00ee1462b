"""The rules of an event: what is accepted, and the reason of each refusal."""

from __future__ import annotations

import json
from datetime import UTC, timedelta, timezone, tzinfo
from typing import Any
from uuid import UUID

import pytest

from player_sessions.events import (
    BatchRefused,
    Event,
    from_ms,
    read_events,
    read_rows,
    to_ms,
)

NOW = 1_795_004_800_000  # 2026-11-18T12:26:40Z
PLAYER = "0a2d12a1a7e145de8bae44c0c6e06629"
START = {
    "player_id": PLAYER,
    "event": "start",
    "session_id": "4a0c43c9-c43a-42ff-ba55-67563dfa35d4",
    "ts": "2026-11-18T12:00:00",
    "country": "FI",
}
END = {**START, "event": "end"}
del END["country"]


def read(*events: Any) -> list[Event]:
    return read_events(json.dumps({"events": events}).encode(), NOW)


def refusal(*events: Any) -> list[tuple[int, str, str]]:
    """(index, field, reason) of each error."""
    with pytest.raises(BatchRefused) as refused:
        read(*events)
    return [(e.index, e.field, e.reason) for e in refused.value.errors]


def without(event: dict[str, Any], field: str) -> dict[str, Any]:
    return {key: value for key, value in event.items() if key != field}


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("2026-11-18T12:00:00", 1_795_003_200_000),
        ("2026-11-18T12:00:00Z", 1_795_003_200_000),
        ("2026-11-18T14:00:00+02:00", 1_795_003_200_000),
        ("2026-11-18T12:00:00.123", 1_795_003_200_123),
        ("2026-11-18T12:00:00.123999Z", 1_795_003_200_123),
        ("1969-12-31T23:59:59.999", -1),
        ("1969-12-31T23:59:59.9995", -1),
    ],
)
def test_times_are_utc_without_an_offset_and_keep_milliseconds(text: str, ms: int) -> None:
    (event,) = read({**START, "ts": text})
    assert event.at_ms == ms
    assert to_ms(from_ms(ms)) == ms


@pytest.mark.parametrize("form", [PLAYER, PLAYER.upper(), str(UUID(PLAYER))])
def test_a_player_is_32_hex_digits_with_or_without_dashes(form: str) -> None:
    (event,) = read({**START, "player_id": form, "session_id": form})
    assert (event.player_id, event.session_id) == (UUID(PLAYER), UUID(PLAYER))


@pytest.mark.parametrize("end", [END, {**END, "country": "FI"}, {**END, "country": None}])
def test_an_end_needs_no_country(end: dict[str, Any]) -> None:
    assert len(read(end)) == 1


def test_unknown_fields_are_ignored_and_of_a_key_given_twice_the_last_counts() -> None:
    text = json.dumps({"events": [{**START, "level": {"deep": [1]}}], "more": 1})
    body = text.replace('"country"', '"country": "SE", "country"').encode()
    (event,) = read_events(body, NOW)
    assert event.country == "FI"


def test_the_original_contract_has_the_same_rules_under_another_key() -> None:
    (event,) = read_rows(json.dumps({"rows": [START]}).encode(), NOW)
    assert (event,) == tuple(read(START))
    with pytest.raises(BatchRefused, match="rows"):
        read_rows(json.dumps({"events": [START]}).encode(), NOW)


@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=-9)), None])
def test_an_event_may_lie_at_the_bound_of_the_future_and_not_beyond(zone: tzinfo | None) -> None:
    def at(ms: int, more: timedelta) -> str:
        moment = from_ms(ms) + more
        return (moment.astimezone(zone) if zone else moment.replace(tzinfo=None)).isoformat()

    assert read({**START, "ts": at(NOW, timedelta(microseconds=999))})  # what is below a ms is cut
    beyond = at(NOW + 1, timedelta())
    assert refusal({**START, "ts": beyond}) == [(0, "ts", "timestamp-in-future")]


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("player_id", None, "invalid-player-id"),
        ("player_id", 7, "invalid-player-id"),
        ("player_id", PLAYER[1:], "invalid-player-id"),
        ("player_id", "g" + PLAYER[1:], "invalid-player-id"),
        ("session_id", "", "invalid-session-id"),
        ("session_id", [], "invalid-session-id"),
        ("event", "begin", "invalid-event"),
        ("event", "START", "invalid-event"),
        ("event", True, "invalid-event"),
        ("ts", 1_480_657_000, "invalid-timestamp"),
        ("ts", "yesterday", "invalid-timestamp"),
        ("ts", "2026-13-01T00:00:00", "invalid-timestamp"),
        ("ts", "2026-11-18", "invalid-timestamp"),
        ("country", "fi", "invalid-country"),
        ("country", "FIN", "invalid-country"),
        ("country", "F", "invalid-country"),
        ("country", "FI\n", "invalid-country"),
        ("country", "ÄÖ", "invalid-country"),
        ("country", 7, "invalid-country"),
        ("country", None, "missing-country"),
    ],
)
def test_a_wrong_value_is_refused_for_its_own_reason(field: str, value: Any, reason: str) -> None:
    assert refusal(START, {**START, field: value}) == [(1, field, reason)]


@pytest.mark.parametrize("field", ["player_id", "session_id", "event", "ts"])
def test_a_missing_field_is_named(field: str) -> None:
    assert refusal(END, without(END, field)) == [(1, field, "missing-field")]


def test_a_start_without_a_country_is_refused() -> None:
    assert refusal(without(START, "country")) == [(0, "country", "missing-country")]


@pytest.mark.parametrize("value", [None, 7, "start", [], [START]])
def test_what_is_no_object_is_refused(value: Any) -> None:
    assert refusal(START, value) == [(1, "", "not-an-object")]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "invalid-json"),
        (b"\xff", "invalid-json"),
        (b'{"events": [NaN]}', "invalid-json"),
        (b'{"events": ' + b"[" * 100_000, "invalid-json"),
        (b"[]", "invalid-batch"),
        (b'{"events": {}}', "invalid-batch"),
        (b'{"events": []}', "batch-size"),
        (json.dumps({"events": [START] * 11}).encode(), "batch-size"),
    ],
)
def test_what_is_no_batch_is_refused_as_a_whole(body: bytes, reason: str) -> None:
    with pytest.raises(BatchRefused) as refused:
        read_events(body, NOW)
    assert (refused.value.reason, refused.value.errors) == (reason, ())
