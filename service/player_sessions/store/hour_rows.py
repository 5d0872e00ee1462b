"""The starts of an hour as rows: how they are written, and how they are counted.

A row of `starts_by_hour` holds the keys of all starts that one group commit has for an hour, since
each row costs Cassandra something (docs/adr/0016). A start that is sent again stands in a second
row, so counting looks at the keys.
"""

from __future__ import annotations

import asyncio
import struct
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import repeat
from operator import and_
from os import urandom
from typing import TypeAlias

from cassandra.murmur3 import murmur3
from cassandra.query import PreparedStatement

from player_sessions.rules.countries import COUNTRIES, HOUR_MS
from player_sessions.settings import Settings
from player_sessions.store.packing import packer

StartOfHour: TypeAlias = tuple[int, int]  # when the session began (ms), and its key
_COUNTRY_BITS = 10
_COUNTRY = (1 << _COUNTRY_BITS) - 1
_KEY_BITS = 64
_KEY_BYTES = _KEY_BITS // 8
_WHOLE_KEY = (1 << _KEY_BITS) - 1
_BUCKET_BITS = 8
_SLICE_BYTES = 4096 * _KEY_BYTES  # of keys that are put into buckets at once
_MIX = int.from_bytes(urandom(8)) | 1  # odd, so that mixed keys differ as the keys do


def start_key(player: bytes, session: bytes, country: int) -> int:
    """Return the key of a start among the starts of its hour, a number of 64 bits.

    Its low 10 bits are the number of the country. The others are a part of Cassandra's own hash of
    a partition key, Murmur3, since the driver has it in C: it takes a quarter of the time of
    BLAKE2b. A key never changes, so a start that is sent again has the same key, and it names no
    person.
    """
    key: int = (murmur3(player + session) << _COUNTRY_BITS | country) & _WHOLE_KEY
    return key


def shard_of(group_commit: bytes, shards: int) -> int:
    """Return which of so many shards of an hour the row of a group commit stands in."""
    return int.from_bytes(group_commit[:4]) % shards


class HourRows:
    """Packs the starts of a group commit as rows of `starts_by_hour`.

    `retention` (ms) says for how long a start is counted; 0: no start is.
    """

    def __init__(self, statement: PreparedStatement, settings: Settings) -> None:
        self.retention = min(settings.country_hours * HOUR_MS, settings.retention_ms)
        self._shards = settings.country_shards
        self._packer = cache(lambda keys: packer(statement, 5, 8, f"q ih i16s i{keys}Q ii"))

    def rows(self, starts: Iterable[StartOfHour], now: int) -> list[bytes]:
        """Return the packed rows, one for each hour; a row lives as long as its newest start."""
        hours: dict[int, list[int]] = {}  # the newest start's time, and all keys
        for at, key in starts:
            hour = at - at % HOUR_MS
            found = hours.get(hour)
            if found is None:
                hours[hour] = [at, key]
            else:
                found[0] = max(found[0], at)
                found.append(key)
        group, second, rows = urandom(16), now // 1000, []
        shard = shard_of(group, self._shards)
        for hour, (newest, *keys) in hours.items():
            ttl = max(1, -(-(newest + self.retention) // 1000) - second)
            pack, size = self._packer(len(keys)), _KEY_BYTES * len(keys)
            rows.append(pack(hour, 2, shard, 16, group, size, *keys, 4, ttl))
        return rows


def unpacked_keys(packed: bytes) -> Sequence[int]:
    """Return the keys of `start_keys`."""
    return struct.unpack(f">{len(packed) // _KEY_BYTES}Q", packed)


@dataclass(frozen=True, slots=True)
class Part:
    """The keys whose mixed value begins with the `bits` bits of `number`; all keys by default."""

    number: int = 0
    bits: int = 0

    def halves(self) -> tuple[Part, Part]:
        """Return the two parts of this part."""
        bits = self.bits + 1
        return Part(2 * self.number, bits), Part(2 * self.number + 1, bits)


class DistinctStarts:
    """Counts the starts of a part of the keys by country, each key once.

    A set takes ten times the memory of its keys. So the keys are put into buckets, 8 bytes for each
    key, and one bucket at a time is made a set. Each bucket gets as many keys as any other, since a
    number that only this process knows mixes the keys: no client can choose ids for one bucket.
    """

    def __init__(self, part: Part, most: int) -> None:
        """`most` is how many keys may be in memory."""
        self.full = False  # the part has too many keys, and must be counted in halves
        self._part = part
        self._most = most
        self._buckets = [array("Q") for _ in range(1 << _BUCKET_BITS)]
        self._held = 0

    async def add(self, rows: Iterable[bytes]) -> None:
        """Take the keys of these rows; a row is `start_keys`."""
        packed = b"".join(rows)
        for begin in range(0, len(packed), _SLICE_BYTES):
            self._put(unpacked_keys(packed[begin : begin + _SLICE_BYTES]))
            await asyncio.sleep(0)  # other requests go on
        if self._held > self._most:
            await self._drop_repeated()

    def _put(self, keys: Iterable[int]) -> None:
        """Put those of the keys into buckets that are in the part."""
        buckets, number = self._buckets, self._part.number
        outside = _KEY_BITS - self._part.bits
        inside, last = outside - _BUCKET_BITS, len(buckets) - 1
        for key in keys:
            mixed = key * _MIX & _WHOLE_KEY
            if mixed >> outside == number:
                buckets[mixed >> inside & last].append(key)
                self._held += 1

    async def _drop_repeated(self) -> None:
        """Keep each key once; the part is full when that makes little room."""
        for bucket in self._buckets:
            distinct = array("Q", set(bucket))
            self._held -= len(bucket) - len(distinct)
            bucket[:] = distinct
            await asyncio.sleep(0)
        self.full = self._held > self._most // 2

    async def by_country(self) -> Counter[str]:
        """Return the starts of each country."""
        numbers: Counter[int] = Counter()
        for bucket in self._buckets:
            numbers.update(map(and_, set(bucket), repeat(_COUNTRY)))
            await asyncio.sleep(0)
        return Counter({COUNTRIES[number]: n for number, n in numbers.items()})
