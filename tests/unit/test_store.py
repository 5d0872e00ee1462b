"""A row's packed bytes: its TTL, its timestamp, and when there is none."""

from __future__ import annotations

import struct
from typing import Literal
from uuid import UUID

import pytest

from player_sessions.events import Event, from_ms
from player_sessions.rows import MAX_TTL
from tests.support import inserts

NOW = 1_795_000_000_400
YEAR = 365 * 86_400_000
ID = UUID(int=7)


def row(
    age: int,
    kind: Literal["start", "end"] = "start",
    country: str | None = "FI",
    retention: int = YEAR,
) -> bytes | None:
    event = Event(ID, ID, kind, from_ms(NOW - age), country)
    return inserts(retention).row(event, event.at_ms, NOW)


def ttl(age: int, retention: int = YEAR) -> int:
    values = row(age, retention=retention)
    assert values is not None
    return int(struct.unpack(">i", values[-16:-12])[0])


def timestamp(age: int, kind: Literal["start", "end"], country: str | None) -> int:
    values = row(age, kind, country)
    assert values is not None
    return int(struct.unpack(">q", values[-8:])[0])


@pytest.mark.parametrize(
    ("age", "seconds"),
    [
        (0, 31_536_001),  # to the whole second above, from the whole second below
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
    assert row(age) is None


def test_the_timestamp_is_the_events_time_and_the_country_breaks_ties() -> None:
    micros = (NOW - 5) * 1000
    assert timestamp(5, "end", None) == micros
    assert timestamp(5, "start", "AA") == micros
    assert timestamp(5, "start", "ZZ") == micros + 675
    countries = [a + b for a in "AFZ" for b in "AFZ"]
    found = [timestamp(5, "start", country) for country in countries]
    assert found == sorted(set(found))
