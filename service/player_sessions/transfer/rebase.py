"""Finds the time that --rebase moves to now, and refuses a newest time that looks wrong."""

from __future__ import annotations

import math
from itertools import pairwise

from player_sessions.rules.events import MAX_MS, BatchRefused, from_ms
from player_sessions.rules.players import PlayerOf, player_uuid
from player_sessions.transfer.input import Position, events_in, lines_of
from player_sessions.transfer.opening import TransferStopped
from player_sessions.transfer.progress import Progress

_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS
_MOST = 0.999  # of the events; what lies more than a day after them lies alone


def shown(ms: int) -> str:
    """Return a time as --rebase-to takes it."""
    return from_ms(ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def newest(
    names: list[str], progress: Progress, retention_ms: int, player_of: PlayerOf = player_uuid
) -> int:
    """Return the latest time (ms) of the events that could be stored.

    Raises TransferStopped where there is no event, or where that time is likely to be wrong.
    """
    times, position = _Times(), Position(names)
    for name in names:
        for line in lines_of(name):
            try:
                events = events_in(line, MAX_MS, 0, player_of)
            except BatchRefused:
                continue
            for event in events:
                times.add(event.at_ms)
            if line.number % 1000 == 0:
                progress.advance(times.count, position.part(name, line))
    if not times.count:
        raise TransferStopped("no event that could be stored was found, so nothing can be rebased")
    times.refuse_outlier(retention_ms)
    return times.newest


class _Times:
    """Times of any number of events, kept as the newest and the count of each hour."""

    def __init__(self) -> None:
        self.count = 0
        self._hours: dict[int, tuple[int, int]] = {}

    def add(self, at_ms: int) -> None:
        hour = at_ms // _HOUR_MS
        latest, count = self._hours.get(hour, (at_ms, 0))
        self._hours[hour] = (max(latest, at_ms), count + 1)
        self.count += 1

    @property
    def newest(self) -> int:
        return self._hours[max(self._hours)][0]

    def refuse_outlier(self, retention_ms: int) -> None:
        """Raise TransferStopped where the newest time lies alone, or would discard most events."""
        newest = self.newest
        old = sum(n for latest, n in self._hours.values() if latest < newest - retention_ms)
        if newest - self._percentile(_MOST) > _DAY_MS:
            others, why = self._before_gap(_MOST), "lies alone"
        elif old > self.count / 2:
            others = self._before_gap(0.5)
            why = f"would discard {old} of {self.count} events as older than the retention"
        else:
            return
        raise TransferStopped(
            f"the newest event, of {shown(newest)}, {why}: the widest gap before it ends at"
            f" {shown(others)}. Choose which time becomes now: --rebase-to {shown(others)}"
            f" (later events are rejected), or --rebase-to {shown(newest)}"
        )

    def _percentile(self, part: float) -> float:
        """Return the time which `part` of the events do not pass, between its two neighbours."""
        place = part * (self.count - 1)
        below = self._at(math.floor(place))
        return below + (place % 1) * (self._at(math.ceil(place)) - below)

    def _at(self, place: int) -> int:
        """Return the time of the event `place` (from 0) in order, to the hour."""
        for hour in sorted(self._hours):
            latest, count = self._hours[hour]
            if place < count:
                return latest
            place -= count
        return self.newest

    def _before_gap(self, part: float) -> int:
        """Return the time before the widest gap above the percentile `part`."""
        least = self._at(math.floor(part * (self.count - 1)))
        times = sorted(latest for latest, _ in self._hours.values() if latest >= least)
        gaps = ((after - before, before) for before, after in pairwise(times))
        return max(gaps, default=(0, self.newest))[1]
