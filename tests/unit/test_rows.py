"""An event's packed rows: their TTLs, their timestamps, and when there is none."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable
from typing import Literal
from uuid import UUID

import pytest

from player_sessions.rules.events import End, Start, from_ms
from player_sessions.store.rows import MAX_TTL, start_key
from tests.support import inserts

NOW = 1_795_000_000_400
HOUR = 3_600_000
YEAR = 365 * 24 * HOUR
ID = UUID(int=7)


def rows(
    age: int,
    kind: Literal["start", "end"] = "start",
    country: str | None = "FI",
    **settings: float,
) -> tuple[bytes, ...]:
    at = from_ms(NOW - age)
    event = Start(ID, ID, at, country or "") if kind == "start" else End(ID, ID, at, country)
    return inserts(**settings).rows(event, event.at_ms, NOW)


def ttl_of(values: bytes) -> int:
    return int(struct.unpack(">i", values[-16:-12])[0])


def ttl(age: int, retention: int = YEAR) -> int:
    return ttl_of(rows(age, retention=retention / 1000)[0])


def timestamp(age: int, kind: Literal["start", "end"], country: str | None) -> int:
    (stamp,) = {values[-8:] for values in rows(age, kind, country)}
    return int(struct.unpack(">q", stamp)[0])


@pytest.mark.parametrize(
    ("age", "seconds"),
    [
        (0, 31_536_001),  # from the whole second below to the one above
        (400, 31_536_000),
        (YEAR - 1, 1),
        (YEAR - 600, 1),
        (YEAR - 601, 2),
        (-300_000, 31_536_301),
    ],
)
def test_a_row_lives_to_the_whole_second_after_its_time(age: int, seconds: int) -> None:
    assert ttl(age) == seconds


def test_a_ttl_keeps_to_cassandras_bound() -> None:
    assert ttl(-1000, retention=MAX_TTL * 1000) == MAX_TTL


@pytest.mark.parametrize("age", [YEAR, YEAR + 1, 20 * YEAR])
def test_what_is_as_old_as_the_retention_is_discarded(age: int) -> None:
    assert rows(age) == ()


def test_the_timestamp_is_the_events_time_and_the_country_breaks_ties() -> None:
    micros = (NOW - 5) * 1000
    assert timestamp(5, "end", None) == micros
    assert timestamp(5, "start", "AA") == micros
    assert timestamp(5, "start", "ZZ") == micros + 675
    countries = [a + b for a in "AFZ" for b in "AFZ"]
    found = [timestamp(5, "start", country) for country in countries]
    assert found == sorted(set(found))


@pytest.mark.parametrize(
    ("age", "seconds"),
    [(0, 7201), (400, 7200), (2 * HOUR - 1, 1), (-300_000, 7501)],
)
def test_a_start_of_its_hour_lives_for_the_hours_of_countries(age: int, seconds: int) -> None:
    start, of_hour = rows(age, country_hours=2)
    assert ttl_of(of_hour) == seconds
    assert ttl_of(start) > 300 * 86_400


def test_a_start_of_its_hour_lives_no_longer_than_the_start() -> None:
    assert [ttl_of(values) for values in rows(0, retention=60.0)] == [61, 61]


@pytest.mark.parametrize("age", [2 * HOUR, 2 * HOUR + 1, YEAR - 1])
def test_an_older_start_is_not_among_the_starts_of_its_hour(age: int) -> None:
    assert len(rows(age, country_hours=2)) == 1


@pytest.mark.parametrize("age", [-300_000, 0, HOUR])
def test_without_hours_of_countries_no_start_is_among_the_starts_of_its_hour(age: int) -> None:
    assert len(rows(age, country_hours=0)) == 1


def test_an_end_is_one_row() -> None:
    assert len(rows(0, "end")) == 1


PLAYERS_AND_SESSIONS: dict[str, Callable[[int], tuple[int, int]]] = {
    "numbers in turn": lambda n: (n // 100, n % 100),
    "one player": lambda n: (7, n),
    "one session": lambda n: (n, 7),
    "both in step": lambda n: (n, n),
    "ids that begin with a time, as UUIDv7": lambda n: (7, (n << 80) + 11),
    "ids that end with the same half, as UUIDv1": lambda n: ((n << 96) + 5, (n << 64) + 11),
    "swapped": lambda n: (n, 1_000_000 - n),
}


@pytest.mark.parametrize("ids", PLAYERS_AND_SESSIONS)
@pytest.mark.parametrize("shards", [3, 8, 256])
def test_keys_of_starts_differ_and_fill_all_shards_evenly(ids: str, shards: int) -> None:
    pairs = [PLAYERS_AND_SESSIONS[ids](number) for number in range(25_600)]
    keys = [start_key(player.to_bytes(16), session.to_bytes(16)) for player, session in pairs]
    assert len(set(keys)) == len(keys)
    assert all(-(1 << 63) <= key < 1 << 63 for key in keys)
    filled = Counter(key % shards for key in keys)
    assert set(filled) == set(range(shards))
    assert max(filled.values()) < 1.6 * len(keys) / shards


def test_the_key_of_a_start_never_changes() -> None:
    player = UUID("00000000-0000-4000-8000-000000000001")
    session = UUID("00000000-0000-4000-8000-000000000002")
    assert start_key(player.bytes, session.bytes) == 6_492_976_283_114_404_257
