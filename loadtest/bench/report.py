"""From the figures of all rounds to medians, expectations, JSON and tables."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from loadtest.bench.contenders import Contender
from loadtest.bench.generator import Measured
from loadtest.bench.page import machine

FLOOR = "floor"
FLOOR_PARTS = ("driver", "asgi")


@dataclass(frozen=True)
class Scenario:
    """Batches of `batch` events, or reads of a player with `sessions`.

    Full load, or an open loop at half of what the contender did at full load.
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
    p999_ms: float
    resident_mib: float  # of the server, just after; 0 where there is none
    checked: int
    shed_percent: float = 0.0  # of the requests of an open loop


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
    "p50_ms", "p90_ms", "p99_ms", "p999_ms", "resident_mib",
    "shed_percent",
)  # fmt: skip
_HEADS = {
    "per_second": "{}s/s",
    "server_us": "server µs/{}",
    "cassandra_us": "Cassandra µs/{}",
    "generator_us": "generator µs/{}",
    "p50_ms": "p50 ms",
    "p90_ms": "p90 ms",
    "p99_ms": "p99 ms",
    "p999_ms": "p99.9 ms",
    "shed_percent": "shed %",
}
_PERCENTILES = ("p50_ms", "p90_ms", "p99_ms", "p999_ms")


def figure(
    number: int,
    contender: str,
    scenario: Scenario,
    measured: Measured,
    *,
    resident_mib: float,
    checked: int,
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
        p999_ms=percentile(0.999),
        resident_mib=resident_mib,
        checked=checked,
        shed_percent=100 * measured.shed / (measured.requests + measured.shed),
    )


def spread(values: Iterable[float]) -> Spread:
    ordered = sorted(values)
    return Spread(statistics.median(ordered), ordered[0], ordered[-1])


class Report:
    """All figures of a run; `extras` are lines to stand below the tables."""

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

    def _of(self, contender: str, scenario: str, metric: str) -> list[float]:
        """One value per round; the floor's is the sum of its parts."""
        if contender == FLOOR:
            parts = [self._of(part, scenario, metric) for part in FLOOR_PARTS]
            return [sum(values) for values in zip(*parts, strict=True)]
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
        return [each.name for each in self.contenders if each.name in took_part]

    def expectations(self) -> list[Expectation]:
        """Those whose sides took part, by the ratios side by side within each round."""
        sizes = sorted(s.sessions for s in self.scenarios if s.sessions) or [0]
        few, many = f"read-{sizes[0]}", f"read-{sizes[-1]}"
        cost, rate, w10, w1 = "server_us", "per_second", "write-10", "write-1"
        cpu = "server CPU per event in 10-event batches"
        made = [
            self._expect(f"{cpu}: baseline / traced", ("baseline", "traced"), w10, cost, least=20),
            self._expect(
                "single-event requests per second: service / each-event",
                ("service", "each-event"), w1, rate, least=2,
            ),
            self._expect(f"{cpu}: service / bare", ("service", "bare"), w10, cost, most=1.3),
            self._expect(f"{cpu}: traced / floor", ("traced", FLOOR), w10, cost, most=1.5),
            self._expect(
                "events per second in 10-event batches: traced / service",
                ("traced", "service"), w10, rate, least=0.95,
            ),
            self._expect(f"{cpu}: traced / service", ("traced", "service"), w10, cost, most=1.05),
            self._expect(f"{cpu}: service / other", ("service", "other"), w10, cost),
            self._expect(
                "server CPU per event in single-event requests: service / other",
                ("service", "other"), w1, cost,
            ),
            self._expect(
                f"read p50: {sizes[-1]:,} sessions / {sizes[0]:,} sessions",
                ("service", "service"), (many, few), "p50_ms", most=1.5,
            ),
            self._memory(),
        ]  # fmt: skip
        return [each for each in made if each is not None]

    def _expect(
        self,
        what: str,
        sides: tuple[str, str],
        scenarios: str | tuple[str, str],
        metric: str,
        *,
        least: float | None = None,
        most: float | None = None,
    ) -> Expectation | None:
        """The ratio of two sides and its bar, if any; None where one side did not take part."""
        if isinstance(scenarios, str):
            scenarios = scenarios, scenarios
        above, below = (
            self._of(side, scenario, metric)
            for side, scenario in zip(sides, scenarios, strict=True)
        )
        if not above or not below:
            return None
        ratio = spread(a / b if b else float("nan") for a, b in zip(above, below, strict=True))
        if least is not None:
            return Expectation(what, ratio, f"≥ {least:g}", ratio.median >= least)
        if most is not None:
            return Expectation(what, ratio, f"≤ {most:g}", ratio.median <= most)
        return Expectation(what, ratio, "", True)

    def resident(self, contender: str) -> float:
        """MiB of memory, the most seen after any measurement; 0 where there is no server."""
        return max((f.resident_mib for f in self.figures if f.contender == contender), default=0.0)

    def _memory(self) -> Expectation | None:
        most = max(self.resident("service"), self.resident("traced"))
        if not most:
            return None
        bar = 100e6 / 2**20
        what = "resident memory of the service, MiB"
        return Expectation(what, Spread(most, most, most), "≤ 95 (100 MB)", most <= bar)

    def document(self, command: str, options: dict[str, Any]) -> dict[str, Any]:
        """What `--json` writes."""
        return {
            "date": datetime.now(UTC).isoformat(timespec="minutes"),
            "command": command,
            "options": options,
            "machine": machine(),
            "contenders": {each.name: each.what for each in self.contenders},
            "summary": {
                s.name: {
                    name: {m: self.spread_of(name, s.name, m) for m in METRICS}
                    for name in self.measured(s.name)
                }
                for s in self.scenarios
            },
            "expectations": self.expectations(),
            "extras": list(self.extras),
            "figures": self.figures,
        }

    def tables(self) -> str:
        """Markdown: full load, half load, reads, memory, expectations."""
        writes = [s for s in self.scenarios if s.batch and not s.half]
        halves = [s for s in self.scenarios if s.half]
        reads = [s for s in self.scenarios if s.sessions]
        full = ("per_second", "server_us", "cassandra_us", "generator_us", *_PERCENTILES)
        half = ("per_second", "server_us", *_PERCENTILES, "shed_percent")
        return "\n".join(
            [
                *self._table("full load", writes, full, floor=True),
                *self._table("half load", halves, half),
                *self._table("reads", reads, full[:-1]),
                *self._memories(),
                *self._verdicts(),
                *(f"{line}\n" for line in self.extras),
            ]
        )

    def _table(
        self,
        title: str,
        scenarios: list[Scenario],
        metrics: Sequence[str],
        *,
        floor: bool = False,
    ) -> list[str]:
        if not scenarios:
            return []
        unit = scenarios[0].unit
        head = [title, "contender", *(_HEADS[metric].format(unit) for metric in metrics)]
        lines = [_row(head), _row(["---"] * 2 + ["---:"] * (len(head) - 2))]
        for scenario in scenarios:
            label = f"{scenario.batch} per request" if scenario.batch else (
                f"{scenario.sessions:,} sessions"
            )  # fmt: skip
            names = self.measured(scenario.name)
            for name in names:
                cells = [
                    "" if set(values := self._of(name, scenario.name, metric)) <= {0.0}
                    else _cell(spread(values))
                    for metric in metrics
                ]  # fmt: skip
                lines.append(_row([label, name, *cells]))
            if floor and set(FLOOR_PARTS) <= set(names):
                cells = [
                    _cell(self.spread_of(FLOOR, scenario.name, m)) if m == "server_us" else ""
                    for m in metrics
                ]
                lines.append(_row([label, f"{FLOOR} = {' + '.join(FLOOR_PARTS)}", *cells]))
        return [*lines, ""]

    def _memories(self) -> list[str]:
        names = [each.name for each in self.contenders if self.resident(each.name)]
        return [
            _row(["resident memory", *names]),
            _row(["---", *["---:"] * len(names)]),
            _row(["MiB", *(_short(self.resident(name)) for name in names)]),
            "",
        ]

    def _verdicts(self) -> list[str]:
        lines = [_row(["expectation", "bar", "measured", "holds"]), _row(["---"] * 4)]
        for each in self.expectations():
            holds = "" if not each.bar else "yes" if each.holds else "**no**"
            lines.append(_row([each.what, each.bar, _cell(each.ratio), holds]))
        return [*lines, ""]


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _cell(value: Spread) -> str:
    if value.least == value.most:
        return _short(value.median)
    return f"{_short(value.median)} ({_short(value.least)}-{_short(value.most)})"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
