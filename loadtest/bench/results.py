"""The figures of a run: of each contender in each scenario, once per round."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from loadtest.bench.contenders import Contender
from loadtest.bench.generator import Measured

FLOOR = "floor"
FLOOR_PARTS = ("driver", "asgi")


@dataclass(frozen=True)
class Scenario:
    """Batches of `batch` events, or reads of a player with `sessions` sessions.

    half: an open loop at half of the rate that the contender reached at full load.
    """

    batch: int = 0
    sessions: int = 0
    half: bool = False

    @property
    def name(self) -> str:
        name = f"write-{self.batch}" if self.batch else f"read-{self.sessions}"
        return f"{name}-half" if self.half else name

    @property
    def unit(self) -> str:
        return "event" if self.batch else "read"


class Figure(msgspec.Struct, kw_only=True):
    """The figures of a contender in a scenario in one round; a unit is an event or a read."""

    round: int
    contender: str
    scenario: str
    units: int
    seconds: float
    per_second: float
    requests_per_second: float
    server_us: float
    cassandra_us: float
    request_threads_us: float  # of `cassandra_us`
    generator_us: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    p999_ms: float
    resident_mib: float  # of the server, just after the measurement; 0 without a server
    checked: int
    rate: float = 0.0  # requests per second of an open loop; 0 at full load
    shed_percent: float = 0.0  # share of an open loop's requests


class Spread(msgspec.Struct):
    median: float
    least: float
    most: float


def figure(
    number: int,
    contender: str,
    scenario: Scenario,
    measured: Measured,
    *,
    resident_mib: float,
    checked: int,
    rate: float,
) -> Figure:
    units = measured.requests * (scenario.batch or 1)
    ordered = sorted(measured.latencies) or [float("nan")]

    def percentile(share: float) -> float:
        return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    return Figure(
        round=number,
        contender=contender,
        scenario=scenario.name,
        units=units,
        seconds=measured.seconds,
        per_second=units / measured.seconds,
        requests_per_second=measured.requests / measured.seconds,
        server_us=1e6 * measured.server_cpu / units,
        cassandra_us=1e6 * measured.cassandra_cpu / units,
        request_threads_us=1e6 * measured.request_threads_cpu / units,
        generator_us=1e6 * measured.generator_cpu / units,
        p50_ms=percentile(0.5),
        p90_ms=percentile(0.9),
        p99_ms=percentile(0.99),
        p999_ms=percentile(0.999),
        resident_mib=resident_mib,
        checked=checked,
        rate=rate,
        shed_percent=100 * measured.shed / (measured.requests + measured.shed),
    )


def spread(values: Iterable[float]) -> Spread:
    ordered = sorted(values)
    return Spread(statistics.median(ordered), ordered[0], ordered[-1])


class Report:
    """The figures of a run; `extras` are lines below the tables."""

    def __init__(
        self,
        contenders: Sequence[Contender],
        scenarios: Sequence[Scenario],
        figures: list[Figure],
        extras: Sequence[str] = (),
    ) -> None:
        self.contenders = contenders
        self.scenarios = scenarios
        self.figures = figures
        self.extras = extras

    def values(self, contender: str, scenario: str, metric: str) -> list[float]:
        """Return one value per round; for the floor, the sum of its parts if both took part."""
        if contender == FLOOR:
            parts = [self.values(part, scenario, metric) for part in FLOOR_PARTS]
            return [sum(values) for values in zip(*parts, strict=True)] if all(parts) else []
        return [
            getattr(f, metric)
            for f in self.figures
            if (f.contender, f.scenario) == (contender, scenario)
        ]

    def spread_of(self, contender: str, scenario: str, metric: str) -> Spread:
        return spread(self.values(contender, scenario, metric))

    def measured(self, scenario: str) -> list[str]:
        """Return the contenders that took part in a scenario."""
        took_part = {f.contender for f in self.figures if f.scenario == scenario}
        return [each.name for each in self.contenders if each.name in took_part]

    def resident(self, contender: str) -> float:
        """Return the most memory in MiB seen after any measurement; 0 without a server."""
        return max((f.resident_mib for f in self.figures if f.contender == contender), default=0.0)
