"""The model of play that all scenarios share: who plays, when, how long, and how it is told.

Players by a Zipf law, session lengths log-normal, a mix of countries, a day's curve. A session is
a pure function of the seed and its number, so that a journal needs only numbers and times to say
what was sent. `Play` draws batches as a game server would send them: mixed from many players, a
share of the events late, twice, or in the wrong order.
"""

from __future__ import annotations

import heapq
import math
import random
import struct
from bisect import bisect
from datetime import datetime, timedelta
from functools import lru_cache
from hashlib import blake2b
from itertools import accumulate, count
from statistics import NormalDist
from typing import NamedTuple
from uuid import UUID

import msgspec

COUNTRIES = {
    "US": 24, "BR": 14, "ID": 11, "DE": 9, "TR": 8, "GB": 7, "FR": 7, "UK": 5, "JP": 5, "KR": 5,
    "FI": 3, "SE": 2,
}  # fmt: skip
LONGEST_SECONDS = 86_400.0  # no session is longer, whatever the law says

_NAMES = list(COUNTRIES)
_SHARES = [total / sum(COUNTRIES.values()) for total in accumulate(COUNTRIES.values())]
_NORMAL = NormalDist()
_EPOCH = datetime(1970, 1, 1)
_WHOLE = float(1 << 64)
_SPREAD = 0x1E3779B97F4A7C15  # odd, so that multiplying by it can be undone
_LOW = (1 << 62) - 1
_UNSPREAD = pow(_SPREAD, -1, 1 << 62)
_LATE_MS = 3 * 86_400_000
_TWICE_MS = 10_000


class Mix(msgspec.Struct, frozen=True, kw_only=True):
    """What kind of play: the shares are of sessions (late, swapped) or of events (twice)."""

    players: int = 100_000
    zipf: float = 0.8
    session_seconds: float = 30.0  # the median; sigma is that of the logarithm
    sigma: float = 1.0
    batch: int = 10
    late: float = 0.02
    twice: float = 0.02
    swapped: float = 0.02


class Event(NamedTuple):
    kind: str
    player: UUID
    session: UUID
    at_ms: int
    country: str | None

    def json(self) -> str:
        country = f'"country":"{self.country}",' if self.country else ""
        at = (_EPOCH + timedelta(milliseconds=self.at_ms)).isoformat(timespec="milliseconds")
        return (
            f'{{"player_id":"{self.player.hex}","event":"{self.kind}",{country}'
            f'"session_id":"{self.session}","ts":"{at}Z"}}'
        )


class Session(NamedTuple):
    player: UUID
    id: UUID
    country: str
    length_ms: int
    late_ms: int  # how long after it was played it is told; 0: as it happens
    swapped: bool


def zipf_rank(share: float, players: int, exponent: float) -> int:
    """The rank, 0 the most active, of whom `share` in [0, 1) falls on."""
    rest = 1 - exponent or 1e-9  # at 1 the formula has a gap
    return min(players - 1, int((1 + share * ((players + 1) ** rest - 1)) ** (1 / rest)) - 1)


def session_seconds(share: float, median: float, sigma: float) -> float:
    deviation = _NORMAL.inv_cdf(min(max(share, 1e-9), 1 - 1e-9))
    return min(LONGEST_SECONDS, median * math.exp(sigma * deviation))


def country(share: float) -> str:
    return _NAMES[bisect(_SHARES, share)]


def day_curve(share: float) -> float:
    """The rate at a share of the day, as a multiple of the day's mean: low at 5, high at 20."""
    evening, noon = math.cos(2 * math.pi * (share - 20 / 24)), math.cos(4 * math.pi * (share - 0.5))
    return 1 + 0.6 * evening + 0.15 * noon


class Model:
    """Sessions by number, players by rank: the same for the same seed and mix."""

    def __init__(self, seed: str, mix: Mix) -> None:
        self.seed = seed
        self.mix = mix
        self._key = blake2b(seed.encode(), digest_size=32).digest()
        self.session = lru_cache(1 << 16)(self._session)
        self.player = lru_cache(1 << 16)(self._player)

    def _session(self, number: int) -> Session:
        drawn = blake2b(number.to_bytes(8, "big"), key=self._key, digest_size=40).digest()
        who, where, length, told, high = struct.unpack(">5Q", drawn)
        mix = self.mix
        late, swapped = told / _WHOLE, (told << 32) % (1 << 64) / _WHOLE
        seconds = session_seconds(length / _WHOLE, mix.session_seconds, mix.sigma)
        return Session(
            player=self.player(zipf_rank(who / _WHOLE, mix.players, mix.zipf)),
            id=UUID(int=high << 64 | number * _SPREAD & _LOW, version=4),
            country=country(where / _WHOLE),
            length_ms=round(seconds * 1000),
            late_ms=round(late / mix.late * _LATE_MS) if late < mix.late else 0,
            swapped=swapped < mix.swapped,
        )

    def _player(self, rank: int) -> UUID:
        drawn = blake2b(rank.to_bytes(8, "big"), key=self._key, person=b"player", digest_size=16)
        return UUID(bytes=drawn.digest(), version=4)

    def number_of(self, session: UUID) -> int | None:
        """The number of a session of this seed; None for any other."""
        number = (session.int & _LOW) * _UNSPREAD & _LOW
        return number if self.session(number).id == session else None

    def event(self, token: str, origin_ms: int) -> Event:
        """What `token` stands for: hexadecimal number, + start or - end, start's ms from origin."""
        sign = "+" if "+" in token else "-"
        number, _, offset = token.partition(sign)
        session, at = self.session(int(number, 16)), origin_ms + int(offset, 16)
        if sign == "+":
            return Event("start", session.player, session.id, at, session.country)
        return Event("end", session.player, session.id, at + session.length_ms, None)


class Batch(NamedTuple):
    tokens: list[str]  # what a journal says of it
    body: str
    events: int


class Play:
    """Draws the batches of one process, in the order in which they are to be sent.

    Times are ms since 1970 UTC; `origin_ms` lies before the earliest late session.
    """

    def __init__(self, model: Model, begin_ms: int) -> None:
        self.model = model
        self.origin_ms = begin_ms - _LATE_MS - round(LONGEST_SECONDS * 1000)
        self._draw = random.Random(model.seed)
        self._told: list[tuple[int, int, str]] = []  # heap: when, in which order, what
        self._order = count()
        self._sessions = count()

    def next(self, now_ms: int) -> Batch:
        """1 to `mix.batch` events: what is due, then sessions that begin."""
        size = self._draw.randint(1, self.model.mix.batch)
        tokens: list[str] = []
        while len(tokens) < size:
            if not self._told or self._told[0][0] > now_ms:
                self._begin(now_ms)
                continue
            token = heapq.heappop(self._told)[2]
            tokens.append(token)
            if self._draw.random() < self.model.mix.twice:
                self._tell(now_ms + self._draw.randrange(_TWICE_MS), token)
        events = (self.model.event(token, self.origin_ms).json() for token in tokens)
        return Batch(tokens, f'{{"events":[{",".join(events)}]}}', len(tokens))

    def again(self, batch: Batch, at_ms: int) -> None:
        """It was not acknowledged: its events are sent again from then on."""
        for token in batch.tokens:
            self._tell(at_ms, token)

    def reader(self) -> str:
        """The id of a player to look at: the active are looked at more."""
        mix = self.model.mix
        return self.model.player(zipf_rank(self._draw.random(), mix.players, mix.zipf)).hex

    def _begin(self, now_ms: int) -> None:
        number = next(self._sessions)
        session = self.model.session(number)
        played_ms = session.late_ms + session.length_ms if session.late_ms else 0
        offset = now_ms - played_ms - self.origin_ms
        events = [(now_ms, f"{number:x}+{offset:x}")]
        events.append((now_ms + session.length_ms - played_ms, f"{number:x}-{offset:x}"))
        if session.swapped:
            events = [events[1], (events[1][0], events[0][1])]
        for at, token in events:
            self._tell(max(now_ms, at), token)

    def _tell(self, at_ms: int, token: str) -> None:
        heapq.heappush(self._told, (at_ms, next(self._order), token))
