"""Draw the run: processor time per event or read, and latency at full and at half load."""

from __future__ import annotations

from dataclasses import replace
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

    full = [scenario for scenario in report.scenarios if not scenario.half]
    writes, reads = ([s for s in full if bool(s.batch) == wanted] for wanted in (True, False))
    kinds = [scenarios for scenarios in (writes, reads) if scenarios]
    columns, rows = max(map(len, kinds)), 2 * len(kinds)
    size = 5 * columns, 3.5 * rows
    figure, axes = pyplot.subplots(rows, columns, figsize=size, squeeze=False)
    for row, scenarios in zip(range(0, rows, 2), kinds, strict=True):
        axes[row][0].set_ylabel(f"server CPU, µs per {scenarios[0].unit}")
        axes[row + 1][0].set_ylabel("latency, ms (dashed: half load)")
        for column, scenario in enumerate(scenarios):
            _costs(axes[row][column], report, scenario)
            _latencies(axes[row + 1][column], report, scenario)
        for empty in axes[row : row + 2, len(scenarios) :].flat:
            empty.set_visible(False)
    figure.tight_layout()
    _explain(figure)
    figure.savefig(path, metadata={"Date": None}, bbox_inches="tight")
    pyplot.close(figure)


def _explain(figure: Any) -> None:
    """Say above all plots which color is whose, where no line is covered."""
    colors: dict[str, Any] = {}
    for each in figure.axes:
        handles, labels = each.get_legend_handles_labels()
        colors.update(zip(labels, handles, strict=True))
    figure.legend(
        colors.values(), colors, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=len(colors)
    )


def _costs(axes: Any, report: Report, scenario: Scenario) -> None:
    """Draw a bar per contender with its spread; the bar of the floor is a stack of its parts."""
    names = [n for n in report.measured(scenario.name) if n not in FLOOR_PARTS]
    spreads = [report.spread_of(name, scenario.name, "server_us") for name in names]
    medians = [each.median for each in spreads]
    reach = [
        [each.median - each.least for each in spreads],
        [each.most - each.median for each in spreads],
    ]
    colors = [_color(report, name) for name in names]
    axes.bar(names, medians, yerr=reach, color=colors, capsize=3)
    bottom = 0.0
    if set(FLOOR_PARTS) <= set(report.measured(scenario.name)):
        for part, color in zip(FLOOR_PARTS, ("tab:gray", "silver"), strict=True):
            height = report.spread_of(part, scenario.name, "server_us").median
            axes.bar([FLOOR], [height], bottom=bottom, color=color, label=part)
            bottom += height
    axes.set_yscale("log")
    axes.set_ylim(bottom=min([*medians, bottom or medians[0]]) / 3)
    axes.set_title(
        f"{scenario.batch} per request" if scenario.batch else f"{scenario.sessions:,} sessions"
    )
    axes.tick_params(axis="x", rotation=30)


def _latencies(axes: Any, report: Report, scenario: Scenario) -> None:
    half = replace(scenario, half=True)
    labels = [label for _, label in _PERCENTILES]
    for name in report.measured(half.name):
        for each, style in ((scenario, "-"), (half, "--")):
            values = [report.spread_of(name, each.name, m).median for m, _ in _PERCENTILES]
            label = name if style == "-" else None
            axes.plot(labels, values, style, color=_color(report, name), marker="o", label=label)
    axes.set_yscale("log")


def _color(report: Report, contender: str) -> str:
    names = [each.name for each in report.contenders]
    return f"C{names.index(contender)}"
