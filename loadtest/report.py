"""Write what a run leaves behind.

The files are Locust's report.html and requests.csv; seconds.csv and plot.svg with rate, latency
percentiles and errors over time; and result.json with the verdict.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

import msgspec
from locust import html
from locust.stats import PERCENTILES_TO_REPORT, StatsCSV

from loadtest.tally import ACKNOWLEDGED, KINDS, OUTCOMES, PERCENTILES, Figures, Tally

_COLUMNS = (
    ("events_per_second", "events/s"), ("requests_per_second", "requests/s"),
    ("p50_ms", "p50 ms"), ("p90_ms", "p90 ms"), ("p99_ms", "p99 ms"),
    ("error_rate", "errors"), ("shed_rate", "shed"), ("missed_rate", "missed"),
    ("lag_p99_ms", "own lag p99 ms"),
)  # fmt: skip


class Result(msgspec.Struct, kw_only=True):
    """The result of a run."""

    scenario: str
    begin: float
    end: float
    tally: Tally
    windows: dict[str, tuple[float, float]]
    figures: dict[str, Figures]
    breaches: list[str] = []
    remarks: list[str] = []


def write(folder: Path, result: Result, environment: Any) -> None:
    """Write all files; `environment` is Locust's."""
    folder.mkdir(parents=True, exist_ok=True)
    page: str = html.get_html_report(environment, show_download_link=False)  # type: ignore[no-untyped-call]
    (folder / "report.html").write_text(page)
    with (folder / "requests.csv").open("w", newline="") as file:
        StatsCSV(environment, PERCENTILES_TO_REPORT).requests_csv(csv.writer(file))
    with (folder / "seconds.csv").open("w", newline="") as file:
        seconds(file, result)
    plot(folder / "plot.svg", result)
    document = {
        "scenario": result.scenario,
        "seconds": result.end - result.begin,
        "figures": {k: {n: _plain(v) for n, v in f.items()} for k, f in result.figures.items()},
        "breaches": result.breaches,
        "remarks": result.remarks,
    }
    (folder / "result.json").write_bytes(msgspec.json.format(msgspec.json.encode(document)) + b"\n")


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else value


def seconds(file: TextIO, result: Result) -> None:
    """Write a row per second and kind of request."""
    out = csv.writer(file)
    out.writerow(["second", "kind", "events", *OUTCOMES, *PERCENTILES])
    for second in sorted(result.tally.seconds):
        for kind in KINDS:
            if cell := result.tally.seconds[second].get(kind):
                percentiles = [cell.percentile(share) for share in PERCENTILES.values()]
                outcomes = [cell.outcomes.get(each, 0) for each in OUTCOMES]
                since = second - int(result.begin)
                out.writerow([since, kind, cell.events, *outcomes, *percentiles])


def plot(path: Path, result: Result) -> None:
    """Draw three panels over the seconds of the run; the scenario's windows are shaded."""
    from matplotlib.figure import Figure  # slow to import, and workers do not need it

    first = int(result.begin)
    at = range(first, max(int(result.end), first) + 1)
    cells = [result.tally.at(second) for second in at]
    x = [second - first for second in at]
    figure = Figure(figsize=(9, 8), layout="constrained")
    rate, latency, bad = figure.subplots(3, sharex=True)
    for outcome in OUTCOMES:
        axes = rate if outcome == ACKNOWLEDGED else bad
        axes.plot(x, [cell.outcomes.get(outcome, 0) for cell in cells], label=outcome)
    rate.plot(x, [cell.events for cell in cells], label="events acknowledged")
    for name, share in PERCENTILES.items():
        latency.plot(x, [cell.percentile(share) for cell in cells], label=name.removesuffix("_ms"))
    rate.set(title=f"{result.scenario}: requests and events per second", ylim=(0, None))
    latency.set(title="latency from when a request was due, ms", yscale="symlog", ylim=(0, None))
    bad.set(title="requests not acknowledged, per second", xlabel="seconds", ylim=(0, None))
    for axes in (rate, latency, bad):
        for begin, end in result.windows.values():
            axes.axvspan(begin - result.begin, end - result.begin, alpha=0.08)
        axes.legend(loc="upper left", fontsize="small")
        axes.grid(alpha=0.3)
    figure.savefig(path)


def table(figures: Mapping[str, Figures]) -> str:
    """Return a line per section, for a terminal."""
    head = f"{'':10}" + "".join(f"{title:>15}" for _, title in _COLUMNS)
    lines = [head]
    for section, values in figures.items():
        if "p50_ms" in values:
            cells = "".join(f"{values[name]:>15.4g}" for name, _ in _COLUMNS)
            lines.append(f"{section:10}{cells}")
        else:
            pairs = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
            lines.append(f"{section:10} {pairs}")
    return "\n".join(lines)
