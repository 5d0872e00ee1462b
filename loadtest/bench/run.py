"""A run of the bench: every contender in every scenario, once per round, on one Cassandra."""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import msgspec

from dev.cluster import Cluster
from loadtest.bench import contenders, cores, generator, processes, store
from loadtest.bench.contenders import CONTENDERS, ROOT, SINK, Contender
from loadtest.bench.generator import Job, Measured
from loadtest.bench.processes import Running
from loadtest.bench.results import Figure, Report, Scenario, figure
from loadtest.own_service import memory_mib
from loadtest.progress import Progress

_REQUESTS_PER_SECOND = {10: 6000, 5: 9000, 1: 15000}  # more than a contender can store
BATCHES = tuple(_REQUESTS_PER_SECOND)
_HALF_CONNECTIONS = 8  # times as many as at full load, so that one is always free


class Failed(Exception):
    """The run is void; the message says why."""


class Bench:
    """A run of the bench, with the state that all its measurements share."""

    def __init__(self, options: argparse.Namespace, progress: Progress) -> None:
        self.options = options
        self.progress = progress
        self.contenders = taking_part(options)
        self.scenarios = scenarios(options)
        self.figures: list[Figure] = []
        self.players: dict[int, str] = {}

    def run(self, cluster: Cluster, environ: Mapping[str, str], folder: Path) -> Report:
        """Measure on a running cluster; `environ` names it and the keyspace, for all contenders."""
        self.cluster = cluster
        cores.pin(cluster.pid(1), self.options.pin.cassandra)
        with (
            store.opened(environ) as self.session,
            processes.running(SINK, environ, folder) as sink,
        ):
            self._write_players()
            self.progress.step(f"starting {', '.join(each.name for each in self.contenders)}")
            blanks = {"sink": str(sink.port), "sampled": f"{self.options.sampled / 100:g}"}
            with processes.all_running(self.contenders, environ, folder, **blanks) as started:
                for each in started:
                    if each.pid:
                        cores.pin(each.pid, self.options.pin.server)
                self._rounds(started)
                return Report(self.contenders, self.scenarios, self.figures, self._extras(sink))

    def _write_players(self) -> None:
        for size in {s.sessions for s in self.scenarios if s.sessions}:
            self.progress.step(f"writing a player with {size:,} sessions")
            self.players[size] = store.write_player(self.session, size)
        store.flush(self.cluster)

    def _rounds(self, started: list[Running]) -> None:
        for each in started:  # let Java compile its hot code before anything counts
            self.progress.step(f"warming up with {each.contender.name}")
            self._load(each, Scenario(batch=10), warm_up=0, seconds=self.options.seconds)
        for number in range(1, self.options.rounds + 1):
            for scenario in self.scenarios:
                # Cassandra works off one contender's writes while the next one is measured.
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
            checked = store.check_stored(
                self.session, contender.name, measured.players, all_rows=contender.all_rows
            )
        resident = memory_mib(each.pid) if each.pid else 0.0
        rate = self._rate(contender, scenario)
        made = figure(
            number, contender.name, scenario, measured,
            resident_mib=resident, checked=checked, rate=rate,
        )  # fmt: skip
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
        connections = options.connections if batch else options.read_connections
        job = Job(
            port=each.port,
            server=each.pid,
            cassandra=self.cluster.pid(1),
            connections=connections * (_HALF_CONNECTIONS if scenario.half else 1),
            warm_up=warm_up,
            seconds=seconds,
            rate=self._rate(contender, scenario),
            cores=options.pin.server if contender.straight else options.pin.generator,
            path=contender.write[0],
            key=contender.write[1],
            batch=batch,
        )
        if batch:
            a_second = 1.2 * job.rate or _REQUESTS_PER_SECOND[batch]
            job.requests = int(a_second * (warm_up + seconds)) + 1
        else:
            job.player = self.players[scenario.sessions]
            job.read = contender.read_request(job.player)
        return _generate(job, each)

    def _rate(self, contender: Contender, scenario: Scenario) -> float:
        """Return half of the contender's requests per second at full load; 0 for full load."""
        if not scenario.half:
            return 0.0
        full = (contender.name, replace(scenario, half=False).name)
        rates = [f.requests_per_second for f in self.figures if (f.contender, f.scenario) == full]
        return rates[-1] / 2

    def _extras(self, sink: Running) -> list[str]:
        lines = [f"{str(self.options.pin).capitalize()}."]
        if traced := sum(f.units // s.batch for f, s in self._writes("traced")):
            received = processes.spans(sink)
            if not received:
                raise Failed("the receiver of traces has received none")
            lines.append(
                f"{self.options.sampled:g} % of the requests to `traced` were sampled ({traced:,}"
                " requests in the measured windows, and more before them). The receiver got"
                f" {received:,} spans, including those of group commits."
            )
        return lines

    def _writes(self, name: str) -> list[tuple[Figure, Scenario]]:
        by_name = {s.name: s for s in self.scenarios if s.batch}
        return [
            (f, by_name[f.scenario])
            for f in self.figures
            if f.contender == name and f.scenario in by_name
        ]


def taking_part(options: argparse.Namespace) -> list[Contender]:
    """Return the contenders that are asked for and can run on this machine."""
    named = [each for name, each in CONTENDERS.items() if name in options.contenders]
    made = [each for each in named if contenders.missing(each) is None]
    return [*made, contenders.other(options.against)] if options.against else made


def scenarios(options: argparse.Namespace) -> list[Scenario]:
    """Return the scenarios of a round; half load comes after the full load that it halves."""
    writes = [
        Scenario(batch=batch, half=half) for batch in options.batches for half in (False, True)
    ]
    reads = [
        Scenario(sessions=size, half=half) for size in options.read_sizes for half in (False, True)
    ]
    return writes + reads


def steps(options: argparse.Namespace) -> int:
    """Return how many steps of a run its progress shows."""
    takers = taking_part(options)
    absent = sum(contenders.missing(CONTENDERS[name]) is not None for name in options.contenders)
    a_round = sum(takes_part(each, made) for made in scenarios(options) for each in takers)
    rounds: int = options.rounds
    prepared = len(options.read_sizes) + 1 + len(takers)  # players, the start, the warm-ups
    return absent + prepared + rounds * a_round


def takes_part(contender: Contender, scenario: Scenario) -> bool:
    if scenario.sessions and contender.read is None:
        return False
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
