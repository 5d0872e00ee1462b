"""Measure the service with more requests than it can handle, when the store is the bottleneck.

A proxy limits Cassandra to a capacity C, at most a fifth of what the service does without a limit.
Then five times C arrives by the clock, and a few reads meanwhile. The program also measures what
an answer to a surplus request costs, compared with a bare ASGI application that answers at once.
The case in which the process itself is the bottleneck is printed without a bar.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import uvloop

from dev.cluster import Cluster
from dev.service import PREFIX
from loadtest import command_line, page
from loadtest.bench import processes, store
from loadtest.bench.contenders import Contender
from loadtest.bench.generator import Job, cpu_seconds, make_writes
from loadtest.bench.processes import NotReady, Running
from loadtest.command_line import positive
from loadtest.overload.load_loops import Outcome, closed_loop, open_loop
from loadtest.overload.proxy import Proxy, proxy
from loadtest.own_service import START_ERRORS, memory_mib
from loadtest.progress import Progress

PAGE = page.DOCS / "operations.md"
_BATCH = 10
_EVENT_BYTES = 155  # an event on its way to Cassandra, roughly; C itself is measured
_CONNECTIONS = 64
_DEADLINE = 2.0
_SERVICE = Contender("service", "this service", ("-m", "player_sessions", "serve"))
_SURPLUS = Contender("surplus", "this service, shedding every request", _SERVICE.command)
_ANSWER = Contender(
    "answer", "an application that answers at once", ("-m", "loadtest.bench.variants", "answer")
)


@dataclass
class Measured:
    """Rates in events per second, times in seconds, memory in MiB, processor time in µs."""

    free: float
    capacity: float
    offered: float
    goodput: float
    accepted_p50: float
    accepted_p99: float
    surplus_p50: float
    surplus_p99: float
    surplus_share: float
    other_answers: int
    reads_answered: float
    reads_p99: float
    memory_before: float
    memory_most: float
    surplus_us: float
    answer_us: float
    alone_offered: float
    alone_goodput: float
    alone_p99: float


@dataclass(frozen=True)
class Verdict:
    what: str
    bar: str
    measured: str
    holds: bool


def verdicts(m: Measured) -> list[Verdict]:
    """Return the bars of the store-bound case; each must hold."""
    goodput, cost = m.goodput / m.capacity, m.surplus_us / m.answer_us
    grown = m.memory_most - m.memory_before
    return [
        Verdict("C / the service's rate without the limit", "≤ 0.2", f"{m.capacity / m.free:.2f}",
                m.capacity <= 0.2 * m.free),
        Verdict("goodput at five times C / C", "≥ 0.8", f"{goodput:.2f}", goodput >= 0.8),
        Verdict("p99 of accepted requests", f"≤ {_DEADLINE:g} s", f"{m.accepted_p99:.2f} s",
                m.accepted_p99 <= _DEADLINE),
        Verdict("p99 of surplus requests (503 with Retry-After)", "< 50 ms",
                f"{m.surplus_p99 * 1000:.1f} ms", m.surplus_p99 < 0.05),
        Verdict("answers other than 200, or 503 with Retry-After", "0", f"{m.other_answers}",
                m.other_answers == 0),
        Verdict("memory: growth of the resident set", "≤ 64 MiB", f"{grown:.0f} MiB", grown <= 64),
        Verdict("share of simultaneous reads answered with 200", "≥ 0.95",
                f"{m.reads_answered:.2f}", m.reads_answered >= 0.95),
        Verdict("CPU of a surplus answer / of a bare answer", "≤ 1.5", f"{cost:.2f}", cost <= 1.5),
    ]  # fmt: skip


class Run:
    def __init__(self, seconds: float, progress: Progress) -> None:
        self.seconds = seconds
        self.progress = progress

    def measure(self) -> Measured:
        with ExitStack() as stack:
            enter = stack.enter_context
            folder = Path(enter(tempfile.TemporaryDirectory(prefix="overload-")))
            self.progress.step("starting Cassandra")
            cluster = enter(Cluster(folder / "cassandra", relaxed=True, heap_mb=1024))
            environ = processes.variables(cluster, "overload")
            session = enter(store.opened(environ))
            player = store.write_player(session, 50)
            self.pipe: Proxy = enter(proxy((cluster.address(1), cluster.native_port)))
            slow = environ | {
                f"{PREFIX}CASSANDRA_CONTACT_POINTS": "127.0.0.1",
                f"{PREFIX}CASSANDRA_PORT": str(self.pipe.port),
            }
            full = slow | {f"{PREFIX}WRITER_QUEUE_ROWS": "10"}
            self.service = enter(processes.running(_SERVICE, slow, folder))
            self.surplus = enter(processes.running(_SURPLUS, full, folder))
            self.answer = enter(processes.running(_ANSWER, environ, folder))
            self.reads = [f"GET /v1/players/{player}/sessions HTTP/1.1\r\nHost: x\r\n\r\n".encode()]
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                return runner.run(self._all())

    async def _all(self) -> Measured:
        self.progress.step("the service's rate without a limit")
        warm = await closed_loop(self.service.port, self._batches(), _CONNECTIONS, self.seconds)
        free = await closed_loop(self.service.port, self._batches(), _CONNECTIONS, self.seconds)
        free_rate = _events(free, 200)
        assert warm.count(200)
        self.progress.step("twice that rate, without a limit on the store")
        alone = await open_loop(
            self.service.port, self._batches(), 2 * free_rate / _BATCH, self.seconds, 400
        )
        self.progress.step("the capacity of the limited store")
        self.pipe.bytes_per_second = free_rate / 8 * _EVENT_BYTES
        held = await closed_loop(self.service.port, self._batches(), 16, 2 * self.seconds)
        capacity = _events(held, 200)
        self.progress.step(f"five times the capacity of {capacity:,.0f} events/s")
        five, reads, memory = await self._five_times(capacity)
        self.progress.step("what an answer to a surplus request costs")
        surplus_us, answer_us = await self._costs()
        others = sum(five.statuses.values()) - five.count(200) - five.count(503)
        return Measured(
            free=free_rate,
            capacity=capacity,
            offered=_BATCH * sum(five.statuses.values()) / five.seconds,
            goodput=_events(five, 200),
            accepted_p50=five.percentile(200, 0.5),
            accepted_p99=five.percentile(200, 0.99),
            surplus_p50=five.percentile(503, 0.5),
            surplus_p99=five.percentile(503, 0.99),
            surplus_share=five.count(503) / sum(five.statuses.values()),
            other_answers=others + five.torn + five.without_retry_after,
            reads_answered=reads.count(200) / max(1, sum(reads.statuses.values()) + reads.torn),
            reads_p99=reads.percentile(200, 0.99),
            memory_before=memory[0],
            memory_most=memory[1],
            surplus_us=surplus_us,
            answer_us=answer_us,
            alone_offered=_BATCH * (sum(alone.statuses.values()) + alone.missed) / alone.seconds,
            alone_goodput=_events(alone, 200),
            alone_p99=alone.percentile(200, 0.99),
        )

    async def _five_times(self, capacity: float) -> tuple[Outcome, Outcome, tuple[float, float]]:
        before = memory_mib(self.service.pid)
        five, reads = await asyncio.gather(
            open_loop(
                self.service.port, self._batches(), 5 * capacity / _BATCH, 3 * self.seconds, 4000
            ),
            open_loop(self.service.port, self.reads, 10, 3 * self.seconds, 100),
        )
        return five, reads, (before, memory_mib(self.service.pid, "VmHWM"))

    async def _costs(self) -> tuple[float, float]:
        """Return server CPU in µs of a surplus answer and of a bare answer.

        The store is stopped meanwhile, so that every request is surplus.
        """
        self.pipe.bytes_per_second = 1.0
        fill = asyncio.create_task(
            closed_loop(self.surplus.port, self._batches(), 8, 2 * self.seconds)
        )
        await asyncio.sleep(0.2)
        surplus: list[float] = []
        answer: list[float] = []
        for _ in range(3):
            surplus.append(await self._cpu_per_answer(self.surplus))
            answer.append(await self._cpu_per_answer(self.answer))
        self.pipe.bytes_per_second = None
        await fill
        return sorted(surplus)[1], sorted(answer)[1]

    async def _cpu_per_answer(self, running: Running) -> float:
        before = cpu_seconds(running.pid)
        done = await closed_loop(running.port, self._batches(), 16, self.seconds / 3)
        used = cpu_seconds(running.pid) - before
        return 1e6 * used / max(1, done.count(503))

    def _batches(self) -> list[bytes]:
        job = Job(port=0, server=0, cassandra=0, connections=0, warm_up=0, seconds=0)
        job.path, job.key, job.batch, job.requests = "/v1/events", "events", _BATCH, 2000
        return make_writes(job, b"overload")


def _events(outcome: Outcome, status: int) -> float:
    return _BATCH * outcome.count(status) / outcome.seconds


def tables(m: Measured) -> str:
    """Return the verdicts as a Markdown table, and the case without a bar."""
    head = ["store-bound", "bar", "measured", "holds"]
    rows = [[v.what, v.bar, v.measured, page.holds(v.holds)] for v in verdicts(m)]
    lines = page.table(head, rows)
    lines += [
        "",
        f"The store was limited to C = {m.capacity:,.0f} events/s ({m.free:,.0f} without the"
        f" limit). {m.offered:,.0f} events/s arrived and {m.goodput:,.0f} were accepted;"
        f" {m.surplus_share:.0%} of the requests were surplus. p99 of the reads meanwhile:"
        f" {m.reads_p99 * 1000:,.0f} ms.",
        f"A surplus answer took {m.surplus_us:,.0f} µs of CPU, a bare answer"
        f" {m.answer_us:,.0f} µs.",
        "",
        "Limited by the service's process instead of the store (no bar): of"
        f" {m.alone_offered:,.0f} events/s offered, {m.alone_goodput:,.0f} were accepted, with p99"
        f" {m.alone_p99 * 1000:,.0f} ms. Load, service and Cassandra shared the same cores.",
    ]
    return "\n".join(lines) + "\n"


def parser() -> argparse.ArgumentParser:
    made = command_line.parser(
        "overload", __doc__, "--seconds 5 --write", "0 every bar holds, 1 one does not"
    )
    made.add_argument(
        "--seconds", type=positive, default=5.0, help="length of each measurement (%(default)s)"
    )
    command_line.add_outputs(made, "docs/operations.md")
    return made


def _main(options: argparse.Namespace) -> int:
    with Progress(6) as progress:
        measured = Run(options.seconds, progress).measure()
    print(tables(measured))
    command_line.save_json(options.json, measured)
    if options.write:
        page.write_sections(PAGE, "overload", {"overload": tables(measured)})
    return 0 if all(each.holds for each in verdicts(measured)) else 1


def main() -> int:
    options = parser().parse_args()
    return command_line.run("overload", lambda: _main(options), NotReady, *START_ERRORS)


if __name__ == "__main__":
    sys.exit(main())
