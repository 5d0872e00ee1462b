"""What the bench expects of the figures, and whether it holds.

An expectation is a ratio of two figures, taken within each round; its median is judged. Without a
bar, the ratio is only shown.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from loadtest.bench.results import FLOOR, Report, Spread, spread

_MOST_MIB = 100e6 / 2**20


class Expectation(msgspec.Struct):
    what: str
    ratio: Spread
    bar: str
    holds: bool


class _Side(NamedTuple):
    contender: str
    scenario: str


class _Bar(NamedTuple):
    """The least or the most that the metric of `above` may be, as a multiple of that of `below`."""

    what: str
    above: _Side
    below: _Side
    metric: str
    least: float | None = None
    most: float | None = None


class _Ratio(NamedTuple):
    """A metric of a scenario, to compare two contenders by."""

    what: str
    scenario: str
    metric: str

    def of(
        self, above: str, below: str, *, least: float | None = None, most: float | None = None
    ) -> _Bar:
        sides = _Side(above, self.scenario), _Side(below, self.scenario)
        return _Bar(f"{self.what}: {above} / {below}", *sides, self.metric, least, most)


def expectations(report: Report) -> list[Expectation]:
    """Return the expectations whose two sides took part."""
    sizes = sorted(s.sessions for s in report.scenarios if s.sessions)
    bars = _writes() + (_reads(sizes[0], sizes[-1]) if sizes else [])
    judged = [*(_judge(report, bar) for bar in bars), _memory(report)]
    return [each for each in judged if each is not None]


def _writes() -> list[_Bar]:
    batches = _Ratio("server CPU per event in 10-event batches", "write-10", "server_us")
    rate = _Ratio("events per second in 10-event batches", "write-10", "per_second")
    single = _Ratio("server CPU per event in single-event requests", "write-1", "server_us")
    cassandra = [
        _Ratio(f"{of} per event in {requests}", scenario, metric)
        for requests, scenario in (
            ("10-event batches", "write-10"), ("single-event requests", "write-1")
        )
        for of, metric in (
            ("Cassandra CPU", "cassandra_us"),
            ("CPU of Cassandra's request threads", "request_threads_us"),
        )
    ]  # fmt: skip
    single_rate = _Ratio("single-event requests per second", "write-1", "per_second")
    return [
        batches.of("baseline", "service", least=20),
        batches.of("service", "peer", most=0.9),
        single.of("service", "peer", most=1.1),
        single_rate.of("service", "each-event", least=2),
        batches.of("service", "bare", most=1.3),
        batches.of("traced", FLOOR, most=1.5),
        rate.of("traced", "service", least=0.95),
        batches.of("traced", "service", most=1.05),
        batches.of("service", "other"),
        single.of("service", "other"),
        *(each.of("service", "other") for each in cassandra),
    ]


def _reads(few: int, many: int) -> list[_Bar]:
    """Return the expectations of reads of players with `few` and with `many` sessions."""
    name = f"read-{few}"
    cpu = _Ratio(f"server CPU per read of {few:,} sessions", name, "server_us")
    cassandra = _Ratio(f"Cassandra CPU per read of {few:,} sessions", name, "cassandra_us")
    made = [
        cpu.of("service", "peer", most=1.2),
        cpu.of("baseline", "service", least=6),
        cpu.of("service", "bare"),
        cpu.of("service", FLOOR),
        cpu.of("service", "other"),
        cassandra.of("service", "peer"),
        cassandra.of("service", "other"),
    ]
    if many > few:
        what = f"p50 of a read at half load: {many:,} sessions / {few:,} sessions"
        sides = _Side("service", f"read-{many}-half"), _Side("service", f"{name}-half")
        made.append(_Bar(what, *sides, "p50_ms", most=1.2))
    return made


def _judge(report: Report, bar: _Bar) -> Expectation | None:
    above, below = report.values(*bar.above, bar.metric), report.values(*bar.below, bar.metric)
    if not above or not below:
        return None
    ratio = spread(a / b if b else float("nan") for a, b in zip(above, below, strict=True))
    if bar.least is not None:
        return Expectation(bar.what, ratio, f"≥ {bar.least:g}", ratio.median >= bar.least)
    if bar.most is not None:
        return Expectation(bar.what, ratio, f"≤ {bar.most:g}", ratio.median <= bar.most)
    return Expectation(bar.what, ratio, "", True)


def _memory(report: Report) -> Expectation | None:
    most = max(report.resident("service"), report.resident("traced"))
    if not most:
        return None
    what = "resident memory of the service, MiB"
    return Expectation(what, Spread(most, most, most), "≤ 95 (100 MB)", most <= _MOST_MIB)
