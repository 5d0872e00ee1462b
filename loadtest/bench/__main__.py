"""Measure this service beside the original's design: one Cassandra, one run, in turn.

Prints medians over the rounds (least-most), and which expectations hold. The floor is what cannot
be spared: the same batches straight through the driver, and bare ASGI without a store. The bench
brings its own Cassandra in a temporary folder, with the commit log synced every 10 s (not for each
write), so that the disk does not hide what the service costs.
"""

from __future__ import annotations

import argparse
import random
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
from loadtest.bench import contenders, cores, generator, page, plot, store
from loadtest.bench.contenders import CONTENDERS, ROOT, SINK, Contender, NotReady, Running
from loadtest.bench.generator import Job, Measured
from loadtest.bench.progress import Progress
from loadtest.bench.report import Figure, Report, Scenario, figure
from player_sessions.settings import PREFIX, load

PAGE = ROOT / "docs" / "performance.md"
PLOT = ROOT / "docs" / "performance.svg"
_KEYSPACE = "bench"
_BATCHES = (10, 5, 1)
_REQUESTS_PER_SECOND = {10: 6000, 5: 9000, 1: 15000}  # more than a contender that stores answers
_HALF_CONNECTIONS = 8  # times as many as at full load, so that none is waited for


class Failed(Exception):
    """The run is void; the message says why."""


class Bench:
    """One run: what is shared by all measurements."""

    def __init__(self, options: argparse.Namespace, progress: Progress) -> None:
        self.options = options
        self.progress = progress
        self.contenders = _contenders(options)
        self.scenarios = scenarios(options)
        self.figures: list[Figure] = []
        self.players: dict[int, str] = {}

    def run(self) -> Report:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
            self.progress.step("starting Cassandra, its commit log synced every 10 s")
            self.cluster = Cluster(folder / "cassandra", relaxed=True, heap_mb=1024)
            stack.enter_context(self.cluster)
            cores.pin(self.cluster.pid(1), self.options.pin.cassandra)
            environ = contenders.variables(self.cluster, _KEYSPACE)
            settings = load({k: v for k, v in environ.items() if k.startswith(PREFIX)})
            self.session = stack.enter_context(store.opened(settings))
            self._write_players()
            sink = stack.enter_context(contenders.running(SINK, environ, folder))
            started = []
            for each in self.contenders:
                self.progress.step(f"starting {each.name}")
                made = stack.enter_context(contenders.running(each, environ, folder, sink.port))
                if made.pid:
                    cores.pin(made.pid, self.options.pin.server)
                started.append(made)
            self._rounds(started)
            return Report(self.contenders, self.scenarios, self.figures, self._extras(sink))

    def _write_players(self) -> None:
        for size in {s.sessions for s in self.scenarios if s.sessions}:
            self.progress.step(f"writing a player with {size:,} sessions")
            self.players[size] = store.write_player(self.session, size)
        store.flush(self.cluster)

    def _rounds(self, started: list[Running]) -> None:
        for each in started:  # Java compiles what it runs often: let it, before anything counts
            self.progress.step(f"warming up with {each.contender.name}")
            self._load(each, Scenario(batch=10), warm_up=0, seconds=self.options.seconds)
        for number in range(1, self.options.rounds + 1):
            for scenario in self.scenarios:
                # Who comes after whom matters: what one leaves behind, Cassandra does meanwhile.
                random.shuffle(started)
                for each in started:
                    if takes_part(each.contender, scenario):
                        self._measure(number, each, scenario)

    def _measure(self, number: int, each: Running, scenario: Scenario) -> None:
        contender, seconds = each.contender, self.options.seconds
        warm_up = min(self.options.warm_up, seconds)
        measured = self._load(each, scenario, warm_up=warm_up, seconds=seconds)
        checked = 0
        if scenario.batch and contender.stores:
            checked = store.check_stored(self.session, contender.name, measured.players)
        resident = each.resident_mib() if each.pid else 0.0
        made = figure(
            number, contender.name, scenario, measured, resident_mib=resident, checked=checked
        )
        self.figures.append(made)
        self.progress.step(
            f"round {number}, {scenario.name}, {contender.name}: {made.per_second:,.0f}"
            f" {scenario.unit}s/s, {made.server_us:,.0f} µs/{scenario.unit},"
            f" p50 {made.p50_ms:.2f} ms"
        )

    def _load(
        self, each: Running, scenario: Scenario, *, warm_up: float, seconds: float
    ) -> Measured:
        contender, batch, options = each.contender, scenario.batch, self.options
        rate = self._full_rate(contender, batch) / 2 if scenario.half else 0.0
        connections = options.connections if batch else options.read_connections
        job = Job(
            port=each.port,
            server=each.pid,
            cassandra=self.cluster.pid(1),
            connections=connections * (_HALF_CONNECTIONS if scenario.half else 1),
            warm_up=warm_up,
            seconds=seconds,
            rate=rate,
            cores=options.pin.server if contender.straight else options.pin.generator,
            path=contender.write[0],
            key=contender.write[1],
            batch=batch,
        )
        if batch:
            a_second = 1.2 * rate or _REQUESTS_PER_SECOND[batch]
            job.requests = int(a_second * (warm_up + seconds)) + 1
        else:
            job.read = contender.read_request(self.players[scenario.sessions])
        return _generate(job, each)

    def _full_rate(self, contender: Contender, batch: int) -> float:
        """Requests per second, as measured last."""
        full = (contender.name, Scenario(batch=batch).name)
        return next(
            f.requests_per_second
            for f in reversed(self.figures)
            if (f.contender, f.scenario) == full
        )

    def _extras(self, sink: Running) -> list[str]:
        lines = [f"{str(self.options.pin).capitalize()}."]
        if traced := sum(f.units // s.batch for f, s in self._writes("traced")):
            received = contenders.spans(sink)
            if not received:
                raise Failed("the receiver of traces has received none")
            lines.append(
                f"Of `traced`'s requests ({traced:,} in the windows, more before them) 1 % were"
                f" sampled: its receiver took {received:,} spans, those of group commits included."
            )
        return lines

    def _writes(self, name: str) -> list[tuple[Figure, Scenario]]:
        by_name = {s.name: s for s in self.scenarios if s.batch}
        return [
            (f, by_name[f.scenario])
            for f in self.figures
            if f.contender == name and f.scenario in by_name
        ]


def _contenders(options: argparse.Namespace) -> list[Contender]:
    made = [each for name, each in CONTENDERS.items() if name in options.contenders]
    return [*made, contenders.other(options.against)] if options.against else made


def scenarios(options: argparse.Namespace) -> list[Scenario]:
    """Of one round, in order: half load needs the rate of full load just before."""
    writes = [
        Scenario(batch=batch, half=half) for batch in options.batches for half in (False, True)
    ]
    return writes + [Scenario(sessions=size) for size in options.read_sizes]


def takes_part(contender: Contender, scenario: Scenario) -> bool:
    if scenario.sessions:
        return contender.read is not None
    return contender.half or not scenario.half


def _generate(job: Job, each: Running) -> Measured:
    program = each.contender.command if each.contender.straight else ("-m", generator.__name__)
    run = subprocess.run(
        [sys.executable, *program],
        cwd=ROOT,
        env=dict(each.environ),
        input=msgspec.json.encode(job),
        capture_output=True,
    )
    if run.returncode:
        raise Failed(f"{each.contender.name}: {run.stderr.decode(errors='replace').strip()}")
    return msgspec.json.decode(run.stdout, type=Measured)


def _sizes(text: str) -> list[int]:
    sizes = sorted({int(part) for part in text.split(",") if part})
    if len(sizes) == 1 or (sizes and sizes[0] < 1):
        raise argparse.ArgumentTypeError("must be two numbers or more, such as 20,1000, or none")
    return sizes


def _batches(text: str) -> list[int]:
    batches = [int(part) for part in text.split(",")]
    if not set(batches) <= set(_BATCHES):
        raise argparse.ArgumentTypeError(f"must be of {_BATCHES}")
    return batches


def _names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := set(names) - set(CONTENDERS):
        raise argparse.ArgumentTypeError(f"{unknown.pop()} is none of {', '.join(CONTENDERS)}")
    return names


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
    add("--seconds", type=_positive, default=1.2, help="of each measurement (%(default)s)")
    add("--warm-up", type=_positive, default=0.3, help="seconds before each (%(default)s)")
    add("--batches", type=_batches, default="10,5,1", help="events a request (%(default)s)")
    add("--connections", type=_count, default=32, help="that write, closed loop (%(default)s)")
    add("--read-connections", type=_count, default=4, help="that read (%(default)s)")
    add("--read-sizes", type=_sizes, default="20,1000,20000", help="sessions (%(default)s)")
    add("--contenders", type=_names, default=",".join(CONTENDERS), help="(%(default)s)")
    add("--against", type=Path, metavar="FOLDER", help="another working copy's service as well")
    add(
        "--pin",
        type=cores.parse,
        default="auto",
        metavar="SERVER/LOAD/CASSANDRA",
        help="cores, such as 0,1/2/3; `none`; `auto`: apart from four cores on (%(default)s)",
    )
    add("--json", type=Path, metavar="FILE", help="write all figures there")
    add("--plot", type=Path, metavar="FILE", help="draw them there, as SVG")
    add("--write", action="store_true", help="write docs/performance.md and docs/performance.svg")
    add("--strict", action="store_true", help="exit code 1 when an expectation does not hold")
    return made


def _finish(options: argparse.Namespace, report: Report) -> int:
    given = {
        name: str(value) if name == "pin" else value
        for name, value in vars(options).items()
        if name not in ("json", "plot", "write", "strict", "against")
    }
    document = report.document(page.command("loadtest.bench"), given)
    print(report.tables())
    if options.json:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(document)) + b"\n")
    if options.plot:
        plot.write(options.plot, report)
    if options.write:
        plot.write(PLOT, report)
        page.write(PAGE, document, report.tables())
    return int(options.strict and not all(each.holds for each in report.expectations()))


def _stop(*_: Any) -> None:
    raise KeyboardInterrupt


def main() -> int:
    options = parser().parse_args()
    signal.signal(signal.SIGTERM, _stop)
    made, takers = scenarios(options), _contenders(options)
    a_round = sum(takes_part(each, scenario) for scenario in made for each in takers)
    steps = 1 + len(options.read_sizes) + 2 * len(takers) + options.rounds * a_round
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
