"""Measure what the service does with more than it can do, by a store that it must wait for.

A proxy holds Cassandra to a capacity C, at most a fifth of what the service does freely. Then five
times C arrives by the clock, with a few reads beside it. Also what an answer to a surplus request
costs, against a bare ASGI application that answers at once. The case where the process itself is
the bottleneck is printed without a bar.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvloop

from dev.cluster import Cluster, NodeFailed
from dev.toolchain import MissingTool
from loadtest.bench import contenders, page, store
from loadtest.bench.contenders import ROOT, Contender, NotReady, Running
from loadtest.bench.generator import Job, cpu_seconds, make_writes
from loadtest.bench.progress import Progress
from loadtest.overload.client import Outcome, closed_loop, open_loop
from loadtest.overload.proxy import Proxy, proxy
from player_sessions.settings import PREFIX, load

PAGE = ROOT / "docs" / "operations.md"
_BATCH = 10
_ROW_BYTES = 95  # of an event on its way to Cassandra, about; C itself is measured
_CONNECTIONS = 64
_DEADLINE = 2.0
_SERVICE = Contender("service", "this service", ("-m", "player_sessions", "serve"))
_SURPLUS = Contender("surplus", "this service, which sheds all", _SERVICE.command)
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
    accepted_p99: float
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
    """The bars of the store-bound case; each must hold."""
    goodput, cost = m.goodput / m.capacity, m.surplus_us / m.answer_us
    grown = m.memory_most - m.memory_before
    return [
        Verdict("C / what the service does freely", "≤ 0.2", f"{m.capacity / m.free:.2f}",
                m.capacity <= 0.2 * m.free),
        Verdict("goodput at five times C / C", "≥ 0.8", f"{goodput:.2f}", goodput >= 0.8),
        Verdict("accepted: p99", f"≤ {_DEADLINE:g} s", f"{m.accepted_p99:.2f} s",
                m.accepted_p99 <= _DEADLINE),
        Verdict("surplus, 503 with Retry-After: p99", "< 50 ms", f"{m.surplus_p99 * 1000:.1f} ms",
                m.surplus_p99 < 0.05),
        Verdict("answers but 200 and 503 with Retry-After", "0", f"{m.other_answers}",
                m.other_answers == 0),
        Verdict("memory: growth of the resident set", "≤ 64 MiB", f"{grown:.0f} MiB", grown <= 64),
        Verdict("reads answered with 200 beside it", "≥ 0.95", f"{m.reads_answered:.2f}",
                m.reads_answered >= 0.95),
        Verdict("CPU of a surplus answer / of a bare one", "≤ 1.5", f"{cost:.2f}", cost <= 1.5),
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
            environ = contenders.variables(cluster, "overload")
            session = enter(
                store.opened(load({k: v for k, v in environ.items() if k.startswith(PREFIX)}))
            )
            player = store.write_player(session, 50)
            self.pipe: Proxy = enter(proxy((cluster.address(1), cluster.native_port)))
            slow = environ | {
                f"{PREFIX}CASSANDRA_CONTACT_POINTS": "127.0.0.1",
                f"{PREFIX}CASSANDRA_PORT": str(self.pipe.port),
            }
            full = slow | {f"{PREFIX}WRITER_QUEUE_ROWS": "10"}
            self.service = enter(contenders.running(_SERVICE, slow, folder))
            self.surplus = enter(contenders.running(_SURPLUS, full, folder))
            self.answer = enter(contenders.running(_ANSWER, environ, folder))
            self.reads = [f"GET /v1/players/{player}/sessions HTTP/1.1\r\nHost: x\r\n\r\n".encode()]
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                return runner.run(self._all())

    async def _all(self) -> Measured:
        self.progress.step("what the service does freely")
        warm = await closed_loop(self.service.port, self._batches(), _CONNECTIONS, self.seconds)
        free = await closed_loop(self.service.port, self._batches(), _CONNECTIONS, self.seconds)
        free_rate = _events(free, 200)
        assert warm.count(200)
        self.progress.step("five times as much as one process can do, store unhindered")
        alone = await open_loop(
            self.service.port, self._batches(), 2 * free_rate / _BATCH, self.seconds, 400
        )
        self.progress.step("the capacity of a hindered store")
        self.pipe.bytes_per_second = free_rate / 8 * _ROW_BYTES
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
            accepted_p99=five.percentile(200, 0.99),
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
        before = _resident_mib(self.service.pid, "VmRSS")
        five, reads = await asyncio.gather(
            open_loop(
                self.service.port, self._batches(), 5 * capacity / _BATCH, 3 * self.seconds, 4000
            ),
            open_loop(self.service.port, self.reads, 10, 3 * self.seconds, 100),
        )
        return five, reads, (before, _resident_mib(self.service.pid, "VmHWM"))

    async def _costs(self) -> tuple[float, float]:
        """Server CPU per answer in µs: while a stopped store leaves only surplus, and bare."""
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


def _resident_mib(pid: int, what: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) / 1024
    raise OSError(f"no {what} of process {pid}")


def tables(m: Measured) -> str:
    """Markdown: the verdicts, and the case without a bar."""
    lines = ["| store-bound | bar | measured | holds |", "| --- | --- | --- | --- |"]
    for each in verdicts(m):
        holds = "yes" if each.holds else "**no**"
        lines.append(f"| {each.what} | {each.bar} | {each.measured} | {holds} |")
    lines += [
        "",
        f"The store was held to C = {m.capacity:,.0f} events/s ({m.free:,.0f} freely) and"
        f" {m.offered:,.0f} arrived: {m.goodput:,.0f} were accepted, {m.surplus_share:.0%} of the"
        f" requests were surplus. Reads beside it: p99 {m.reads_p99 * 1000:,.0f} ms.",
        f"A surplus answer took {m.surplus_us:,.0f} µs of CPU, a bare one {m.answer_us:,.0f}.",
        "",
        f"Process-bound, without a bar: of {m.alone_offered:,.0f} events/s offered,"
        f" {m.alone_goodput:,.0f} were accepted, p99 {m.alone_p99 * 1000:,.0f} ms, with load,"
        " service and Cassandra on the same cores.",
    ]
    return "\n".join(lines) + "\n"


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m loadtest.overload",
        description=__doc__,
        epilog="example: python -m loadtest.overload --seconds 5 --write. Exit code: 0 every bar"
        " holds, 1 one does not, 2 the run failed.",
    )
    add = made.add_argument
    add("--seconds", type=float, default=5.0, help="of each measurement (%(default)s)")
    add("--json", type=Path, metavar="FILE", help="write all figures there")
    add("--write", action="store_true", help="write the figures into docs/operations.md")
    return made


def main() -> int:
    options = parser().parse_args()
    try:
        with Progress(6) as progress:
            measured = Run(options.seconds, progress).measure()
    except KeyboardInterrupt:
        print("overload: stopped", file=sys.stderr)
        return 130
    except (NotReady, NodeFailed, MissingTool, OSError) as error:
        print(f"overload: {error}", file=sys.stderr)
        return 2
    print(tables(measured))
    if options.json:
        options.json.write_text(json.dumps(asdict(measured), indent=1) + "\n")
    if options.write:
        document: dict[str, Any] = {
            "date": datetime.now(UTC).isoformat(timespec="minutes"),
            "command": page.command("loadtest.overload"),
            "machine": page.machine(),
        }
        page.write(PAGE, document, tables(measured), marker="overload")
    return 0 if all(each.holds for each in verdicts(measured)) else 1


if __name__ == "__main__":
    sys.exit(main())
