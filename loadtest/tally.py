"""Count the requests of each second in each process, and add the counts up at the master.

A request counts in the second in which it was *due*, so that a stall shows when it happened, and in
every request that waited for its end.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec

ACKNOWLEDGED, SHED, FAILED, MISSED = "acknowledged", "shed", "failed", "missed"
OUTCOMES = (ACKNOWLEDGED, SHED, FAILED, MISSED)
WRITE, READ = "write", "read"
KINDS = (WRITE, READ)
PERCENTILES = {"p50_ms": 0.5, "p90_ms": 0.9, "p99_ms": 0.99, "p999_ms": 0.999}

Figures = dict[str, float]
_Key = TypeVar("_Key", str, int)


class Cell(msgspec.Struct):
    """Counts of one second and kind.

    The counts are of requests by outcome and of acknowledged events. Latencies of acknowledged
    requests and lags of the generator are in ms, each value with its number of requests.
    """

    outcomes: dict[str, int] = {}
    events: int = 0
    latencies: dict[int, int] = {}
    lags: dict[int, int] = {}
    seconds: int = 0  # how long it counts; only `Tally.between` knows

    def add(self, other: Cell) -> None:
        self.events += other.events
        _add(self.outcomes, other.outcomes)
        _add(self.latencies, other.latencies)
        _add(self.lags, other.lags)

    @property
    def arrivals(self) -> int:
        return sum(self.outcomes.values())

    def share(self, *outcomes: str) -> float:
        return sum(self.outcomes.get(each, 0) for each in outcomes) / max(1, self.arrivals)

    def percentile(self, share: float) -> float:
        """Return a percentile in ms; NaN if nothing was acknowledged."""
        return _percentile(self.latencies, share)

    def figures(self) -> Figures:
        """Return the figures that thresholds may be set on."""
        seconds = max(1, self.seconds)
        return {
            **{name: self.percentile(share) for name, share in PERCENTILES.items()},
            "error_rate": self.share(FAILED),
            "shed_rate": self.share(SHED),
            "missed_rate": self.share(MISSED),
            "requests_per_second": self.outcomes.get(ACKNOWLEDGED, 0) / seconds,
            "events_per_second": self.events / seconds,
            "lag_p99_ms": _percentile(self.lags, 0.99),
        }


class Tally:
    """Cells by second (since 1970) and kind."""

    def __init__(self) -> None:
        self.seconds: dict[int, dict[str, Cell]] = {}

    def cell(self, at: float, kind: str) -> Cell:
        kinds = self.seconds.setdefault(int(at), {})
        if kind not in kinds:
            kinds[kind] = Cell()
        return kinds[kind]

    def missed(self, at: float, kind: str) -> None:
        self._outcome(self.cell(at, kind), MISSED)

    def sent(
        self, at: float, kind: str, outcome: str, latency: float, lag: float, events: int
    ) -> None:
        """Count a request that was due at `at`; latency and lag count from then, in seconds."""
        cell = self.cell(at, kind)
        self._outcome(cell, outcome)
        lag_ms = rounded(lag)
        cell.lags[lag_ms] = cell.lags.get(lag_ms, 0) + 1
        if outcome == ACKNOWLEDGED:
            cell.events += events
            latency_ms = rounded(latency)
            cell.latencies[latency_ms] = cell.latencies.get(latency_ms, 0) + 1

    @staticmethod
    def _outcome(cell: Cell, outcome: str) -> None:
        cell.outcomes[outcome] = cell.outcomes.get(outcome, 0) + 1

    def between(self, begin: float, end: float, kinds: Iterable[str] = KINDS) -> Cell:
        """Return the sum of the seconds whose middle lies in [begin, end)."""
        total = Cell(seconds=math.ceil(end - 0.5) - math.ceil(begin - 0.5))
        for second, cells in self.seconds.items():
            if begin <= second + 0.5 < end:
                for kind in kinds:
                    if kind in cells:
                        total.add(cells[kind])
        return total

    def at(self, second: int) -> Cell:
        """Return all kinds of one second."""
        total = Cell()
        for cell in self.seconds.get(second, {}).values():
            total.add(cell)
        return total

    def take(self) -> Any:
        """Return everything so far as plain data for the master, and start again from nothing."""
        taken, self.seconds = self.seconds, {}
        return msgspec.to_builtins(taken)

    def merge(self, taken: Any) -> None:
        for second, cells in msgspec.convert(taken, dict[int, dict[str, Cell]]).items():
            for kind, cell in cells.items():
                self.cell(second, kind).add(cell)


def rounded(seconds: float) -> int:
    """Return ms with two significant digits, so that there are few different values."""
    ms = max(0, round(seconds * 1000))
    return round(ms, 2 - len(str(ms))) if ms >= 100 else ms


def _add(total: dict[_Key, int], more: dict[_Key, int]) -> None:
    for key, many in more.items():
        total[key] = total.get(key, 0) + many


def _percentile(counts: dict[int, int], share: float) -> float:
    left = share * sum(counts.values())
    for value in sorted(counts):
        left -= counts[value]
        if left <= 0:
            return float(value)
    return math.nan
