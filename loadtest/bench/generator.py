"""Generate the load of the bench, in a process of its own that is cheaper than any contender.

Full load is a closed loop over N connections. At a given rate it is an open loop: requests are due
at random moments, whether or not earlier ones are answered, and latency counts from the due moment.
Requests are made before the window opens. Only the status and length of an answer are read. The
processor time of server and Cassandra is read at the very beginning and end of the window.

The program reads a `Job` as JSON from standard input and writes a `Measured` to standard output.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import random
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from loadtest.bench.cores import pin

_STALLED_SECONDS = 60.0
# How the names of Cassandra's threads begin that take, run and answer requests.
_REQUEST_THREADS = ("epollEventLoop", "Native-Transpor", "MutationStage", "ReadStage")
_SAMPLE = 20  # acknowledged requests whose players are looked up in the store


class Job(msgspec.Struct, kw_only=True):
    """The load to send: the request `read` repeatedly, or batches of new events to `path`."""

    port: int
    server: int  # a process id; so is `cassandra`
    cassandra: int
    connections: int
    warm_up: float
    seconds: float
    rate: float = 0.0  # requests per second of an open loop; 0: a closed loop
    cores: frozenset[int] = frozenset()  # cores to run on; empty: any
    read: str = ""
    player: str = ""  # whose sessions are read, for a contender that takes no request
    path: str = ""
    key: str = ""
    batch: int = 0
    requests: int = 0  # made beforehand; when all are sent, they are sent again


class Measured(msgspec.Struct, kw_only=True):
    """Figures of the window; times are in seconds.

    requests: those answered with 200. shed: those of an open loop answered with 503.
    latencies: of the requests that were sent in the window and not shed.
    """

    requests: int
    seconds: float
    server_cpu: float
    cassandra_cpu: float
    request_threads_cpu: float  # the part of it that Cassandra's request threads used
    generator_cpu: float
    latencies: list[float]
    players: list[str]  # players of a sample of the acknowledged requests
    shed: int = 0


class WrongAnswer(Exception):
    """A request failed, so that no figure of this run would mean anything."""


def cpu_seconds(pid: int) -> float:
    """Return the processor time of a process's threads so far, exact to the nanosecond."""
    return time.clock_gettime(~pid << 3 | 2)  # clock_getcpuclockid(3)


def request_thread_seconds(cassandra: int) -> float:
    """Return the processor time of Cassandra's request threads so far.

    Its other threads compile, flush, compact and collect garbage when they like, also during the
    measurement of a contender that did not cause it.
    """
    nanoseconds = 0
    for thread in Path(f"/proc/{cassandra}/task").iterdir():
        with suppress(OSError):  # it has just ended
            if (thread / "comm").read_text().startswith(_REQUEST_THREADS):
                nanoseconds += int((thread / "schedstat").read_text().split()[0])
    return nanoseconds / 1e9


def players_of(prefix: bytes, request: int, batch: int) -> list[str]:
    """Return the players of a request, one per event; no two events of a run share one."""
    return [f"{prefix.hex()}{request * batch + i:016x}" for i in range(batch)]


def make_writes(job: Job, prefix: bytes) -> list[bytes]:
    """Return requests with starts and ends in turn, as many games send them, dated now."""
    now = datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds")
    session = f"{os.urandom(8).hex()}{0:016x}"
    kinds = (
        f'"event":"start","country":"FI","session_id":"{session}","ts":"{now}"',
        f'"event":"end","session_id":"{session}","ts":"{now}"',
    )
    made = []
    for request in range(job.requests):
        players = players_of(prefix, request, job.batch)
        events = ",".join(
            f'{{"player_id":"{player}",{kinds[(request + i) % 2]}}}'
            for i, player in enumerate(players)
        )
        made.append(http("POST", job.path, f'{{"{job.key}":[{events}]}}'))
    return made


def http(method: str, path: str, body: str = "") -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: bench\r\n"
    if body:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return f"{head}\r\n{body}".encode()


class _Load:
    """The connections, and the window in which answers count."""

    def __init__(self, job: Job, requests: list[bytes], loop: asyncio.AbstractEventLoop) -> None:
        self.job = job
        self.requests = requests
        self.loop = loop
        self.sent = 0
        self.answered = 0
        self.shed = 0
        self.open = 0
        self.idle: list[_Connection] = []  # used in an open loop
        self.waiting: deque[float] = deque()  # due times of requests without a connection
        self.acknowledged: list[int] = []
        self.latencies: list[float] = []
        self.begun = float("inf")
        self.stopping = False
        self.result: dict[str, Any] = {}
        self.finished: asyncio.Future[None] = loop.create_future()

    async def run(self) -> dict[str, Any]:
        self.loop.set_exception_handler(lambda _, fault: self.fail(repr(fault)))
        for _ in range(self.job.connections):
            await self.connect()
        if self.job.rate:
            self.clock = _Arrivals(self, self.job.rate)
        self.loop.call_later(self.job.warm_up, self._begin)
        self.loop.call_later(self.job.warm_up + self.job.seconds + _STALLED_SECONDS, self._stalled)
        await self.finished
        return self.result

    def due(self, at: float) -> None:
        """Send a request of the open loop, or queue it until a connection is free."""
        if self.stopping:
            self.done()
        elif self.idle:
            self.idle.pop().send(at)
        else:
            self.waiting.append(at)

    def free(self, connection: _Connection) -> None:
        """Reuse a connection whose answer is complete."""
        if self.waiting:
            connection.send(self.waiting.popleft())
        elif self.stopping:
            self.done()
        elif not self.job.rate:
            connection.send(time.perf_counter())
        else:
            self.idle.append(connection)

    async def connect(self) -> None:
        await self.loop.create_connection(lambda: _Connection(self), "127.0.0.1", self.job.port)

    def fail(self, what: str) -> None:
        if not self.finished.done():
            self.finished.set_exception(WrongAnswer(what))

    def _stalled(self) -> None:
        self.fail(f"{self.open} requests had no answer {_STALLED_SECONDS:g} s after the window")

    def _cpu(self) -> dict[str, float]:
        return {
            "server_cpu": cpu_seconds(self.job.server),
            "cassandra_cpu": cpu_seconds(self.job.cassandra),
            "request_threads_cpu": request_thread_seconds(self.job.cassandra),
            "generator_cpu": time.process_time(),
        }

    def _begin(self) -> None:
        self.answered = self.shed = 0
        self._at_begin = self._cpu()
        self.begun = time.perf_counter()
        self.loop.call_later(self.job.seconds, self._end)

    def _end(self) -> None:
        if not self.latencies:  # nothing was sent and answered yet: extend the window
            self.loop.call_later(0.05, self._end)
            return
        seconds, used = time.perf_counter() - self.begun, self._cpu()
        self.result = {
            "requests": self.answered,
            "shed": self.shed,
            "seconds": seconds,
            **{name: cpu - self._at_begin[name] for name, cpu in used.items()},
        }
        self.stopping = True

    def done(self) -> None:
        """Finish when no answer is missing any more."""
        if self.open == 0 and not self.finished.done():
            self.finished.set_result(None)


class _Connection(asyncio.Protocol):
    """Sends one request at a time: the next one when the last answer is complete."""

    def __init__(self, load: _Load) -> None:
        self._load = load
        self._buffer = b""
        self._begun = 0.0
        self._request = 0
        self._waiting = False

    def connection_made(self, transport: Any) -> None:
        self._write: Callable[[bytes], None] = transport.write
        self._load.free(self)

    def send(self, at: float) -> None:
        """Send the next request; its latency counts from `at`."""
        load = self._load
        self._request, load.sent, load.open = load.sent, load.sent + 1, load.open + 1
        self._waiting = True
        self._begun = at
        self._write(load.requests[self._request % len(load.requests)])

    def data_received(self, data: bytes) -> None:
        self._buffer = data = self._buffer + data if self._buffer else data
        end = data.find(b"\r\n\r\n")
        if end < 0:
            return
        head = data[:end].lower()
        length = int(head.partition(b"content-length:")[2].partition(b"\r")[0] or 0)
        if len(data) >= end + 4 + length:
            self._buffer = b""
            self._answered(data)

    def _answered(self, data: bytes) -> None:
        load = self._load
        self._waiting = False
        load.open -= 1
        if load.job.rate and data.startswith(b"HTTP/1.1 503 "):
            load.shed += 1  # allowed: the machine may have less to give than at full load
            load.free(self)
            return
        if not data.startswith(b"HTTP/1.1 200 "):
            load.fail(f"instead of 200: {data[:600].decode(errors='replace')}")
            return
        load.answered += 1
        load.acknowledged.append(self._request)
        if self._begun >= load.begun:
            load.latencies.append(time.perf_counter() - self._begun)
        load.free(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._waiting:
            self._load.fail(f"the server closed a connection before it answered: {exc}")


class _Timer(ctypes.Structure):
    """The C struct itimerspec: the interval, which stays 0, and the next time."""

    _fields_ = tuple((name, ctypes.c_long) for name in ("every_s", "every_ns", "next_s", "next_ns"))


class _Arrivals:
    """Tells `load` when a request is due: at random moments, `rate` per second on average.

    It uses a kernel timer, because uvloop's timers are exact only to the millisecond.
    """

    def __init__(self, load: _Load, rate: float) -> None:
        self._load = load
        self._rate = rate
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._timer = self._libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._timer < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        load.loop.add_reader(self._timer, self._ring)
        self._next = time.perf_counter()  # the clock of the kernel timer, on Linux
        self._arm()

    def _ring(self) -> None:
        os.read(self._timer, 8)
        now = time.perf_counter()
        while self._next <= now:
            self._load.due(self._next)
            self._next += random.expovariate(self._rate)
        self._arm()

    def _arm(self) -> None:
        seconds, rest = divmod(round(self._next * 1e9), 1_000_000_000)
        timer = _Timer(0, 0, seconds, rest)
        absolute = 1
        if self._libc.timerfd_settime(self._timer, absolute, ctypes.byref(timer), None):
            raise OSError(ctypes.get_errno(), "timerfd_settime")


def measure(job: Job) -> Measured:
    prefix = os.urandom(8)
    requests = [job.read.encode()] if job.read else make_writes(job, prefix)
    gc.disable()  # no cycles here; a pause would count as the server's

    async def run() -> tuple[dict[str, Any], _Load]:
        load = _Load(job, requests, asyncio.get_running_loop())
        return await load.run(), load

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        result, load = runner.run(run())
    done = load.acknowledged
    sample = [] if job.read else [*done[:: max(1, len(done) // _SAMPLE)], done[-1]]
    players = {p for r in sample for p in players_of(prefix, r % job.requests, job.batch)}
    return Measured(**result, latencies=load.latencies, players=sorted(players))


def main(measure: Callable[[Job], Measured] = measure) -> int:
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    try:
        pin(os.getpid(), job.cores)
        answer = msgspec.json.encode(measure(job))
        # sys.stdout may silently write only a part under PYTHONUNBUFFERED.
        with open(sys.stdout.fileno(), "wb", closefd=False) as output:
            output.write(answer)
    except (WrongAnswer, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
