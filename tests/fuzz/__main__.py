"""Send requests that are nearly right, byte by byte wrong, for minutes, to a service of our own.

Never a 500, never a hang, never a leaked stack trace, and it works on afterwards.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
import tempfile
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from dev.cluster import Cluster, NodeFailed
from dev.toolchain import MissingTool
from tests.fuzz.cases import case, corpus
from tests.support import Server, apply_schema, new_keyspace, variables

# Short, so that what is never finished is soon cut.
PATIENCE = {"HEAD_TIMEOUT": "1s", "BODY_TIMEOUT": "1s", "IDLE_TIMEOUT": "500ms"}
_HANG_SECONDS = 10.0  # two timeouts in a row, and a busy machine
_AT_ONCE = 100
_LEAK = re.compile(rb'Traceback|File "|\.py\b|site-packages|cassandra\.[A-Z]')
_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")


@dataclass
class Outcome:
    """Answers by status; `faults` are the cases that broke a promise, and how."""

    cases: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    faults: list[tuple[int, str, bytes]] = field(default_factory=list)


def fault(said: bytes, *, ended: bool) -> str | None:
    """What is wrong with all that was said on a connection."""
    if not ended:
        return f"still open after {_HANG_SECONDS} s"
    if b"500" in _STATUS.findall(said):
        return "500"
    problems = said.partition(b'"swagger')[0]  # the page /docs may speak of anything
    if found := _LEAK.search(problems):
        return f"it says {found[0]!r}"
    return None


async def fuzz(port: int, seed: str, first: int, seconds: float) -> Outcome:
    """Cases from number `first` on, for so long."""
    outcome, good = Outcome(), corpus()
    until = time.monotonic() + seconds
    numbers = iter(range(first, sys.maxsize))

    async def send() -> None:
        while time.monotonic() < until:
            number = next(numbers)
            data = case(seed, number, good)
            said, ended = await _exchange(port, data)
            outcome.cases += 1
            outcome.statuses.update(map(int, _STATUS.findall(said)))
            if what := fault(said, ended=ended):
                outcome.faults.append((number, what, data))

    async with asyncio.TaskGroup() as tasks:
        for _ in range(_AT_ONCE):
            tasks.create_task(send())
    return outcome


async def _exchange(port: int, data: bytes) -> tuple[bytes, bool]:
    """(all that the service said, whether it closed the connection)"""
    said = b""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(_HANG_SECONDS):
            writer.write(data)
            while part := await reader.read(65536):
                said += part
    except TimeoutError:
        return said, False
    except ConnectionError:
        pass
    finally:
        writer.close()
    return said, True


def aftermath(service: Server) -> str | None:
    """What is wrong with the service itself afterwards."""
    if service.process.poll() is not None:
        return "it ended"
    if service.logged("unexpected error"):
        return f"it logged an unexpected error: {service.logged('unexpected error')[0]}"
    if service.http.get("/health/ready").status_code != 200:
        return "it is not ready"
    return None


def _run(minutes: float, seed: str) -> tuple[Outcome, str | None]:
    total = Outcome()
    with (
        tempfile.TemporaryDirectory(prefix="fuzz-") as folder,
        Cluster(Path(folder)) as cluster,
        Progress(console=Console(stderr=True)) as bar,
    ):
        keyspace = new_keyspace()
        apply_schema(cluster, keyspace)
        with Server(variables(cluster, keyspace, **PATIENCE)) as service:
            port = int(service.ready().url.rpartition(":")[2])
            for _ in bar.track(range(round(minutes * 6)), description="fuzzing"):
                some = asyncio.run(fuzz(port, seed, total.cases, 10))
                total.cases += some.cases
                total.statuses += some.statuses
                total.faults += some.faults
            return total, aftermath(service)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m tests.fuzz",
        description=__doc__,
        epilog="example: python -m tests.fuzz --minutes 1 --seed a. Exit code: 0 all held, 1 a case"
        " broke a promise, 2 the run failed.",
    )
    made.add_argument("--minutes", type=float, default=5.0, help="how long (%(default)s)")
    made.add_argument("--seed", default=uuid.uuid4().hex[:8], help="for the same cases again")
    return made


def main() -> int:
    options = parser().parse_args()
    print(f"seed {options.seed}")
    try:
        outcome, wrong = _run(options.minutes, options.seed)
    except KeyboardInterrupt:
        print("fuzz: stopped", file=sys.stderr)
        return 130
    except (NodeFailed, MissingTool, AssertionError, OSError) as error:
        print(f"fuzz: {error}", file=sys.stderr)
        return 2
    answers = ", ".join(f"{status} {many:,}" for status, many in sorted(outcome.statuses.items()))
    print(f"{outcome.cases:,} cases; answers: {answers}")
    for number, what, data in outcome.faults[:20]:
        print(f"case {number}: {what}: {data[:2000]!r}")
    if wrong:
        print(f"the service afterwards: {wrong}")
    return int(bool(outcome.faults or wrong))


if __name__ == "__main__":
    sys.exit(main())
