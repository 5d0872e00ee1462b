"""Starts per country: what is counted, for how long a count is kept, and who counts when."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import product
from string import ascii_uppercase
from typing import Any
from uuid import UUID

import pytest
from cassandra.query import BatchStatement, BatchType

from dev.cluster import Cluster
from dev.game_events import now_ms
from dev.service import new_keyspace, run_schema_apply, wait_for
from loadtest.bench.plain_rows import packed_keys
from player_sessions.rules import countries as rules
from player_sessions.rules.countries import COUNTRIES, Count, expires_at, hours_until
from player_sessions.rules.events import from_ms, to_ms
from player_sessions.store import countries
from player_sessions.store.countries import COUNTED, MAX_WAITING
from player_sessions.store.hour_rows import DistinctStarts
from player_sessions.store.store import StoreError
from player_sessions.telemetry.metrics import REGISTRY
from tests.store.conftest import RunningStore
from tests.support import settings_of

KEYS = iter(lambda: random.getrandbits(54), -1)  # endless


class Tables:
    """The two tables of starts per country, written and read by plain CQL."""

    def __init__(self, cluster: Cluster, keyspace: str, session: Any) -> None:
        self._cluster = cluster
        self._keyspace = keyspace
        self._session = session
        self._insert = session.prepare(
            f"INSERT INTO {keyspace}.starts_by_hour (hour, shard, group_commit, start_keys)"
            " VALUES (?, ?, ?, ?)"
        )

    def add(self, hour: int, shard: int, starts: Mapping[str, int]) -> None:
        """Write so many starts of each country into one shard of an hour, each in its own row."""
        numbers = [COUNTRIES.index(c) for c, n in starts.items() for _ in range(n)]
        self.add_keys(hour, shard, [[next(KEYS) << 10 | number] for number in numbers])

    def add_keys(self, hour: int, shard: int, rows: Sequence[Sequence[int]]) -> None:
        """Write rows with these keys into one shard of an hour."""
        for first in range(0, len(rows), 500):
            batch = BatchStatement(BatchType.UNLOGGED)
            for keys in rows[first : first + 500]:
                values = from_ms(hour), shard, UUID(bytes=os.urandom(16)), packed_keys(keys)
                batch.add(self._insert, values)
            self._session.execute(batch)

    def kept(self) -> list[Any]:
        """Return (hour, country, starts, counted_at, TTL, timestamp) of the kept counts."""
        rows = self._session.execute(
            "SELECT hour, country, starts, counted_at, TTL(starts), WRITETIME(starts)"
            f" FROM {self._keyspace}.start_counts"
        )
        return [(to_ms(hour), c, n, to_ms(at), *using) for hour, c, n, at, *using in rows]

    def forget_counts(self) -> None:
        self._session.execute(f"TRUNCATE {self._keyspace}.start_counts")

    @contextmanager
    def service(self, **changes: str) -> Iterator[RunningStore]:
        """Run a store with nothing in memory, and with a deadline for a busy machine."""
        changes = {"DEADLINE": "60s", **changes}
        with RunningStore(settings_of(self._cluster, self._keyspace, **changes)) as running:
            yield running.connected()


@pytest.fixture(scope="module")
def tables_of_module(cassandra: Cluster, superuser: Any) -> Tables:
    name = new_keyspace()
    run_schema_apply(cassandra, name)
    return Tables(cassandra, name, superuser)


@pytest.fixture
def tables(tables_of_module: Tables, superuser: Any) -> Tables:
    for table in ("starts_by_hour", "start_counts"):
        superuser.execute(f"TRUNCATE {tables_of_module._keyspace}.{table}")
    return tables_of_module


def asked(running: RunningStore, hours: int = 3) -> dict[int, dict[str, int]]:
    """Ask a store, without hours that have no start."""
    found = running.call(running.store.starts(hours))
    assert len(found) == hours
    return {hour: dict(made.starts) for hour, made in found.items() if made.starts}


def measured(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"player_sessions_country_{name}", labels) or 0


def hour_ago(hours: int) -> int:
    """Return an hour of the last three, which stays among them when the next hour begins."""
    return hours_until(now_ms(), 3)[-1 - hours]


def test_every_shard_that_has_rows_is_counted_whatever_the_setting_says(tables: Tables) -> None:
    hour = hour_ago(1)
    for shard in (0, 7, 8, 255):
        tables.add(hour, shard, {"FI": 1, "SE": shard + 1})
    with tables.service(COUNTRY_SHARDS="1") as running:
        assert asked(running) == {hour: {"FI": 4, "SE": 274}}


def test_an_hour_of_many_rows_and_of_all_countries_is_counted_whole(tables: Tables) -> None:
    """The rows come in many pages, and the counts of all countries are kept in one batch."""
    hour = hour_ago(0)
    every = {"".join(pair): 1 for pair in product(ascii_uppercase, repeat=2)}
    large = every | {"AA": 17_000, "MM": 5_000, "ZZ": 6_001}
    tables.add(hour, 3, large)
    with tables.service() as running:
        assert asked(running) == {hour: large}
    with tables.service() as another:
        assert asked(another) == {hour: large}


def test_a_start_counts_once_however_often_it_was_sent(tables: Tables) -> None:
    hour, (one, two, three) = hour_ago(1), (5 << 10, 6 << 10, 7 << 10 | 675)
    tables.add_keys(hour, 2, [[one, two], [two, one, three], *[[one]] * 2500])
    tables.add_keys(hour, 0, [[three, one]])  # sent again, in another group commit
    with tables.service() as running:
        assert asked(running) == {hour: {"AA": 2, "ZZ": 1}}


def test_an_hour_with_more_keys_than_the_memory_may_hold_is_counted_in_parts(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(countries, "MOST_KEYS", 300)
    monkeypatch.setattr(countries, "PAGE_ROWS", 10)
    hour, most = hour_ago(1), 0
    keys = [next(KEYS) << 10 | number % 676 for number in range(3000)]
    for shard in (2, 5):  # 5 of each 20 twice in each shard, and all in both
        tables.add_keys(hour, shard, [keys[n : n + 20] for n in range(0, 3000, 15)])
    add = DistinctStarts.add

    async def adding(starts: DistinctStarts, rows: Iterable[bytes]) -> None:
        nonlocal most
        await add(starts, rows)
        most = max(most, starts._held)

    monkeypatch.setattr(DistinctStarts, "add", adding)
    with tables.service() as running:
        found = asked(running)
    assert found == {hour: Counter(COUNTRIES[key & 1023] for key in keys)}
    assert 200 < most <= 300 + 2 * 10 * 20  # the limit, and a page of each of two shards


def test_hours_and_shards_without_starts_are_remembered(tables: Tables) -> None:
    with tables.service() as running:
        assert asked(running, 5) == {}
    assert {(country, starts) for _, country, starts, *_ in tables.kept()} == {(COUNTED, 0)}
    counted = measured("hours_total", kind="counted")
    with tables.service() as another:
        assert asked(another, 5) == {}
    assert measured("hours_total", kind="counted") <= counted + 1  # a new hour may have begun


def test_a_count_is_taken_from_memory_then_from_cassandra(tables: Tables) -> None:
    tables.add(hour_ago(1), 0, {"FI": 3})
    kinds = ("memory", "kept", "counted")

    def asked_and_counted(running: RunningStore) -> tuple[list[float], float]:
        before = [measured("hours_total", kind=kind) for kind in kinds]
        rows = measured("rows_read_total")
        asked(running)
        after = [measured("hours_total", kind=kind) for kind in kinds]
        more = [now - then for now, then in zip(after, before, strict=True)]
        return more, measured("rows_read_total") - rows

    with tables.service() as running:
        assert asked_and_counted(running) == ([0, 0, 3], 3)
        assert asked_and_counted(running) == ([3, 0, 0], 0)
    with tables.service() as another:
        assert asked_and_counted(another) == ([0, 3, 0], 0)


def test_a_kept_count_lives_as_long_as_the_rules_say(tables: Tables) -> None:
    hours = hours_until(now_ms(), 20)
    for hour in (hours[0], hours[-2]):
        tables.add(hour, 5, {"FI": 1})
    with tables.service() as running:
        asked(running, 20)
        now = now_ms()
    kept = tables.kept()
    assert {(hour, country) for hour, country, *_ in kept} >= {
        (hours[0], "FI"), (hours[0], COUNTED), (hours[-2], "FI"), (hours[-1], COUNTED)
    }  # fmt: skip
    for hour, country, _, counted_at, ttl, timestamp in kept:
        expected = (expires_at(hour, counted_at, took=0.0) - now) / 1000
        assert expected - 20 < ttl < expected + 20, (hour, country)
        assert timestamp == counted_at * 1000
        assert now - 60_000 < counted_at <= now


def test_a_late_start_is_shown_once_the_count_has_expired(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    hour = hour_ago(0)
    tables.add(hour, 0, {"FI": 1})
    with tables.service() as running:
        assert asked(running) == {hour: {"FI": 1}}
        tables.add(hour, 0, {"FI": 1})
        tables.add(hour, 1, {"SE": 1})
        assert asked(running) == {hour: {"FI": 1}}  # the count is kept for a minute
    monkeypatch.setattr(rules, "_LEAST_SECONDS", 1)
    tables.forget_counts()
    with tables.service() as another:
        assert asked(another) == {hour: {"FI": 2, "SE": 1}}
        tables.add(hour, 2, {"SE": 4})
        wait_for(lambda: asked(another) == {hour: {"FI": 2, "SE": 5}}, what="it is shown")


def test_of_two_counts_the_later_one_is_kept(tables: Tables) -> None:
    hour, now = hour_ago(1), now_ms()
    with tables.service() as running:
        counting = running.store._countries
        for made in (Count({"FI": 2, "SE": 1}, now), Count({"FI": 1}, now - 5000)):
            running.call(counting._save(hour, made, 0.0))
        kept = running.call(counting._load(hour))
    assert kept is not None
    assert (kept.count.starts, kept.count.counted_at) == ({"FI": 2, "SE": 1}, now)


def outcomes(running: RunningStore, requests: int, hours: int) -> list[Any]:
    """Ask so many times at once."""

    async def ask() -> list[Any]:
        asking = (running.store.starts(hours) for _ in range(requests))
        return await asyncio.gather(*asking, return_exceptions=True)

    return running.call(ask())


def test_requests_at_the_same_time_wait_for_one_count(tables: Tables) -> None:
    for hour in hours_until(now_ms(), 12):
        for shard in range(4):
            tables.add(hour, shard, {"FI": 100})
    rows = measured("rows_read_total")
    with tables.service() as running:
        found = outcomes(running, MAX_WAITING, 12)
    assert [sum(count.total for count in each.values()) for each in found] == [4800] * MAX_WAITING
    assert measured("rows_read_total") == rows + 4800


def test_no_more_than_some_requests_wait_so_that_other_reads_go_on(tables: Tables) -> None:
    with tables.service() as running:
        found = outcomes(running, MAX_WAITING + 9, 12)
    refused = [each for each in found if isinstance(each, StoreError)]
    assert [error.reason.name for error in refused] == ["too-many-reads"] * 9


def test_a_count_goes_on_where_the_deadline_ended_the_one_before(tables: Tables) -> None:
    hours = hours_until(now_ms(), 30)
    for hour, shard in product(hours, range(8)):
        tables.add(hour, shard, {"FI": 50, "SE": 10})
    rows = measured("rows_read_total")
    reasons = []
    with tables.service(DEADLINE="50ms", SPECULATION_AFTER="50ms") as running:

        def whole() -> Any:
            try:
                return asked(running, 30)
            except StoreError as error:
                reasons.append(error.reason.name)
                return None

        found = wait_for(whole, seconds=60, what="all hours are counted")
    assert set(reasons) == {"still-counting"}
    expected = {"FI": 400, "SE": 80}
    assert [found[hour] for hour in hours[1:]] == [expected] * 29
    assert measured("rows_read_total") <= rows + 30 * 480 + 480  # the hour under way may expire


def test_what_was_counted_is_found_again_after_a_restart(tables: Tables) -> None:
    hours = hours_until(now_ms(), 168)
    for hour, shard in product(hours[1:11], range(4)):
        tables.add(hour, shard, {"FI": 50})
    rows, kept = measured("rows_read_total"), measured("hours_total", kind="kept")
    with tables.service(DEADLINE="50ms", SPECULATION_AFTER="50ms") as running:
        while measured("rows_read_total") < rows + 1000:
            with pytest.raises(StoreError):
                asked(running, 168)
    with tables.service() as another:
        assert list(asked(another, 168).values()) == [{"FI": 200}] * 10
    assert measured("hours_total", kind="kept") > kept
    # The process that stopped lost at most the hour that it was counting.
    assert measured("rows_read_total") <= rows + 2000 + 200


def test_two_services_may_count_at_the_same_time(tables: Tables) -> None:
    hours = hours_until(now_ms(), 10)
    for hour, shard in product(hours, range(8)):
        tables.add(hour, shard, {"FI": 20, "SE": shard})
    expected = {hour: {"FI": 160, "SE": 28} for hour in hours}

    with tables.service() as one, tables.service() as other:
        futures = [
            asyncio.run_coroutine_threadsafe(each.store.starts(10), each.loop)
            for each in (one, other)
        ]
        for future in futures:
            found = {hour: dict(count.starts) for hour, count in future.result(60).items()}
            assert {h: c for h, c in found.items() if c} == expected
        assert asked(one, 10) == asked(other, 10) == expected
