"""An event's packed rows: their TTLs, their timestamps, and when there is none."""

from __future__ import annotations

import struct
from typing import Literal
from uuid import UUID

import pytest

from player_sessions.rules.events import End, Start, from_ms
from player_sessions.store.rows import MAX_TTL, Row
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
) -> tuple[Row, ...]:
    at = from_ms(NOW - age)
    event = Start(ID, ID, at, country or "") if kind == "start" else End(ID, ID, at, country)
    return inserts(**settings).rows(event, event.at_ms, NOW)


def ttl(age: int, retention: int = YEAR) -> int:
    row = rows(age, retention=retention / 1000)[0]
    assert type(row) is bytes
    return int(struct.unpack(">i", row[-16:-12])[0])


def timestamp(age: int, kind: Literal["start", "end"], country: str | None) -> int:
    row = rows(age, kind, country)[0]
    assert type(row) is bytes
    return int(struct.unpack(">q", row[-8:])[0])


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


def test_an_end_is_one_row() -> None:
    assert len(rows(0, "end")) == 1
