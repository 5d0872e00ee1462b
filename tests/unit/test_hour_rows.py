"""The starts of an hour: which rows a group commit makes of them, and how they are counted."""

from __future__ import annotations

import asyncio
import random
import struct
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.bench.plain_rows import packed_keys
from player_sessions.rules.countries import COUNTRIES
from player_sessions.rules.events import End, Start, from_ms
from player_sessions.store.hour_rows import (
    DistinctStarts,
    Part,
    start_key,
    unpacked_keys,
)
from player_sessions.store.rows import Row
from tests.support import inserts

NOW = 1_795_000_000_400
HOUR = 3_600_000
YEAR = 365 * 24 * HOUR
THIS_HOUR = NOW - NOW % HOUR
PLAYER, SESSION = UUID(int=1), UUID(int=2)
ALL = Part()
# Hour, shard, group commit, keys, TTL; each behind its length, and all behind the statement's head.
HEAD = struct.Struct(">4xq ih 4x16s i")


class HourRow(NamedTuple):
    """A packed row of `starts_by_hour`."""

    hour: int
    shard: int
    group_commit: bytes
    keys: tuple[int, ...]
    ttl: int


def hour_rows(*ages: int, **settings: float) -> list[HourRow]:
    """Return the rows of a group commit of starts of other sessions, with these ages (ms)."""
    packer = inserts(**settings)
    rows: list[Row] = []
    for number, age in enumerate(ages):
        start = Start(PLAYER, UUID(int=number), from_ms(NOW - age), "FI")
        rows += packer.rows(start, start.at_ms, NOW)
    return [hour_row(row) for row in packer.joined(rows, NOW)[len(ages) :]]


def hour_row(row: bytes) -> HourRow:
    values = row[1 + 2 + 16 + 2 :]  # behind the kind, the id of the statement, the number of values
    hour, _, shard, group_commit, size = HEAD.unpack_from(values)
    keys, rest = values[HEAD.size : HEAD.size + size], values[HEAD.size + size :]
    return HourRow(hour, shard, group_commit, tuple(unpacked_keys(keys)), int.from_bytes(rest[4:]))


def key(country: str = "FI", session: UUID = SESSION) -> int:
    return start_key(PLAYER.bytes, session.bytes, COUNTRIES.index(country))


def test_the_starts_of_one_hour_share_a_row() -> None:
    (row,) = hour_rows(*[0] * 40)
    assert row.hour == THIS_HOUR
    assert row.keys == tuple(key(session=UUID(int=n)) for n in range(40))


@pytest.mark.parametrize("shards", [1, 3, 256])
def test_group_commits_are_spread_evenly_over_the_shards(shards: int) -> None:
    filled = Counter(hour_rows(0, country_shards=shards)[0].shard for _ in range(20 * shards))
    assert set(filled) <= set(range(shards))
    assert max(filled.values()) < 60


def test_starts_of_different_hours_have_rows_of_their_own() -> None:
    rows = hour_rows(0, HOUR, 3 * HOUR, 0)
    assert {row.hour: len(row.keys) for row in rows} == {
        THIS_HOUR: 2, THIS_HOUR - HOUR: 1, THIS_HOUR - 3 * HOUR: 1
    }  # fmt: skip


def test_each_group_commit_has_rows_of_its_own_so_that_none_writes_over_another() -> None:
    (row,), (other,) = hour_rows(0), hour_rows(0)
    assert row.keys == other.keys
    assert row.group_commit != other.group_commit


@pytest.mark.parametrize(
    ("age", "seconds"),
    [(0, 7201), (400, 7200), (2 * HOUR - 1, 1), (-300_000, 7501)],
)
def test_a_row_lives_for_the_hours_of_countries(age: int, seconds: int) -> None:
    (row,) = hour_rows(age, country_hours=2)
    assert row.ttl == seconds


def test_a_row_lives_as_long_as_the_newest_of_its_starts() -> None:
    (row,) = hour_rows(1400, 400, 2400, country_hours=2)
    assert row.ttl == 7200


def test_a_row_lives_no_longer_than_its_events() -> None:
    (row,) = hour_rows(0, retention=60.0)
    assert row.ttl == 61


def test_a_row_that_waited_past_its_time_lives_for_a_second_not_for_ever() -> None:
    packer = inserts(country_hours=1)
    start = Start(PLAYER, SESSION, from_ms(NOW - HOUR + 1), "FI")
    _, late = packer.joined(packer.rows(start, start.at_ms, NOW), NOW + 5000)
    assert hour_row(late).ttl == 1


@pytest.mark.parametrize("age", [2 * HOUR, 2 * HOUR + 1, YEAR - 1])
def test_an_older_start_is_not_among_the_starts_of_its_hour(age: int) -> None:
    assert hour_rows(age, country_hours=2) == []


@pytest.mark.parametrize("age", [-300_000, 0, HOUR])
def test_without_hours_of_countries_no_start_is_among_the_starts_of_its_hour(age: int) -> None:
    assert hour_rows(age, country_hours=0) == []


def test_ends_have_no_row_of_an_hour() -> None:
    packer = inserts()
    end = End(PLAYER, SESSION, from_ms(NOW), "FI")
    assert len(packer.joined(packer.rows(end, end.at_ms, NOW), NOW)) == 1


def test_the_key_of_a_start_never_changes() -> None:
    player = UUID("00000000-0000-4000-8000-000000000001")
    session = UUID("00000000-0000-4000-8000-000000000002")
    found = start_key(player.bytes, session.bytes, COUNTRIES.index("FI"))
    hashed, finland = 6_492_976_283_114_404_257, 5 * 26 + 8
    assert found == (hashed * 1024 + finland) % 2**64


def test_a_key_names_its_country_and_differs_for_each_of_them() -> None:
    keys = {key(country) for country in COUNTRIES}
    assert len(keys) == 676
    assert count([sorted(keys)], most=1000) == dict.fromkeys(COUNTRIES, 1)


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
def test_keys_of_starts_differ_and_fill_buckets_and_parts_evenly(ids: str) -> None:
    pairs = [PLAYERS_AND_SESSIONS[ids](number) for number in range(25_600)]
    keys = [start_key(player.to_bytes(16), session.to_bytes(16), 7) for player, session in pairs]
    assert len(set(keys)) == len(keys)
    assert all(0 <= key < 1 << 64 for key in keys)
    quarters = [quarter for half in Part().halves() for quarter in half.halves()]
    for part, expected in ((Part(), 100), *((quarter, 25) for quarter in quarters)):
        starts = DistinctStarts(part, 100_000)
        asyncio.run(starts.add([packed_keys(keys)]))
        sizes = [len(bucket) for bucket in starts._buckets]
        assert len(sizes) == 256
        assert max(sizes) < 2 * expected + 20


def test_other_requests_go_on_while_the_keys_of_full_rows_are_taken() -> None:
    async def turns_of_the_loop() -> int:
        starts, turns = DistinctStarts(Part(), 100_000), 0
        taking = asyncio.create_task(starts.add([packed_keys(range(128))] * 500))
        while not taking.done():
            await asyncio.sleep(0)
            turns += 1
        return turns

    assert asyncio.run(turns_of_the_loop()) >= 500 * 128 // 4096


def count(rows: Sequence[Sequence[int]], most: int, part: Part = ALL) -> Counter[str]:
    """Count rows of keys as the store does: in halves where a part has too many keys."""

    async def counted() -> Counter[str] | None:
        starts = DistinctStarts(part, most)
        for keys in rows:
            await starts.add([packed_keys(keys)])
            if starts.full:
                return None
            assert sum(map(len, starts._buckets)) <= most
        return await starts.by_country()

    found = asyncio.run(counted())
    if found is None:
        one, other = part.halves()
        return count(rows, most, one) + count(rows, most, other)
    return found


@given(st.lists(st.lists(st.integers(0, 11)), max_size=8), st.integers(2, 60))
def test_each_key_counts_once_however_often_it_comes_and_in_however_many_parts(
    rows: list[list[int]], most: int
) -> None:
    chance = random.Random(1)
    keys = [
        start_key(chance.randbytes(16), chance.randbytes(16), COUNTRIES.index(country))
        for country in ("FI", "SE", "AA", "ZZ") for _ in range(3)
    ]  # fmt: skip
    countries = (COUNTRIES[keys[number] & 1023] for number in {n for row in rows for n in row})
    assert count([[keys[number] for number in row] for row in rows], most) == Counter(countries)
