"""Hold a steady load on a service of our own for minutes; nothing may rise.

Play, reads, refused bodies, packed ones and connections that come and go, at a fixed rate. Memory,
open files, threads and the median latency are sampled, and each is held to a bar for how much it
would rise over the whole run.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import os
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import Progress

from dev.cluster import Cluster, NodeFailed
from dev.toolchain import MissingTool
from loadtest.bench import page
from loadtest.bench.contenders import ROOT
from loadtest.play import Mix, Model, Play
from tests.faults.client import Connection, Torn
from tests.soak.slope import rise
from tests.support import Server, apply_schema, new_keyspace, now_ms, variables

PAGE = ROOT / "docs" / "reliability.md"
_SAMPLE_SECONDS = 5.0
_WARM_UP_SECONDS = 30.0
_CLIENTS = 16
_REQUESTS = 200  # on a connection before it is closed


@dataclass
class Samples:
    """One value each per `_SAMPLE_SECONDS`; memory in MiB, latency (median) in ms."""

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
    """What each may rise over the run."""
    return [
        Verdict("resident memory", " MiB", samples.memory, 8.0),
        Verdict("open files", "", samples.files, 2.0),
        Verdict("threads", "", samples.threads, 0.5),
        Verdict("latency, median", " ms", samples.latency, 0.5 * median(samples.latency)),
    ]


def table(samples: Samples) -> str:
    """Markdown."""
    lines = [
        "| | least | median | most | rise over the run | bar | holds |",
        "|---|--:|--:|--:|--:|--:|---|",
    ]
    for each in verdicts(samples):
        figures = min(each.values), median(each.values), max(each.values), rise(each.values)
        shown = " | ".join(f"{figure:.1f}{each.unit}" for figure in figures)
        holds = "yes" if each.holds else "**no**"
        lines.append(f"| {each.what} | {shown} | ≤ {each.bar:.1f}{each.unit} | {holds} |")
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
        status = Path(f"/proc/{self.pid}/status").read_text()
        fields = dict(line.split(":", 1) for line in status.splitlines())
        self.samples.memory.append(int(fields["VmRSS"].split()[0]) / 1024)
        self.samples.threads.append(int(fields["Threads"]))
        self.samples.files.append(len(os.listdir(f"/proc/{self.pid}/fd")))
        if self._latencies:
            self.samples.latency.append(median(self._latencies))
            self._latencies.clear()


def _run(options: argparse.Namespace) -> Samples:
    with (
        tempfile.TemporaryDirectory(prefix="soak-") as folder,
        Cluster(Path(folder)) as cluster,
        Progress(console=Console(stderr=True)) as progress,
    ):
        keyspace = new_keyspace()
        apply_schema(cluster, keyspace)
        with Server(variables(cluster, keyspace)).ready() as service:
            return asyncio.run(Soak(service, options.rate).run(options.minutes * 60, progress))


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m tests.soak",
        description=__doc__,
        epilog="example: python -m tests.soak --minutes 5 --rate 50. Exit code: 0 nothing rises, 1"
        " something does, 2 the run failed.",
    )
    made.add_argument("--minutes", type=float, default=30.0, help="how long (%(default)s)")
    made.add_argument("--rate", type=float, default=100.0, help="requests a second (%(default)s)")
    made.add_argument("--json", type=Path, metavar="FILE", help="write all samples there")
    made.add_argument("--write", action="store_true", help="write it into docs/reliability.md")
    return made


def main() -> int:
    options = parser().parse_args()
    try:
        samples = _run(options)
    except KeyboardInterrupt:
        print("soak: stopped", file=sys.stderr)
        return 130
    except (NodeFailed, MissingTool, AssertionError, OSError) as error:
        print(f"soak: {error}", file=sys.stderr)
        return 2
    print(table(samples))
    if options.json:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(samples)) + b"\n")
    if options.write:
        document: dict[str, Any] = {
            "date": datetime.now(UTC).isoformat(timespec="minutes"),
            "command": page.command("tests.soak"),
            "machine": page.machine(),
        }
        page.write(PAGE, document, table(samples), marker="soak")
    return 0 if all(each.holds for each in verdicts(samples)) else 1


if __name__ == "__main__":
    sys.exit(main())
