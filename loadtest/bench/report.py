"""From the figures of all rounds to medians, expectations, JSON and tables."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from loadtest.bench.contenders import CONTENDERS
from loadtest.bench.generator import Measured
from loadtest.bench.page import machine


@dataclass(frozen=True)
class Scenario:
    """Batches of `batch` events, or reads of a player with `sessions`."""

    batch: int = 0
    sessions: int = 0

    @property
    def name(self) -> str:
        return f"write-{self.batch}" if self.batch else f"read-{self.sessions}"

    @property
    def unit(self) -> str:
        return "event" if self.batch else "read"


class Figure(msgspec.Struct, kw_only=True):
    """One contender in one scenario in one round; a unit is an event or a read."""

    round: int
    contender: str
    scenario: str
    units: int
    seconds: float
    per_second: float
    requests_per_second: float
    server_us: float
    cassandra_us: float
    generator_us: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    checked: int


class Spread(msgspec.Struct):
    median: float
    least: float
    most: float


class Expectation(msgspec.Struct):
    what: str
    ratio: Spread
    bar: str
    holds: bool


METRICS = (
    "per_second", "requests_per_second", "server_us", "cassandra_us", "generator_us",
    "p50_ms", "p90_ms", "p99_ms",
)  # fmt: skip


def figure(
    number: int, contender: str, scenario: Scenario, measured: Measured, checked: int
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
        generator_us=1e6 * measured.generator_cpu / units,
        p50_ms=percentile(0.5),
        p90_ms=percentile(0.9),
        p99_ms=percentile(0.99),
        checked=checked,
    )


def spread(values: Iterable[float]) -> Spread:
    ordered = sorted(values)
    return Spread(statistics.median(ordered), ordered[0], ordered[-1])


class Report:
    """All figures of a run."""

    def __init__(self, scenarios: list[Scenario], figures: list[Figure]) -> None:
        self.scenarios = scenarios
        self.figures = figures

    def _of(self, contender: str, scenario: str, metric: str) -> list[float]:
        """One value per round."""
        return [
            getattr(f, metric)
            for f in self.figures
            if (f.contender, f.scenario) == (contender, scenario)
        ]

    def spread_of(self, contender: str, scenario: str, metric: str) -> Spread:
        return spread(self._of(contender, scenario, metric))

    def measured(self, scenario: str) -> list[str]:
        """The contenders that took part in it."""
        took_part = {f.contender for f in self.figures if f.scenario == scenario}
        return [name for name in CONTENDERS if name in took_part]

    def expectations(self) -> list[Expectation]:
        """Each with the ratios of the rounds, side by side within a round."""
        sizes = sorted(s.sessions for s in self.scenarios if s.sessions)
        few, many = f"read-{sizes[0]}", f"read-{sizes[-1]}"
        cost, w10 = "server_us", "write-10"
        return [
            self._expect(
                "server CPU per event in 10-event batches: baseline / service",
                (("baseline", w10, cost), ("service", w10, cost)),
                at_least=12,
            ),
            self._expect(
                "single-event requests per second: service / each-event",
                (("service", "write-1", "per_second"), ("each-event", "write-1", "per_second")),
                at_least=2,
            ),
            self._expect(
                f"read p50: {sizes[-1]:,} sessions / {sizes[0]:,} sessions",
                (("service", many, "p50_ms"), ("service", few, "p50_ms")),
                at_most=1.5,
            ),
            self._expect(
                "server CPU per event in 10-event batches: service / bare ASGI",
                (("service", w10, cost), ("bare", w10, cost)),
                at_most=1.3,
            ),
        ]

    def _expect(
        self,
        what: str,
        sides: tuple[tuple[str, str, str], tuple[str, str, str]],
        *,
        at_least: float | None = None,
        at_most: float | None = None,
    ) -> Expectation:
        above, below = (self._of(*side) for side in sides)
        ratio = spread(a / b if b else float("nan") for a, b in zip(above, below, strict=True))
        if at_least is not None:
            return Expectation(what, ratio, f"≥ {at_least:g}", ratio.median >= at_least)
        assert at_most is not None
        return Expectation(what, ratio, f"≤ {at_most:g}", ratio.median <= at_most)

    def document(self, command: str, options: dict[str, Any]) -> dict[str, Any]:
        """What `--json` writes."""
        return {
            "date": datetime.now(UTC).isoformat(timespec="minutes"),
            "command": command,
            "options": options,
            "machine": machine(),
            "contenders": {name: each.what for name, each in CONTENDERS.items()},
            "summary": {
                s.name: {
                    name: {m: self.spread_of(name, s.name, m) for m in METRICS}
                    for name in self.measured(s.name)
                }
                for s in self.scenarios
            },
            "expectations": self.expectations(),
            "figures": self.figures,
        }

    def tables(self) -> str:
        """Markdown: a table of the writes, one of the reads, one of the expectations."""
        writes = [s for s in self.scenarios if s.batch]
        reads = [s for s in self.scenarios if s.sessions]
        return "\n".join(
            [
                *self._table(writes, "events", lambda s: f"{s.batch} per request"),
                *self._table(reads, "reads", lambda s: f"{s.sessions:,} sessions"),
                *self._verdicts(),
            ]
        )

    def _table(
        self, scenarios: list[Scenario], units: str, label: Callable[[Scenario], str]
    ) -> list[str]:
        unit = units[:-1]
        costs = [f"{who} µs/{unit}" for who in ("server", "Cassandra", "generator")]
        head = [units, "contender", f"{units}/s", *costs, "p50 ms", "p90 ms", "p99 ms"]
        lines = [_row(head), _row(["---"] * 2 + ["---:"] * (len(head) - 2))]
        metrics = [m for m in METRICS if m != "requests_per_second"]
        for scenario in scenarios:
            for name in self.measured(scenario.name):
                cells = [_cell(self.spread_of(name, scenario.name, m)) for m in metrics]
                lines.append(_row([label(scenario), name, *cells]))
        return [*lines, ""]

    def _verdicts(self) -> list[str]:
        lines = [_row(["expectation", "bar", "measured", "holds"]), _row(["---"] * 4)]
        for each in self.expectations():
            holds = "yes" if each.holds else "**no**"
            lines.append(_row([each.what, each.bar, _cell(each.ratio), holds]))
        return [*lines, ""]


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _cell(value: Spread) -> str:
    return f"{_short(value.median)} ({_short(value.least)}-{_short(value.most)})"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
