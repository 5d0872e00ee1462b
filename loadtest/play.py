"""The model of play that all scenarios share: who plays when, how long, and how it is reported.

Players follow a Zipf law, session lengths are log-normal, countries are mixed, and the rate may
follow a day's curve. A session is a pure function of the seed and its number, so a journal needs
only numbers and times. `Play` draws batches as a game server would send them: mixed from many
players, with a share of the events late, twice, or in the wrong order.
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
LONGEST_SECONDS = 86_400.0  # a bound on the log-normal lengths

_NAMES = list(COUNTRIES)
_SHARES = [total / sum(COUNTRIES.values()) for total in accumulate(COUNTRIES.values())]
_NORMAL = NormalDist()
_EPOCH = datetime(1970, 1, 1)
_WHOLE = float(1 << 64)
_SPREAD = 0x1E3779B97F4A7C15  # odd, so that multiplying by it can be undone
_LOW = (1 << 62) - 1
_NAMED = 7 << 61  # a variant that no real UUID has marks the players with ids of another kind
_UNSPREAD = pow(_SPREAD, -1, 1 << 62)
_LATE_MS = 3 * 86_400_000
_TWICE_MS = 10_000


class Mix(msgspec.Struct, frozen=True, kw_only=True):
    """The kind of play; shares are of sessions (late, swapped) or of events (twice)."""

    players: int = 100_000
    zipf: float = 0.8
    session_seconds: float = 30.0  # the median; sigma is that of the logarithm
    sigma: float = 1.0
    batch: int = 10
    late: float = 0.02
    twice: float = 0.02
    swapped: float = 0.02
    named: float = 0.0  # share of players whose id is not a UUID


def player_id(player: UUID) -> str:
    """Return the id under which the player is sent: 32 digits, or text that is no UUID."""
    return f"game/{player.hex} ä" if player.int & _NAMED == _NAMED else player.hex


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
            f'{{"player_id":"{player_id(self.player)}","event":"{self.kind}",{country}'
            f'"session_id":"{self.session}","ts":"{at}Z"}}'
        )


class Session(NamedTuple):
    player: UUID
    id: UUID
    country: str
    length_ms: int
    late_ms: int  # how long after the session its events are sent; 0: as they happen
    swapped: bool


def zipf_rank(share: float, players: int, exponent: float) -> int:
    """Return the rank (0 is the most active) on which `share` in [0, 1) falls."""
    rest = 1 - exponent or 1e-9  # the formula is undefined at 1
    return min(players - 1, int((1 + share * ((players + 1) ** rest - 1)) ** (1 / rest)) - 1)


def session_seconds(share: float, median: float, sigma: float) -> float:
    deviation = _NORMAL.inv_cdf(min(max(share, 1e-9), 1 - 1e-9))
    return min(LONGEST_SECONDS, median * math.exp(sigma * deviation))


def country(share: float) -> str:
    return _NAMES[bisect(_SHARES, share)]


def day_curve(share: float) -> float:
    """Return the rate at a share of the day, relative to the day's mean: low at 5, high at 20."""
    evening, noon = math.cos(2 * math.pi * (share - 20 / 24)), math.cos(4 * math.pi * (share - 0.5))
    return 1 + 0.6 * evening + 0.15 * noon


class Model:
    """Sessions by number and players by rank; the same seed and mix make the same ones."""

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
        player = UUID(bytes=drawn.digest(), version=4)
        share = (player.int >> 64) / _WHOLE  # the version takes 4 of these bits, which is no harm
        return UUID(int=player.int | _NAMED) if share < self.mix.named else player

    def number_of(self, session: UUID) -> int | None:
        """Return the number of a session of this seed, or None for any other session."""
        number = (session.int & _LOW) * _UNSPREAD & _LOW
        return number if self.session(number).id == session else None

    def event(self, token: str, origin_ms: int) -> Event:
        """Return the event of a token.

        A token is a hexadecimal number, `+` (start) or `-` (end), and the start's ms since origin.
        """
        sign = "+" if "+" in token else "-"
        number, _, offset = token.partition(sign)
        session, at = self.session(int(number, 16)), origin_ms + int(offset, 16)
        if sign == "+":
            return Event("start", session.player, session.id, at, session.country)
        return Event("end", session.player, session.id, at + session.length_ms, None)


class Batch(NamedTuple):
    tokens: list[str]  # what the journal records
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
        self._told: list[tuple[int, int, str]] = []  # a heap of (due time, order, token)
        self._order = count()
        self._sessions = count()

    def next(self, now_ms: int) -> Batch:
        """Return 1 to `mix.batch` events: those that are due, then sessions that begin."""
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
        """Send the events of a batch without acknowledgement again, from then on."""
        for token in batch.tokens:
            self._tell(at_ms, token)

    def reader(self) -> str:
        """Return the id of a player to read; active players are read more often."""
        mix = self.model.mix
        rank = zipf_rank(self._draw.random(), mix.players, mix.zipf)
        return player_id(self.model.player(rank))

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
