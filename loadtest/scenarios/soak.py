"""Soak: hours under a day's curve with sessions of real length; nothing may get worse."""

from __future__ import annotations

from loadtest.harness import Options, Scenario, Window, install
from loadtest.report import Result
from loadtest.tally import Figures
from loadtest.users import GameServer


class SoakServer(GameServer):
    """The default game server."""


class Soak(Scenario):
    name = "soak"
    defaults = {"day": 3600.0, "session_seconds": 660.0}
    sections = ("first", "last")
    known = {"drift": {"p90_ratio"}}

    def windows(self, options: Options, begin: float, end: float) -> dict[str, Window]:
        """Return the first and last day, which have the same load; quarters of a shorter run."""
        begin += options.warm_up
        length = options.day if options.day and end - begin >= 2 * options.day else 0
        length = length or (end - begin) / 4
        return {"first": (begin, begin + length), "last": (end - length, end)}

    def figures(self, result: Result, options: Options) -> dict[str, Figures]:
        del options
        first, last = (result.figures[name]["p90_ms"] for name in self.sections)
        return {"drift": {"p90_ratio": last / first if first else float("nan")}}


install(Soak())
