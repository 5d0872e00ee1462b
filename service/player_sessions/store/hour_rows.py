"""The starts of an hour as rows: how they are written, and how they are counted.

A row of `starts_by_hour` holds the keys of all starts that one group commit has for an hour and a
shard, since each row costs Cassandra something (docs/adr/0016). A start that is sent again stands
in a second row, so counting looks at the keys.
"""

from __future__ import annotations

import struct
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


def start_key(player: bytes, session: bytes, country: int) -> int:
    """Return the key of a start among the starts of its hour, a number of 64 bits.

    Its low 10 bits are the number of the country. The others are a part of Cassandra's own hash of
    a partition key, Murmur3, since the driver has it in C: it takes a quarter of the time of
    BLAKE2b. A key never changes, so a start that is sent again has the same key, and it names no
    person.
    """
    key: int = (murmur3(player + session) << _COUNTRY_BITS | country) & _WHOLE_KEY
    return key


def shard_of(key: int, shards: int) -> int:
    """Return which of so many shards of its hour a start belongs to."""
    return (key >> _COUNTRY_BITS) % shards


class HourRows:
    """Packs the starts of a group commit as rows of `starts_by_hour`.

    `retention` (ms) says for how long a start is counted; 0: no start is.
    """

    def __init__(self, statement: PreparedStatement, settings: Settings) -> None:
        self.retention = min(settings.country_hours * HOUR_MS, settings.retention_ms)
        self._shards = settings.country_shards
        self._packer = cache(lambda keys: packer(statement, 5, 8, f"q ih i16s i{keys}Q ii"))

    def rows(self, starts: Iterable[StartOfHour], now: int) -> list[bytes]:
        """Return the packed rows, one for each hour and shard; a row lives as its newest start."""
        places: dict[tuple[int, int], list[int]] = {}  # the newest start's time, and all keys
        shards, retention = self._shards, self.retention
        for at, key in starts:
            place = at - at % HOUR_MS, shard_of(key, shards)
            found = places.get(place)
            if found is None:
                places[place] = [at, key]
            else:
                found[0] = max(found[0], at)
                found.append(key)
        group, second, rows = urandom(16), now // 1000, []
        for (hour, shard), (newest, *keys) in places.items():
            ttl = max(1, -(-(newest + retention) // 1000) - second)
            pack, size = self._packer(len(keys)), _KEY_BYTES * len(keys)
            rows.append(pack(hour, 2, shard, 16, group, size, *keys, 4, ttl))
        return rows


def unpacked_keys(packed: bytes) -> Sequence[int]:
    """Return the keys of `start_keys`."""
    return struct.unpack(f">{len(packed) // _KEY_BYTES}Q", packed)


@dataclass(frozen=True, slots=True)
class Part:
    """The keys whose highest `bits` bits are `number`: all keys, or a half, a quarter and so on."""

    number: int = 0
    bits: int = 0

    def halves(self) -> tuple[Part, Part]:
        """Return the two parts of this part."""
        bits = self.bits + 1
        return Part(2 * self.number, bits), Part(2 * self.number + 1, bits)

    def of(self, keys: Iterable[int]) -> set[int]:
        """Return those of `keys` that belong to this part."""
        if not self.bits:
            return set(keys)
        low = _KEY_BITS - self.bits
        return {key for key in keys if key >> low == self.number}


class DistinctStarts:
    """Counts starts by country, each key once; all keys of the part are in memory meanwhile."""

    def __init__(self, part: Part) -> None:
        self._part = part
        self._seen: set[int] = set()
        self._numbers: Counter[int] = Counter()

    def __len__(self) -> int:
        return len(self._seen)

    def add(self, rows: Iterable[bytes]) -> None:
        """Count the keys of these rows that were not seen yet; a row is `start_keys`."""
        new = self._part.of(unpacked_keys(b"".join(rows))) - self._seen
        self._seen |= new
        self._numbers.update(map(and_, new, repeat(_COUNTRY)))

    def by_country(self) -> Counter[str]:
        """Return the starts of each country."""
        return Counter({COUNTRIES[number]: n for number, n in self._numbers.items()})
