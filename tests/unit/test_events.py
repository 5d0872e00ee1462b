"""The rules of an event: what is accepted, and the reason of each refusal."""

from __future__ import annotations

import json
import time
from datetime import UTC, timedelta, timezone, tzinfo
from typing import Any
from uuid import UUID

import pytest

from player_sessions.rules.events import (
    BatchRefused,
    End,
    Event,
    Start,
    from_ms,
    read_events,
    read_rows,
    to_ms,
)
from player_sessions.rules.players import only_uuid, player_uuid

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
    """Return (index, field, reason) of each error."""
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


@pytest.mark.parametrize(
    ("leap", "taken"),
    [
        ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59.999Z"),
        ("2016-12-31T23:59:60", "2016-12-31T23:59:59.999"),
        ("2016-12-31T23:59:60.75Z", "2016-12-31T23:59:59.999Z"),
        ("2016-12-31T15:59:60.999999-08:00", "2016-12-31T15:59:59.999-08:00"),
        ("2017-01-01t05:29:60+05:30", "2017-01-01T05:29:59.999+05:30"),
    ],
)
def test_a_leap_second_is_the_last_millisecond_of_its_minute(leap: str, taken: str) -> None:
    assert read({**START, "ts": leap}, END) == read({**START, "ts": taken}, END)
    assert refusal({**START, "ts": leap}, {**END, "country": "fi"}) == [
        (1, "country", "invalid-country")
    ]


@pytest.mark.parametrize(
    "text",
    [
        "2016-12-31T23:59:61Z",
        "2016-12-31T23:60:60Z",
        "2016-12-31T24:59:60Z",
        "2016-02-30T23:59:60Z",
        "2016-12-31T23:59:60.Z",
        "2016-12-31T23:59:60Z ",
        "2016-12-31T23:59:60+25:00",
        "2016-12-31T23:59:60Z\n",
        "60",
    ],
)
def test_what_only_looks_like_a_leap_second_is_refused(text: str) -> None:
    assert refusal({**START, "ts": text}) == [(0, "ts", "invalid-timestamp")]


def test_a_leap_second_may_not_lie_in_the_future() -> None:
    assert refusal({**START, "ts": "2099-12-31T23:59:60Z"}) == [(0, "ts", "timestamp-in-future")]


@pytest.mark.parametrize("form", [PLAYER, PLAYER.upper(), str(UUID(PLAYER))])
def test_a_player_is_32_hex_digits_with_or_without_dashes(form: str) -> None:
    (event,) = read({**START, "player_id": form, "session_id": form})
    assert (event.player_id, event.session_id) == (UUID(PLAYER), UUID(PLAYER))


@pytest.mark.parametrize("player", ["steam:76561198000000000", "Jörg", "a/b", PLAYER[1:], "\\"])
def test_a_player_may_have_any_other_id(player: str) -> None:
    found = read(START, {**START, "player_id": player}, {**END, "player_id": player})
    assert [type(event) for event in found] == [Start, Start, End]
    assert [event.player_id for event in found] == [UUID(PLAYER), *[player_uuid(player)] * 2]
    assert found[2:] == [End(player_uuid(player), found[0].session_id, found[0].ts)]
    body = json.dumps({"rows": [{**START, "player_id": player}]}).encode()
    assert read_rows(body, NOW) == found[1:2]


@pytest.mark.parametrize(
    ("player", "reason"),
    [
        (PLAYER[1:], "invalid-player-id"),
        ("g" + PLAYER[1:], "invalid-player-id"),
        ("steam:1", "invalid-player-id"),
        ("null", "placeholder-player-id"),
    ],
)
def test_where_only_uuids_are_ids_any_other_is_refused(player: str, reason: str) -> None:
    for key, read_some in (("events", read_events), ("rows", read_rows)):
        body = json.dumps({key: [START, {**START, "player_id": player}]}).encode()
        with pytest.raises(BatchRefused) as refused:
            read_some(body, NOW, player_of=only_uuid)
        errors = [(e.index, e.field, e.reason) for e in refused.value.errors]
        assert errors == [(1, "player_id", reason)]
        good = json.dumps({key: [START, {**END, "player_id": str(UUID(PLAYER))}]}).encode()
        assert len(read_some(good, NOW, player_of=only_uuid)) == 2


@pytest.mark.parametrize("end", [END, {**END, "country": "FI"}, {**END, "country": None}])
def test_an_end_needs_no_country(end: dict[str, Any]) -> None:
    assert len(read(end)) == 1


def test_unknown_fields_are_ignored_and_the_last_of_two_equal_keys_counts() -> None:
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

    assert read({**START, "ts": at(NOW, timedelta(microseconds=999))})  # microseconds are cut off
    beyond = at(NOW + 1, timedelta())
    assert refusal({**START, "ts": beyond}) == [(0, "ts", "timestamp-in-future")]


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("player_id", None, "invalid-player-id"),
        ("player_id", 7, "invalid-player-id"),
        ("player_id", [PLAYER], "invalid-player-id"),
        ("player_id", "x" * 129, "invalid-player-id"),
        ("player_id", "a\nb", "invalid-player-id"),
        ("player_id", "", "placeholder-player-id"),
        ("player_id", "undefined", "placeholder-player-id"),
        ("player_id", " NULL", "placeholder-player-id"),
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
def test_an_event_that_is_no_object_is_refused(value: Any) -> None:
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
def test_a_body_that_is_no_batch_is_refused_as_a_whole(body: bytes, reason: str) -> None:
    with pytest.raises(BatchRefused) as refused:
        read_events(body, NOW)
    assert (refused.value.reason.name, refused.value.errors) == (reason, ())


@pytest.mark.parametrize(
    "value",
    [
        rb'"gg \ud83d"',
        rb'"\ude00\uD83D"',
        rb'{"\ud83d": "\\\ud83d"}',
        b"1e400",
        b"-" + b"9" * 5000,
        b'"\xff"',
        b"[" * 500 + b"]" * 500,
    ],
)
@pytest.mark.parametrize("event", [START, {**START, "country": "fi"}, {**START, "ts": "yesterday"}])
def test_an_ignored_field_never_refuses_a_batch(value: bytes, event: dict[str, Any]) -> None:
    def answer(body: bytes) -> object:
        try:
            return read_events(body, NOW)
        except BatchRefused as refused:
            return refused.errors

    plain = json.dumps({"events": [event]}).encode()
    inside = plain.replace(b'"player_id"', b'"nick": ' + value + b', "player_id"')
    around = b'{"nick": ' + value + b", " + plain[1:]
    assert answer(inside) == answer(around) == answer(plain)


@pytest.mark.parametrize("value", [rb'"\q"', rb'"\ud8"', b"NaN", b"01", b"1.", b'"\x01"', b"[1,]"])
def test_what_is_no_json_is_refused_wherever_it_stands(value: bytes) -> None:
    body = json.dumps({"events": [START]}).encode().replace(b"[{", b'[{"nick": ' + value + b", ")
    with pytest.raises(BatchRefused) as refused:
        read_events(body, NOW)
    assert refused.value.reason.name == "invalid-json"


@pytest.mark.parametrize("value", [rb'"FI\ud83d"', b"1e400", b"9" * 5000, b'"\xff"'])
def test_a_field_of_ours_that_cannot_be_decoded_is_no_json(value: bytes) -> None:
    body = json.dumps({"events": [END, START]}).encode().replace(b'"FI"', value)
    with pytest.raises(BatchRefused) as refused:
        read_events(body, NOW)
    assert refused.value.reason.name == "invalid-json"


def test_the_slow_pass_reads_a_body_full_of_escapes_quickly() -> None:
    """The loop waits for it, so even the worst body may take only some milliseconds."""
    for filler in (rb"\ud83d", rb"\ud83d\ude00", rb"\\", rb"\n"):
        body = b'{"events": [], "nick": "%b"}' % (filler * (65_000 // len(filler)))
        begun = time.process_time()
        with pytest.raises(BatchRefused, match="1-10 events"):
            read_events(body, NOW)
        assert time.process_time() - begun < 0.1


def test_the_last_of_two_equal_keys_counts_also_for_the_kind_of_event() -> None:
    twice = json.dumps(START).replace('"event": "start"', '"event": "start", "event": "end"')
    (event,) = read_events(f'{{"events": [{twice}]}}'.encode(), NOW)
    assert event.kind == "end"


def test_an_event_may_name_its_kind_last() -> None:
    last = {**{key: START[key] for key in START if key != "event"}, "event": "start"}
    assert read_events(json.dumps({"events": [last]}).encode(), NOW) == read_events(
        json.dumps({"events": [START]}).encode(), NOW
    )


def test_an_event_that_is_wrong_in_two_ways_gets_both_reasons() -> None:
    late = {**START, "ts": "2999-01-01T00:00:00Z"}
    del late["country"]
    with pytest.raises(BatchRefused) as refused:
        read_events(json.dumps({"events": [late]}).encode(), NOW)
    assert {e.reason for e in refused.value.errors} == {"missing-country", "timestamp-in-future"}
