"""Starts per country: counts of whole hours, which are made on request and kept for a while.

An hour's starts lie in several partitions of `starts_by_hour`, its shards. A count reads them all
and counts each key once, since a start that is sent again may stand in another shard. The count is
kept in `start_counts` until it expires. The next question, to this process or to another one, goes
on from what is kept. This process also keeps the counts in memory.

At most MOST_KEYS keys of an hour are in memory: an hour with more is counted in parts, for each of
which it is read again.

All shards that have rows are counted, whatever the setting says: another process may write with
another number of shards, or may have done so before.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from player_sessions.rules import countries as rules
from player_sessions.rules.countries import Count
from player_sessions.rules.events import from_ms, to_ms
from player_sessions.rules.reasons import STILL_COUNTING, TOO_MANY_READS
from player_sessions.store.connector import Connector
from player_sessions.store.errors import StoreError, counted
from player_sessions.store.hour_rows import DistinctStarts, Part
from player_sessions.store.packing import packed
from player_sessions.store.requests import Rows
from player_sessions.telemetry import metrics

if TYPE_CHECKING:
    from player_sessions.telemetry.tracing import Tracing

COUNTED = ""  # the country of a row that only says that its hour was counted
SHARDS_AT_ONCE = 2
MOST_KEYS = 4_000_000  # of one hour in memory, where they take some 45 MB
PAGE_ROWS = 500  # read at once; unpacking them must not hold up the loop for long
STATEMENT_SECONDS = 60.0  # the most that a statement may take
_FIRST = UUID(int=0)  # before each group commit
MAX_WAITING = 16  # requests that may wait for a count; they must not use up the limit of reads
_SHARDS = list(range(rules.MAX_SHARDS))
_SECONDS = metrics.COUNTRY_SECONDS.labels()
_FROM = {kind: metrics.COUNTRY_HOURS.labels(kind) for kind in ("memory", "kept", "counted")}


@dataclass(frozen=True, slots=True)
class _Kept:
    """A count, and until when (loop time) it may be used."""

    count: Count
    until: float


class CountryStarts:
    """Answers questions for starts per country; makes one count at a time."""

    def __init__(
        self,
        connector: Connector,
        deadline: float,
        clock: Callable[[], int],
        tracing: Tracing | None = None,
    ) -> None:
        self._connector = connector
        self._deadline = deadline
        self._clock = clock
        self._tracing = tracing
        self._loop = asyncio.get_running_loop()
        self._kept: dict[int, _Kept] = {}
        self._counting: asyncio.Task[None] | None = None
        self._waiting = 0

    async def counts(self, hours: Sequence[int]) -> list[Count]:
        """Return the counts of these hours; raises StoreError when some take too long to count.

        Counting goes on to the end of the hour under way, also when no request waits any more. So
        each further request finds more hours counted, however short the deadline is.
        """
        until = self._loop.time() + self._deadline
        missing = self._missing(hours)
        _FROM["memory"].inc(len(hours) - len(missing))
        while missing:
            await self._wait(missing, until)
            missing = self._missing(hours)
        return [self._kept[hour].count for hour in hours]

    def close(self) -> None:
        """Stop counting; what is kept by then stays kept."""
        if self._counting is not None:
            self._counting.cancel()

    def _missing(self, hours: Sequence[int]) -> list[int]:
        now = self._loop.time()
        return [
            hour for hour in hours if (kept := self._kept.get(hour)) is None or kept.until <= now
        ]

    async def _wait(self, missing: Sequence[int], until: float) -> None:
        """Wait until the count under way ends, or one of `missing` if there is none."""
        left = until - self._loop.time()
        if left <= 0:
            raise StoreError(STILL_COUNTING, "some hours are not counted yet")
        if self._waiting >= MAX_WAITING:
            raise StoreError(TOO_MANY_READS, "too many requests wait for a count")
        counting = self._counting
        if counting is None or counting.done():
            counting = self._loop.create_task(self._count_hours(missing, until))
            counting.add_done_callback(_retrieve)
            self._counting = counting
        self._waiting += 1
        try:
            await asyncio.wait({counting}, timeout=left)
        finally:
            self._waiting -= 1
        if counting.done():
            counting.result()

    async def _count_hours(self, hours: Sequence[int], until: float) -> None:
        """Count `hours` in turn; begin no further hour after `until`.

        The oldest come first, since their counts are kept for the longest time.
        """
        self._drop_expired()
        for hour in hours:
            if self._loop.time() >= until:
                return
            self._kept[hour] = await self._hour(hour)

    def _drop_expired(self) -> None:
        now = self._loop.time()
        self._kept = {hour: kept for hour, kept in self._kept.items() if kept.until > now}

    async def _hour(self, hour: int) -> _Kept:
        """Return the count of an hour: the kept one, or a new one."""
        if kept := await self._load(hour):
            _FROM["kept"].inc()
            return kept
        begun, counted_at = time.perf_counter(), self._clock()
        shards = [row[0] for row in await self._fetch("shards", from_ms(hour), _SHARDS)]
        count = Count(await self._distinct(hour, shards, Part()), counted_at)
        took = time.perf_counter() - begun
        _SECONDS.observe(took)
        _FROM["counted"].inc()
        return await self._save(hour, count, took)

    async def _distinct(self, hour: int, shards: Sequence[int], part: Part) -> Counter[str]:
        """Return the starts by country of a part of an hour; of its halves if it is too large."""
        starts = DistinctStarts(part, MOST_KEYS)
        for first in range(0, len(shards), SHARDS_AT_ONCE):
            some = shards[first : first + SHARDS_AT_ONCE]
            await asyncio.gather(*(self._read(hour, shard, starts) for shard in some))
        if not starts.full:
            return await starts.by_country()
        del starts
        one, other = part.halves()
        return await self._distinct(hour, shards, one) + await self._distinct(hour, shards, other)

    async def _read(self, hour: int, shard: int, starts: DistinctStarts) -> None:
        """Add the keys of a shard to `starts`, unless those become too many."""
        after = _FIRST
        while not starts.full:
            rows = await self._fetch("start_keys", from_ms(hour), shard, after, PAGE_ROWS)
            metrics.COUNTRY_ROWS.inc(len(rows))
            await starts.add(keys for _, keys in rows)
            if len(rows) < PAGE_ROWS:
                return
            after = rows[-1][0]

    async def _load(self, hour: int) -> _Kept | None:
        """Return a count that is kept in Cassandra, or None."""
        rows = await self._fetch("kept_counts", from_ms(hour))
        if not rows or rows[0][0] != COUNTED:
            return None
        (_, _, counted_at, ttl), *others = rows
        count = Count({country: starts for country, starts, *_ in others}, to_ms(counted_at))
        return _Kept(count, self._loop.time() + ttl)

    async def _save(self, hour: int, count: Count, took: float) -> _Kept:
        """Keep a count in Cassandra, for as long as the rules say.

        The rows carry the time of the count as their timestamp: of two processes that count at the
        same time, the later count wins. They are one mutation, so a reader sees all or none.
        """
        left = rules.expires_at(hour, count.counted_at, took) - self._clock()
        ttl = max(1, math.ceil(left / 1000))
        connected = self._connector.ready()
        bind = connected.statements["keep_count"].bind
        using = from_ms(count.counted_at), ttl, count.counted_at * 1000
        bound = [
            bind((from_ms(hour), country, starts, *using))
            for country, starts in ((COUNTED, 0), *count.starts.items())
        ]
        batch = connected.inserts.batch([packed(each) for each in bound], bound[0].routing_key)
        try:
            await connected.client.fetch(batch, STATEMENT_SECONDS)
        except Exception as error:
            raise counted(error) from error
        return _Kept(count, self._loop.time() + ttl)

    async def _fetch(self, name: str, *values: Any) -> Rows:
        """Return the rows of one prepared query; raises StoreError.

        They fit into the driver's first page of 5,000, since there are 256 shards and 676 countries
        at most, and keys are asked for in smaller pages.
        """
        table = "start_counts" if name == "kept_counts" else "starts_by_hour"
        connected = self._connector.ready()
        statement = connected.statements[name].bind(values)
        return await connected.fetch(statement, table, STATEMENT_SECONDS, self._tracing)


def _retrieve(counting: asyncio.Task[None]) -> None:
    """Take the error of a count for which no request waits any more; the metrics have it."""
    if not counting.cancelled():
        counting.exception()
