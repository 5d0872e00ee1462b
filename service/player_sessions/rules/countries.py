"""Starts per country: which hours a question covers, how long a count is kept, and the sums.

An hour is named by its first millisecond. A start that is stored after its hour was counted is not
in the count, so no count is kept for long.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from string import ascii_uppercase

COUNTRIES = tuple(a + b for a, b in product(ascii_uppercase, repeat=2))  # a number for each
HOUR_MS = 3_600_000
MAX_SHARDS = 256  # the most that the setting `country_shards` allows
_LEAST_SECONDS = 60
_SHARE_OF_AGE = 10
_REST_PER_WORK = 10


@dataclass(frozen=True, eq=False)
class Count:
    """Starts by country, as known at `counted_at` (ms); each count is equal to itself only."""

    starts: Mapping[str, int]
    counted_at: int

    @property
    def total(self) -> int:
        """The starts of all countries."""
        return sum(self.starts.values())

    def ranked(self) -> list[tuple[str, int]]:
        """Return the countries with their starts, most starts first."""
        return sorted(self.starts.items(), key=lambda found: (-found[1], found[0]))


def hours_until(now: int, hours: int) -> list[int]:
    """Return the last `hours` hours, oldest first; the last is the one that `now` (ms) is in."""
    current = now - now % HOUR_MS
    return [current - back * HOUR_MS for back in reversed(range(hours))]


def expires_at(hour: int, counted_at: int, took: float) -> int:
    """Return when (ms) a count of `hour` must be made again; making it took `took` seconds.

    A count is kept for a tenth of the time since its hour ended. A late start is therefore shown
    after at most a tenth of its own lateness. A count is also kept for at least a minute, and for
    ten times as long as it took, which bounds what a client can make Cassandra count.
    """
    age = (counted_at - hour - HOUR_MS) / 1000
    kept = max(_LEAST_SECONDS, age / _SHARE_OF_AGE, took * _REST_PER_WORK)
    return counted_at + math.floor(kept) * 1000


def summed(counts: Iterable[Count], counted_at: int) -> Count:
    """Return the sum of `counts`; it is as old as the oldest of them, or `counted_at` if older."""
    starts: dict[str, int] = {}
    for count in counts:
        counted_at = min(counted_at, count.counted_at)
        for country, number in count.starts.items():
            starts[country] = starts.get(country, 0) + number
    return Count(starts, counted_at)
