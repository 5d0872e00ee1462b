"""Spike: ten times the users for 30 s, then back; the service must recover soon."""

from __future__ import annotations

import time
from typing import Any

from locust import LoadTestShape

from loadtest.harness import Options, Scenario, Window, install
from loadtest.report import Result
from loadtest.tally import Figures, Tally
from loadtest.users import GameServer


class SpikeServer(GameServer):
    """The default game server."""


class Spike(Scenario):
    name = "spike"
    sections = ("before", "spike", "after")
    known = {"recovery": {"seconds"}}

    def add_options(self, add: Any) -> None:
        add(
            "--before",
            type=float,
            default=30.0,
            help="seconds before the spike, at -u users (%(default)s)",
        )
        add("--spike", type=float, default=30.0, help="seconds of the spike (%(default)s)")
        add(
            "--after",
            type=float,
            default=60.0,
            help="seconds after the spike, at -u users (%(default)s)",
        )
        add(
            "--times",
            type=int,
            default=10,
            help="how many times as many users in the spike (%(default)s)",
        )
        add(
            "--whole-ms",
            type=float,
            default=500.0,
            help="p90 latency that counts as recovered (%(default)s)",
        )

    def windows(self, options: Options, begin: float, end: float) -> dict[str, Window]:
        spike = begin + options.before
        over = spike + options.spike
        settled = over + min(10.0, options.after / 2)
        return {
            "before": (begin + options.warm_up, spike),
            "spike": (spike, over),
            "after": (settled, min(end, over + options.after)),
        }

    def figures(self, result: Result, options: Options) -> dict[str, Figures]:
        over = result.windows["spike"][1]
        seconds = recovery(result.tally, over, result.end, options.whole_ms)
        result.remarks.append(f"recovered {seconds:.0f} s after the spike's end")
        return {"recovery": {"seconds": seconds}}


def recovery(tally: Tally, over: float, end: float, whole_ms: float) -> float:
    """Return the seconds from the spike's end to the last second that was slow or had a failure."""
    broken = over
    for second in sorted(tally.seconds):
        cell = tally.at(second)
        bad = cell.share("failed", "shed", "missed") > 0 or cell.percentile(0.9) > whole_ms
        if over <= second < end and bad:
            broken = second + 1.0
    return broken - over


class Shape(LoadTestShape):
    use_common_options = True

    def tick(self) -> tuple[int, float] | None:
        options = HARNESS.options
        at = time.perf_counter() - self.start_time
        users = options.num_users or 1
        if at >= options.before + options.spike + options.after:
            return None
        high = 0 <= at - options.before < options.spike
        return users * options.times if high else users, 1000.0


HARNESS = install(Spike())
