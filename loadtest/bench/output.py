"""What a run prints and writes: Markdown tables, and all figures as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from loadtest import page
from loadtest.bench.expectations import expectations
from loadtest.bench.processes import go_version
from loadtest.bench.results import FLOOR, FLOOR_PARTS, Report, Scenario, Spread, spread

METRICS = (
    "per_second", "requests_per_second", "server_us",
    "cassandra_us", "request_threads_us", "generator_us",
    "p50_ms", "p90_ms", "p99_ms", "p999_ms", "resident_mib", "rate", "shed_percent",
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


def document(report: Report, options: dict[str, Any]) -> dict[str, Any]:
    """Return what `--json` writes."""
    about = page.about("bench")
    if any(each.source for each in report.contenders):
        about["machine"]["Go"] = go_version()
    return {
        **about,
        "options": options,
        "contenders": {each.name: each.what for each in report.contenders},
        "summary": {
            s.name: {
                name: {m: report.spread_of(name, s.name, m) for m in METRICS}
                for name in report.measured(s.name)
            }
            for s in report.scenarios
        },
        "expectations": expectations(report),
        "extras": list(report.extras),
        "figures": report.figures,
    }


def tables(report: Report) -> str:
    """Return Markdown tables: expectations, writes and reads at full and half load, memory."""
    writes = [s for s in report.scenarios if s.batch]
    reads = [s for s in report.scenarios if s.sessions]
    full = ("per_second", "server_us", "cassandra_us", "generator_us", *_PERCENTILES)
    half = ("per_second", "server_us", "cassandra_us", *_PERCENTILES, "shed_percent")
    return "\n".join(
        [
            *_verdicts(report),
            *_table(report, "writes, full load", [s for s in writes if not s.half], full),
            *_table(report, "writes, half load", [s for s in writes if s.half], half),
            *_table(report, "reads, full load", [s for s in reads if not s.half], full),
            *_table(report, "reads, half load", [s for s in reads if s.half], half),
            *_memories(report),
            *(f"{line}\n" for line in report.extras),
        ]
    )


def _table(
    report: Report,
    title: str,
    scenarios: list[Scenario],
    metrics: Sequence[str],
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
        names = report.measured(scenario.name)
        for name in names:
            cells = [
                "" if set(values := report.values(name, scenario.name, metric)) <= {0.0}
                else _cell(spread(values))
                for metric in metrics
            ]  # fmt: skip
            lines.append(_row([label, name, *cells]))
        if set(FLOOR_PARTS) <= set(names):
            cells = [
                _cell(report.spread_of(FLOOR, scenario.name, m)) if m == "server_us" else ""
                for m in metrics
            ]
            lines.append(_row([label, f"{FLOOR} = {' + '.join(FLOOR_PARTS)}", *cells]))
    return [*lines, ""]


def _memories(report: Report) -> list[str]:
    names = [each.name for each in report.contenders if report.resident(each.name)]
    return [
        _row(["resident memory", *names]),
        _row(["---", *["---:"] * len(names)]),
        _row(["MiB", *(_short(report.resident(name)) for name in names)]),
        "",
    ]


def _verdicts(report: Report) -> list[str]:
    lines = [_row(["expectation", "bar", "measured", "holds"]), _row(["---"] * 4)]
    for each in expectations(report):
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
