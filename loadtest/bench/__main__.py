"""Measure this service beside the original's design: one Cassandra, one run, in turn.

Prints medians over the rounds (least-most), and which expectations hold. It brings its own
Cassandra in a temporary folder, with the commit log synced every 10 s (not for each write), so
that the disk does not hide what the service costs.
"""

from __future__ import annotations

import argparse
import shlex
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec

from dev.cluster import Cluster, NodeFailed
from dev.toolchain import MissingTool
from loadtest.bench import contenders, page, store
from loadtest.bench.contenders import CONTENDERS, ROOT, NotReady, Running
from loadtest.bench.generator import Job, Measured
from loadtest.bench.progress import Progress
from loadtest.bench.report import Figure, Report, Scenario, figure
from player_sessions.settings import PREFIX, load

PAGE = ROOT / "docs" / "performance.md"
_KEYSPACE = "bench"
_REQUESTS_PER_SECOND = {10: 6000, 1: 15000}  # more than any contender answers
_READ_WARM_UP = 0.3


class Failed(Exception):
    """The run is void; the message says why."""


class Bench:
    """One run: what is shared by all measurements."""

    def __init__(self, options: argparse.Namespace, progress: Progress) -> None:
        self.options = options
        self.progress = progress
        self.scenarios = [Scenario(batch=10), Scenario(batch=1)]
        self.scenarios += [Scenario(sessions=size) for size in options.read_sizes]
        self.figures: list[Figure] = []
        self.players: dict[int, str] = {}

    def run(self) -> Report:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
            self.progress.step("starting Cassandra, its commit log synced every 10 s")
            self.cluster = Cluster(folder / "cassandra", relaxed=True, heap_mb=1024)
            stack.enter_context(self.cluster)
            environ = contenders.variables(self.cluster, _KEYSPACE)
            settings = load({k: v for k, v in environ.items() if k.startswith(PREFIX)})
            self.session = stack.enter_context(store.opened(settings))
            self._write_players()
            started = []
            for each in CONTENDERS.values():
                self.progress.step(f"starting {each.name}")
                started.append(stack.enter_context(contenders.running(each, environ, folder)))
            self._rounds(started)
        return Report(self.scenarios, self.figures)

    def _write_players(self) -> None:
        for size in self.options.read_sizes:
            self.progress.step(f"writing a player with {size:,} sessions")
            self.players[size] = store.write_player(self.session, size)
        store.flush(self.cluster)

    def _rounds(self, started: list[Running]) -> None:
        for each in started:  # Java compiles what it runs often: let it, before anything counts
            self.progress.step(f"warming up with {each.contender.name}")
            self._load(each, Scenario(batch=10), warm_up=0, seconds=self.options.seconds)
        for number in range(1, self.options.rounds + 1):
            for scenario in self.scenarios:
                first = number % len(started)  # another one begins in each round
                for each in started[first:] + started[:first]:
                    if scenario.batch or each.contender.read:
                        self._measure(number, each, scenario)

    def _measure(self, number: int, each: Running, scenario: Scenario) -> None:
        name = each.contender.name
        warm_up = self.options.warm_up if scenario.batch else _READ_WARM_UP
        warm_up = min(warm_up, self.options.seconds)
        measured = self._load(each, scenario, warm_up=warm_up, seconds=self.options.seconds)
        checked = store.check_stored(self.session, name, measured.players) if scenario.batch else 0
        made = figure(number, name, scenario, measured, checked)
        self.figures.append(made)
        self.progress.step(
            f"round {number}, {scenario.name}, {name}: {made.per_second:,.0f}"
            f" {scenario.unit}s/s, {made.server_us:,.0f} µs/{scenario.unit},"
            f" p50 {made.p50_ms:.2f} ms"
        )

    def _load(
        self, each: Running, scenario: Scenario, *, warm_up: float, seconds: float
    ) -> Measured:
        reads = scenario.sessions > 0
        contender, batch = each.contender, scenario.batch
        job = Job(
            port=each.port,
            server=each.pid,
            cassandra=self.cluster.pid(1),
            connections=self.options.read_connections if reads else self.options.connections,
            warm_up=warm_up,
            seconds=seconds,
            read=contender.read_request(self.players[scenario.sessions]) if reads else "",
            path=contender.write[0],
            key=contender.write[1],
            batch=batch,
            requests=0 if reads else int(_REQUESTS_PER_SECOND[batch] * (warm_up + seconds)),
        )
        return _generate(job, contender.name)


def _generate(job: Job, name: str) -> Measured:
    run = subprocess.run(
        [sys.executable, "-m", "loadtest.bench.generator"],
        cwd=ROOT,
        input=msgspec.json.encode(job),
        capture_output=True,
    )
    if run.returncode:
        raise Failed(f"{name}: {run.stderr.decode(errors='replace').strip()}")
    return msgspec.json.decode(run.stdout, type=Measured)


def _sizes(text: str) -> list[int]:
    sizes = sorted({int(part) for part in text.split(",")})
    if len(sizes) < 2 or sizes[0] < 1:
        raise argparse.ArgumentTypeError("must be two numbers or more with commas, such as 20,1000")
    return sizes


def _positive(text: str) -> float:
    value = float(text)
    if value <= 0:
        raise argparse.ArgumentTypeError("must be above 0")
    return value


def _count(text: str) -> int:
    return int(_positive(str(int(text))))


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m loadtest.bench",
        description=__doc__,
        epilog="example: python -m loadtest.bench --rounds 5 --seconds 5 --json bench.json --write",
    )
    add = made.add_argument
    add("--rounds", type=_count, default=3, help="of all measurements (%(default)s)")
    add("--seconds", type=_positive, default=3.0, help="of each measurement (%(default)s)")
    add("--warm-up", type=_positive, default=1.0, help="seconds before each (%(default)s)")
    add("--connections", type=_count, default=32, help="that write, closed loop (%(default)s)")
    add("--read-connections", type=_count, default=4, help="that read (%(default)s)")
    add("--read-sizes", type=_sizes, default="20,1000,20000", help="sessions (%(default)s)")
    add("--json", type=Path, metavar="FILE", help="write all figures there")
    add("--write", action="store_true", help="write the tables into docs/performance.md")
    add("--strict", action="store_true", help="exit code 1 when an expectation does not hold")
    return made


def _command(options: argparse.Namespace) -> str:
    """What was typed, without the folders of whoever typed it."""
    words = [options.json.name if word == str(options.json) else word for word in sys.argv[1:]]
    return shlex.join(["python", "-m", "loadtest.bench", *words])


def _finish(options: argparse.Namespace, report: Report) -> int:
    given = {k: v for k, v in vars(options).items() if k not in ("json", "write", "strict")}
    document = report.document(_command(options), given)
    print(report.tables())
    if options.json:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(document)) + b"\n")
    if options.write:
        page.write(PAGE, document, report.tables())
    return int(options.strict and not all(each.holds for each in report.expectations()))


def _stop(*_: Any) -> None:
    raise KeyboardInterrupt


def main() -> int:
    options = parser().parse_args()
    signal.signal(signal.SIGTERM, _stop)
    reads = len(options.read_sizes)
    takers = len(CONTENDERS)
    readers = sum(each.read is not None for each in CONTENDERS.values())
    steps = 1 + reads + 2 * takers + options.rounds * (2 * takers + reads * readers)
    try:
        with Progress(steps) as progress:
            report = Bench(options, progress).run()
        return _finish(options, report)
    except KeyboardInterrupt:
        print("bench: stopped", file=sys.stderr)
        return 130
    except (Failed, NotReady, NodeFailed, MissingTool, store.NotStored, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
