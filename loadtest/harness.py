"""The frame of every scenario: options, journals, tallies, reports and the verdict.

Each process that has users makes a `Run` when the test starts, and writes a journal. Tallies go to
the master with Locust's own reports. The master compares them with the thresholds, writes the
reports and sets the exit code.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import gevent
import locust
from gevent.event import Event
from locust.runners import MasterRunner, WorkerRunner

from loadtest import report, target, thresholds
from loadtest.journal import SUFFIX, Header, Journal
from loadtest.play import Mix, Model, Play
from loadtest.replay_file import BadFile
from loadtest.report import Result
from loadtest.tally import KINDS, MISSED, Cell, Figures, Tally
from loadtest.users import GameServer, Run, Source, clock

FOLDER = Path(__file__).parent / "scenarios"
_FINISH_SECONDS = 60.0
_ON_THE_WEB_PAGE = {  # Locust sets these only on options outside of groups
    "include_in_web_ui": True, "is_secret": False, "is_required": False, "is_multiple": False,
}  # fmt: skip
_LAG_MS = 100
_SHORT_OF_CPU = (
    "the load generator began requests up to {:.0f} ms late (p99): it was short of CPU, and the"
    " latencies are partly its own; add --processes or workers, or lower --rate"
)
_MIX = {
    "players": "number of players per process",
    "zipf": "exponent of how unequally players play",
    "session_seconds": "median length of a session",
    "sigma": "standard deviation of the logarithm of the length",
    "batch": "most events in a request",
    "late": "share of sessions sent up to 3 days late",
    "twice": "share of events sent twice",
    "swapped": "share of sessions whose end is sent before their start",
    "named": "share of players whose id is not a UUID",
}

Options = argparse.Namespace
Window = tuple[float, float]


class Scenario:
    """A file in scenarios/ defines what is special in it; times are seconds since 1970.

    sections: the names of `windows`, for thresholds. known: the names of `figures`, by section.
    """

    name = ""
    defaults: Mapping[str, Any] = {}
    sections: tuple[str, ...] = ()
    known: Mapping[str, set[str]] = {}

    def add_options(self, add: Any) -> None:
        """Add options of the scenario."""

    def check(self, options: Options) -> None:
        """Raise OSError, ValueError or BadFile if the options cannot work."""

    def source(self, options: Options, seed: str, process: int) -> tuple[Source, Header]:
        """Return the seeded play that the options describe; `process` counts from 0."""
        del process
        mix = Mix(**{name: getattr(options, name) for name in _MIX})
        play = Play(Model(seed, mix), round(clock() * 1000))
        return play, Header(seed=seed, origin_ms=play.origin_ms, mix=mix)

    def windows(self, options: Options, begin: float, end: float) -> dict[str, Window]:
        """Return the spans of the run that have thresholds of their own."""
        del options, begin, end
        return {}

    def figures(self, result: Result, options: Options) -> dict[str, Figures]:
        """Return further figures for thresholds, by section; called at the end of the run."""
        del result, options
        return {}


class Harness:
    """Handles Locust's events for one scenario in this process."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.tally = Tally()
        self.begin = self.end = 0.0
        self.running = False
        self.cpu = 0.0  # seconds of processor time of all processes that have users
        self._run: Run | None = None
        self._left: set[str] = set()
        self._all_finished = Event()
        self._initialised = Event()
        for name in (
            "init_command_line_parser", "init", "test_start", "test_stopping", "test_stop",
            "report_to_master", "worker_report", "quitting",
        ):  # fmt: skip
            getattr(locust.events, name).add_listener(getattr(self, f"on_{name}"))

    def on_init_command_line_parser(self, parser: Any, **_: Any) -> None:
        """Add our options in a group of their own."""
        parser.epilog = f"Example: python -m loadtest {self.scenario.name} -u 5 -t 60s --headless"
        group = parser.add_argument_group("player-sessions")

        def add(*flags: str, **how: Any) -> None:
            action = group.add_argument(*flags, **how)
            vars(action).update(_ON_THE_WEB_PAGE)

        target.add_options(add)
        add("--rate", type=float, default=20.0, help="requests per second and user (%(default)s)")
        add("--connections", type=int, default=16, help="most connections of a user (%(default)s)")
        add("--reads", type=float, default=0.1, help="share of requests that read (%(default)s)")
        for name, text in _MIX.items():
            default = getattr(Mix(), name)
            flag = "--" + name.replace("_", "-")
            add(flag, type=type(default), default=default, help=f"{text} (%(default)s)")
        add(
            "--deeper",
            type=float,
            default=0.05,
            help="share of pages whose next page is read (%(default)s)",
        )
        add(
            "--day",
            type=float,
            default=0.0,
            help="seconds of a day whose curve the rate follows; 0: none",
        )
        add("--seed", default="", help="the same seed makes the same play (random)")
        add(
            "--warm-up",
            type=float,
            default=5.0,
            help="seconds at the start that are not judged (%(default)s)",
        )
        add("--out", default="", help="folder for journals and reports (loadtest-results/…)")
        default_file = str(FOLDER / f"{self.scenario.name}.toml")
        add("--thresholds", default=default_file, help="TOML file (the scenario's own)")
        self.scenario.add_options(add)
        parser.set_defaults(**self.scenario.defaults)

    def on_init(self, environment: Any, runner: Any, web_ui: Any, **_: Any) -> None:
        self.environment, self.options = environment, environment.parsed_options
        if isinstance(runner, WorkerRunner):
            runner.register_message("finish", self._on_finish)
            self._initialised.set()
            return
        if isinstance(runner, MasterRunner):
            runner.register_message("finished", self._on_finished)
        when = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        self.options.out = self.options.out or f"loadtest-results/{self.scenario.name}-{when}"
        try:
            if web_ui is None:
                target.url(self.options.host or "")
            self._check()
        except (thresholds.BadThresholds, BadFile, OSError, ValueError) as error:
            say(str(error))
            sys.exit(2)

        gevent.sleep(0)  # otherwise --run-time would include the slow imports
        self._initialised.set()

    def _check(self) -> None:
        """Raise BadThresholds, OSError or ValueError if the run cannot work."""
        names = set(Cell().figures())
        sections = ("all", *KINDS, *self.scenario.sections)
        known = dict.fromkeys(sections, names) | dict(self.scenario.known)
        self.thresholds = thresholds.load(Path(self.options.thresholds), known)
        target.headers(self.options)
        target.tls(self.options)
        self.options.processes_total = 1
        self.scenario.check(self.options)

    def on_test_start(self, environment: Any, **_: Any) -> None:
        self._initialised.wait()  # a worker may be told to start before it has its runner
        self.tally = Tally()
        self.begin = clock()
        self.running = True
        self.cpu = 0.0
        self._cpu_at_begin = time.process_time()
        if isinstance(environment.runner, MasterRunner):
            self.options.processes_total = environment.runner.worker_count
            return
        options = environment.parsed_options
        number = environment.runner.worker_index
        seed = f"{options.seed}/{number}" if options.seed else os.urandom(8).hex()
        source, header = self.scenario.source(options, seed, number)
        path = Path(options.out) / f"{seed.replace('/', '-')}{SUFFIX}"
        self._run = GameServer.run_data = Run(source, Journal(path, header), self.tally, self.begin)

    def on_report_to_master(self, data: dict[str, Any], **_: Any) -> None:
        data["tally"] = self.tally.take()

    def on_worker_report(self, data: dict[str, Any], **_: Any) -> None:
        self.tally.merge(data.get("tally", {}))

    def on_test_stopping(self, environment: Any, **_: Any) -> None:
        """At the master, wait for the last figures of its workers; Locust itself does not wait."""
        self.end = clock()
        if not isinstance(environment.runner, MasterRunner):
            return
        clients = environment.runner.clients
        self._left = {each.id for each in clients.ready + clients.spawning + clients.running}
        self._all_finished.clear()
        if self._left:
            environment.runner.send_message("finish")
            if not self._all_finished.wait(_FINISH_SECONDS):
                say(f"no last figures came from {', '.join(sorted(self._left))}")

    def _on_finish(self, environment: Any, **_: Any) -> None:
        """End the users of a worker in order, then send all figures that are left."""
        environment.runner.stop()
        told = {"tally": self.tally.take(), "cpu": self.cpu}
        environment.runner.send_message("finished", told)

    def _on_finished(self, msg: Any, **_: Any) -> None:
        self.tally.merge(msg.data["tally"])
        self.cpu += msg.data["cpu"]
        self._left.discard(msg.node_id)
        if not self._left:
            self._all_finished.set()

    def on_test_stop(self, environment: Any, **_: Any) -> None:
        if self._run is not None:
            self._run.journal.close(ended=not self._run.under_way)
            self._run = None
            self.cpu = time.process_time() - self._cpu_at_begin
        # Locust calls this even if the test never started.
        if self.running and not isinstance(environment.runner, WorkerRunner):
            self._judge()
        self.running = False

    def on_quitting(self, environment: Any, **_: Any) -> None:
        """Stop the test; after Ctrl-C or SIGTERM it is still running here."""
        runner = environment.runner
        if isinstance(runner, MasterRunner):
            runner.stop(send_stop_to_client=False)
        elif runner is not None:
            runner.stop()

    def _judge(self) -> None:
        options = self.options
        result = self._result()
        result.figures |= self.scenario.figures(result, options)
        sent = self.tally.between(self.begin - 1, self.end + 1)
        if requests := sent.arrivals - sent.outcomes.get(MISSED, 0):
            us = 1e6 * self.cpu / requests
            result.remarks.append(f"the generator used {us:.0f} µs of processor time per request")
        if (lag := result.figures["all"]["lag_p99_ms"]) > _LAG_MS:
            result.remarks.append(_SHORT_OF_CPU.format(lag))
        if result.end - result.begin <= options.warm_up:
            result.remarks.append("the run was no longer than its --warm-up: nothing is judged")
        result.breaches = [text for t in self.thresholds if (text := t.breach(result.figures))]
        report.write(Path(options.out), result, self.environment)
        say(report.table(result.figures))
        for text in [*result.remarks, *(f"BREACHED {text}" for text in result.breaches)]:
            say(text)
        verdict = "breached" if result.breaches else "held"
        say(f"{verdict}: {options.thresholds}\nreports and journal: {options.out}")
        say(f"audit: python -m loadtest.audit {options.out} --host {self.environment.host}")
        self.environment.process_exit_code = int(bool(result.breaches))

    def _result(self) -> Result:
        begin, end = self.begin + self.options.warm_up, self.end
        windows = self.scenario.windows(self.options, self.begin, end)
        spans = {"all": (begin, end, KINDS), **{kind: (begin, end, (kind,)) for kind in KINDS}}
        spans |= {name: (*window, KINDS) for name, window in windows.items()}
        return Result(
            scenario=self.scenario.name,
            begin=self.begin,
            end=end,
            tally=self.tally,
            windows=windows,
            figures={
                name: self.tally.between(since, until, kinds).figures()
                for name, (since, until, kinds) in spans.items()
            },
        )


def install(scenario: Scenario) -> Harness:
    """Install the scenario; its file calls this once when Locust imports it."""
    locust.runners.WORKER_REPORT_INTERVAL = 1.0
    return Harness(scenario)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
