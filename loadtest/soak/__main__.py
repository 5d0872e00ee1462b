"""Send a steady load for minutes to a service started for it; nothing may rise.

At a fixed rate the program sends batches, reads, compressed batches and batches that are refused,
and opens new connections now and then. It samples memory, open files, threads and the median
latency; each has a bar for how much it may rise over the whole run.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import os
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from statistics import median

from rich.console import Console
from rich.progress import Progress

from dev.game_events import now_ms
from dev.service import Server
from loadtest import command_line, page
from loadtest.command_line import positive
from loadtest.http_connection import Connection, Torn
from loadtest.own_service import START_ERRORS, memory_mib, own_service
from loadtest.play import Mix, Model, Play
from loadtest.soak.slope import rise

PAGE = page.DOCS / "reliability.md"
_SAMPLE_SECONDS = 5.0
_WARM_UP_SECONDS = 30.0
_CLIENTS = 16
_REQUESTS = 200  # on a connection before it is closed


@dataclass
class Samples:
    """One value per `_SAMPLE_SECONDS`; memory in MiB, median latency in ms."""

    memory: list[float] = field(default_factory=list)
    files: list[float] = field(default_factory=list)
    threads: list[float] = field(default_factory=list)
    latency: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)


@dataclass(frozen=True)
class Verdict:
    what: str
    unit: str
    values: list[float]
    bar: float

    @property
    def holds(self) -> bool:
        return rise(self.values) <= self.bar


def verdicts(samples: Samples) -> list[Verdict]:
    """Return each measured quantity with the most that it may rise over the run."""
    return [
        Verdict("resident memory", " MiB", samples.memory, 8.0),
        Verdict("open files", "", samples.files, 2.0),
        Verdict("threads", "", samples.threads, 0.5),
        Verdict("median latency", " ms", samples.latency, 0.5 * median(samples.latency)),
    ]


def table(samples: Samples) -> str:
    """Return the verdicts as a Markdown table, and the answers by status."""
    rows = []
    for each in verdicts(samples):
        figures = min(each.values), median(each.values), max(each.values), rise(each.values)
        shown = [f"{figure:.1f}{each.unit}" for figure in figures]
        rows.append([each.what, *shown, f"≤ {each.bar:.1f}{each.unit}", page.holds(each.holds)])
    head = ["", "minimum:", "median:", "maximum:", "rise over the run:", "bar:", "holds"]
    lines = page.table(head, rows)
    answers = ", ".join(f"{status}: {many:,}" for status, many in sorted(samples.statuses.items()))
    return "\n".join(lines) + f"\n\nAnswers by status: {answers}.\n"


class Soak:
    def __init__(self, service: Server, rate: float) -> None:
        self.url = service.url
        self.pid = service.process.pid
        self.rate = rate
        self.samples = Samples()
        self._play = Play(Model("soak", Mix(players=5000)), now_ms())
        self._latencies: list[float] = []

    async def run(self, seconds: float, progress: Progress) -> Samples:
        clients = [asyncio.create_task(self._client()) for _ in range(_CLIENTS)]
        try:
            await asyncio.sleep(_WARM_UP_SECONDS)
            self._latencies.clear()
            for _ in progress.track(range(round(seconds / _SAMPLE_SECONDS)), description="soak"):
                await asyncio.sleep(_SAMPLE_SECONDS)
                for client in clients:
                    if client.done():
                        client.result()
                self._sample()
        finally:
            for client in clients:
                client.cancel()
            await asyncio.gather(*clients, return_exceptions=True)
        return self.samples

    async def _client(self) -> None:
        connection, due, sent = Connection(self.url), time.monotonic(), 0
        while True:
            due += random.expovariate(self.rate / _CLIENTS)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            begun = time.monotonic()
            try:
                answer = await connection.send(self._request())
            except Torn:
                self.samples.statuses[0] += 1
                continue
            self._latencies.append((time.monotonic() - begun) * 1000)
            self.samples.statuses[answer.status] += 1
            sent += 1
            if sent % _REQUESTS == 0:
                connection.close()

    def _request(self) -> bytes:
        kind = random.random()
        if kind < 0.3:
            return b"GET /v1/players/%s/sessions HTTP/1.1\r\nHost: x\r\n\r\n" % (
                self._play.reader().encode()
            )
        body, headers = self._play.next(now_ms()).body.encode(), b""
        if kind < 0.35:
            body = body.replace(b"start", b"begin").replace(b"end", b"stop")
        elif kind < 0.6:
            body, headers = gzip.compress(body, 1), b"Content-Encoding: gzip\r\n"
        head = b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n" % len(body)
        return head + headers + b"\r\n" + body

    def _sample(self) -> None:
        self.samples.memory.append(memory_mib(self.pid))
        self.samples.threads.append(len(os.listdir(f"/proc/{self.pid}/task")))
        self.samples.files.append(len(os.listdir(f"/proc/{self.pid}/fd")))
        if self._latencies:
            self.samples.latency.append(median(self._latencies))
            self._latencies.clear()


def _measure(options: argparse.Namespace) -> Samples:
    with (
        own_service("soak") as service,
        Progress(console=Console(stderr=True)) as progress,
    ):
        return asyncio.run(Soak(service, options.rate).run(options.minutes * 60, progress))


def parser() -> argparse.ArgumentParser:
    made = command_line.parser(
        "soak", __doc__, "--minutes 5 --rate 50", "0 nothing rises, 1 something does"
    )
    add = made.add_argument
    add("--minutes", type=positive, default=30.0, help="length of the run (%(default)s)")
    add("--rate", type=positive, default=100.0, help="requests per second (%(default)s)")
    command_line.add_outputs(made, "docs/reliability.md")
    return made


def _main(options: argparse.Namespace) -> int:
    samples = _measure(options)
    print(table(samples))
    command_line.save_json(options.json, samples)
    if options.write:
        page.write_sections(PAGE, "soak", {"soak": table(samples)})
    return 0 if all(each.holds for each in verdicts(samples)) else 1


def main() -> int:
    options = parser().parse_args()
    return command_line.run("soak", lambda: _main(options), *START_ERRORS)


if __name__ == "__main__":
    sys.exit(main())
