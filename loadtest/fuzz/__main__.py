"""Send almost valid requests with wrong bytes for minutes, to a service started for it.

The service must never answer 500, hang, or leak a stack trace, and it must work afterwards.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import Progress

from dev.service import Server
from loadtest import command_line
from loadtest.command_line import positive
from loadtest.fuzz.cases import case, corpus
from loadtest.own_service import START_ERRORS, own_service

# Short, so that the service soon cuts requests that are never finished.
PATIENCE = {"HEAD_TIMEOUT": "1s", "BODY_TIMEOUT": "1s", "IDLE_TIMEOUT": "500ms"}
_HANG_SECONDS = 10.0  # two timeouts in a row on a busy machine
_AT_ONCE = 100
_LEAK = re.compile(rb'Traceback|File "|\.py\b|site-packages|cassandra\.[A-Z]')
_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")


@dataclass
class Outcome:
    """The answers by status; `faults` has the cases that broke a promise, with the reason."""

    cases: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    faults: list[tuple[int, str, bytes]] = field(default_factory=list)


def fault(said: bytes, *, ended: bool) -> str | None:
    """Return what is wrong with everything the service sent on a connection, or None."""
    if not ended:
        return f"still open after {_HANG_SECONDS} s"
    if b"500" in _STATUS.findall(said):
        return "500"
    problems = said.partition(b'"swagger')[0]  # the page /docs may contain any word
    if found := _LEAK.search(problems):
        return f"it says {found[0]!r}"
    return None


async def fuzz(port: int, seed: str, first: int, seconds: float) -> Outcome:
    """Send the cases from number `first` on, for `seconds`."""
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
    """Return all that the service sent, and whether it closed the connection."""
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
    """Return what is wrong with the service after the cases, or None."""
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
        own_service("fuzz", **PATIENCE) as service,
        Progress(console=Console(stderr=True)) as bar,
    ):
        port = int(service.url.rpartition(":")[2])
        for _ in bar.track(range(round(minutes * 6)), description="fuzzing"):
            some = asyncio.run(fuzz(port, seed, total.cases, 10))
            total.cases += some.cases
            total.statuses += some.statuses
            total.faults += some.faults
        return total, aftermath(service)


def parser() -> argparse.ArgumentParser:
    made = command_line.parser(
        "fuzz", __doc__, "--minutes 1 --seed a", "0 all held, 1 a case broke a promise"
    )
    made.add_argument(
        "--minutes", type=positive, default=5.0, help="length of the run (%(default)s)"
    )
    made.add_argument(
        "--seed", default=uuid.uuid4().hex[:8], help="the same seed sends the same cases (random)"
    )
    return made


def _main(options: argparse.Namespace) -> int:
    print(f"seed {options.seed}")
    outcome, wrong = _run(options.minutes, options.seed)
    answers = ", ".join(f"{status} {many:,}" for status, many in sorted(outcome.statuses.items()))
    print(f"{outcome.cases:,} cases; answers: {answers}")
    for number, what, data in outcome.faults[:20]:
        print(f"case {number}: {what}: {data[:2000]!r}")
    if wrong:
        print(f"the service afterwards: {wrong}")
    return int(bool(outcome.faults or wrong))


def main() -> int:
    options = parser().parse_args()
    return command_line.run("fuzz", lambda: _main(options), *START_ERRORS)


if __name__ == "__main__":
    sys.exit(main())
