"""Ramp: add users step by step until the service no longer keeps up, and name the knee.

The service keeps up with a step while the p90 latency and the share of unacknowledged requests stay
within --knee-ms and --knee-bad. The knee is the last step before one with which it does not.
"""

from __future__ import annotations

import math
import time
from typing import Any

from locust import LoadTestShape

from loadtest.harness import Options, Scenario, Window, install
from loadtest.report import Result
from loadtest.tally import Cell, Figures
from loadtest.users import GameServer

_SETTLING = 0.25  # share of a step that is not judged, while queues fill


class RampServer(GameServer):
    """The default game server."""


def users(options: Options, step: int) -> int:
    count: float = (options.num_users or 1) * options.factor**step
    return math.ceil(count)


class Ramp(Scenario):
    name = "ramp"
    known = {"knee": {"events_per_second", "requests_per_second", "users", "p90_ms"}}

    def add_options(self, add: Any) -> None:
        add("--step-seconds", type=float, default=20.0, help="length of a step (%(default)s)")
        add("--steps", type=int, default=16, help="most steps (%(default)s)")
        add(
            "--factor",
            type=float,
            default=1.4,
            help="how many times as many users in the next step (%(default)s)",
        )
        add(
            "--knee-ms",
            type=float,
            default=500.0,
            help="p90 latency that is too slow (%(default)s)",
        )
        add(
            "--knee-bad",
            type=float,
            default=0.01,
            help="share of unacknowledged requests that is too high (%(default)s)",
        )

    def windows(self, options: Options, begin: float, end: float) -> dict[str, Window]:
        length = options.step_seconds
        steps = min(options.steps, int((end - begin + 1) / length))
        return {
            f"step {step + 1}": (begin + (step + _SETTLING) * length, begin + (step + 1) * length)
            for step in range(steps)
        }

    def figures(self, result: Result, options: Options) -> dict[str, Figures]:
        """Return the knee's figures and a sentence that names the knee."""
        knee: Figures = {"events_per_second": 0, "requests_per_second": 0, "users": 0, "p90_ms": 0}
        said = "no knee: every step was carried; allow more --steps or a larger --factor"
        for step, (since, until) in enumerate(result.windows.values()):
            cell = result.tally.between(since, until)
            figures = cell.figures()
            if not carried(cell, options):
                said = _sentence(knee, figures, users(options, step), options)
                break
            knee = {name: figures[name] for name in knee if name != "users"}
            knee["users"] = users(options, step)
        result.remarks.append(said)
        return {"knee": knee}


def carried(cell: Cell, options: Options) -> bool:
    bad = cell.share("failed", "shed", "missed")
    return bool(cell.percentile(0.9) <= options.knee_ms and bad <= options.knee_bad)


def _sentence(knee: Figures, failed: Figures, count: float, options: Options) -> str:
    bad = failed["error_rate"] + failed["shed_rate"] + failed["missed_rate"]
    said = (
        f"knee: {knee['events_per_second']:,.0f} events/s in {knee['requests_per_second']:,.0f}"
        f" requests/s ({knee['users']:.0f} users) at p90 {knee['p90_ms']:.0f} ms; with"
        f" {count} users p90 was {failed['p90_ms']:.0f} ms and {bad:.1%} were not acknowledged"
    )
    if failed["lag_p99_ms"] > options.knee_ms / 2:
        said += (
            f". The generator began requests up to {failed['lag_p99_ms']:.0f} ms late (p99):"
            " this may be its knee, not the service's; add --processes or workers"
        )
    return said


class Steps(LoadTestShape):
    """Stops after two steps in a row with which the service did not keep up."""

    use_common_options = True

    def tick(self) -> tuple[int, float] | None:
        options, begin = HARNESS.options, HARNESS.begin
        step = int((time.perf_counter() - self.start_time) / options.step_seconds)
        done = list(SCENARIO.windows(options, begin, begin + step * options.step_seconds).values())
        failed = [not carried(HARNESS.tally.between(*window), options) for window in done[-2:]]
        if step >= options.steps or failed == [True, True]:
            return None
        return users(options, step), 1000.0


SCENARIO = Ramp()
HARNESS = install(SCENARIO)
