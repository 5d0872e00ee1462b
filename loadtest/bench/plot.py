"""Draw the run: processor time per event, and latency at full and at half load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

from loadtest.bench.results import FLOOR, FLOOR_PARTS, Report, Scenario

_PERCENTILES = (("p50_ms", "p50"), ("p90_ms", "p90"), ("p99_ms", "p99"), ("p999_ms", "p99.9"))


def write(path: Path, report: Report) -> None:
    """Write an SVG; the same figures make the same file."""
    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "player-sessions"
    from matplotlib import pyplot

    writes = [s for s in report.scenarios if s.batch and not s.half]
    figure, axes = pyplot.subplots(2, len(writes), figsize=(5 * len(writes), 7), squeeze=False)
    for column, scenario in enumerate(writes):
        _costs(axes[0][column], report, scenario)
        _latencies(axes[1][column], report, scenario)
    axes[0][0].set_ylabel("server CPU, µs per event")
    axes[1][0].set_ylabel("latency, ms (full; dashed: half load)")
    axes[1][0].legend()
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def _costs(axes: Any, report: Report, scenario: Scenario) -> None:
    """Draw a bar per contender with its spread; the bar of the floor is a stack of its parts."""
    names = [n for n in report.measured(scenario.name) if n not in FLOOR_PARTS]
    spreads = [report.spread_of(name, scenario.name, "server_us") for name in names]
    medians = [each.median for each in spreads]
    reach = [
        [each.median - each.least for each in spreads],
        [each.most - each.median for each in spreads],
    ]
    axes.bar(names, medians, yerr=reach, color="tab:blue", capsize=3)
    bottom = 0.0
    if set(FLOOR_PARTS) <= set(report.measured(scenario.name)):
        for part, color in zip(FLOOR_PARTS, ("tab:gray", "silver"), strict=True):
            height = report.spread_of(part, scenario.name, "server_us").median
            axes.bar([FLOOR], [height], bottom=bottom, color=color, label=part)
            bottom += height
        axes.legend()
    axes.set_yscale("log")
    axes.set_ylim(bottom=min([*medians, bottom or medians[0]]) / 3)
    axes.set_title(f"{scenario.batch} per request")
    axes.tick_params(axis="x", rotation=30)


def _latencies(axes: Any, report: Report, scenario: Scenario) -> None:
    half = Scenario(batch=scenario.batch, half=True)
    labels = [label for _, label in _PERCENTILES]
    for number, name in enumerate(report.measured(half.name)):
        for each, style in ((scenario, "-"), (half, "--")):
            values = [report.spread_of(name, each.name, m).median for m, _ in _PERCENTILES]
            label = name if style == "-" else None
            axes.plot(labels, values, style, color=f"C{number}", marker="o", label=label)
    axes.set_yscale("log")
