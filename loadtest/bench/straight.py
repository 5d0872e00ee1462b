"""One half of the floor: the same batches straight through the driver, in one process, no HTTP.

Batches are made beforehand, their rows ready bytes as the service's are; each answer sends the next
batch, on the driver's own thread, so that no other thread is ever woken. Reads a `Job` as JSON from
standard input and writes a `Measured` to standard output, as the generator does; this process is
server and load in one.
"""

from __future__ import annotations

import os
import threading
import time
from itertools import chain
from typing import Any

from cassandra import ConsistencyLevel
from cassandra.query import BatchStatement

from loadtest.bench import generator
from loadtest.bench.generator import Job, Measured, WrongAnswer, cpu_seconds
from player_sessions.driver import build_cluster
from player_sessions.events import read_events
from player_sessions.rows import Inserts, RowsProtocol
from player_sessions.settings import load
from player_sessions.store import CQL, now_ms

_STALLED_SECONDS = 60.0


class _Straight:
    """So many batches in flight, each followed by the next."""

    def __init__(self, session: Any, batches: list[BatchStatement]) -> None:
        self.session = session
        self.batches = batches
        self.sent = 0
        self.answered = 0
        self.begun = float("inf")
        self.open = 0
        self.latencies: list[float] = []
        self.failure: BaseException | None = None
        self.stopping = False
        self.idle = threading.Event()

    def send(self) -> None:
        batch = self.batches[self.sent % len(self.batches)]
        self.sent += 1
        at = time.perf_counter()
        future = self.session.execute_async(batch, timeout=None)
        future.add_callbacks(self._answered, self._failed, callback_args=(at,))

    def _answered(self, _: Any, at: float) -> None:
        self.answered += 1
        if at >= self.begun:
            self.latencies.append(time.perf_counter() - at)
        if not self.stopping:
            self.send()
            return
        self.open -= 1
        if not self.open:
            self.idle.set()

    def _failed(self, error: BaseException) -> None:
        self.failure = error
        self.idle.set()


def measure(job: Job) -> Measured:
    settings = load(os.environ)
    cluster = build_cluster(settings, timeout=_STALLED_SECONDS)
    try:
        session = cluster.connect()
        session.client_protocol_handler = RowsProtocol
        prefix = os.urandom(8)
        return _measure(job, _Straight(session, _batches(session, settings, job, prefix)), prefix)
    finally:
        cluster.shutdown()


def _batches(session: Any, settings: Any, job: Job, prefix: bytes) -> list[BatchStatement]:
    """Those of the very requests that the others are sent, packed as the service packs them."""
    start, end = (session.prepare(CQL[kind].format(settings.keyspace)) for kind in ("start", "end"))
    inserts = Inserts(start, end, settings.retention_ms, ConsistencyLevel.LOCAL_QUORUM)
    now, made = now_ms(), []
    for request in generator.make_writes(job, prefix):
        events = read_events(request.partition(b"\r\n\r\n")[2], now + 60_000)
        rows = [row for event in events if (row := inserts.row(event, event.at_ms, now))]
        made.append(inserts.batch(rows, events[0].player_id.bytes))
    return made


def _measure(job: Job, straight: _Straight, prefix: bytes) -> Measured:
    straight.open = job.connections
    for _ in range(job.connections):
        straight.send()
    time.sleep(job.warm_up)
    answered, straight.begun = straight.answered, time.perf_counter()
    own, cassandra = time.process_time(), cpu_seconds(job.cassandra)
    time.sleep(job.seconds)
    made = Measured(
        requests=straight.answered - answered,
        seconds=time.perf_counter() - straight.begun,
        server_cpu=time.process_time() - own,
        cassandra_cpu=cpu_seconds(job.cassandra) - cassandra,
        generator_cpu=0.0,
        latencies=straight.latencies,
        players=[],
    )
    straight.stopping = True
    if not straight.idle.wait(_STALLED_SECONDS) or straight.failure:
        raise WrongAnswer(f"a batch failed: {straight.failure or 'no answer'}")
    sample = range(0, min(straight.sent, job.requests), max(1, job.requests // 20))
    made.players = sorted(
        chain.from_iterable(generator.players_of(prefix, n, job.batch) for n in sample)
    )
    return made


if __name__ == "__main__":
    raise SystemExit(generator.main(measure))
