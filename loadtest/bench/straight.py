"""One half of the floor: the same batches and queries straight through the driver, without HTTP.

Batches are made beforehand, with rows that are already packed as the service packs them. A read is
the service's two queries, bound and read by the driver. Each answer sends the next batch or read on
the driver's own thread, so no other thread is ever woken. This process is server and load in one.
As the generator does, it reads a `Job` as JSON from standard input and writes a `Measured` to
standard output.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from functools import partial
from itertools import chain
from typing import Any
from uuid import UUID

from dev import cql
from dev.game_events import now_ms
from dev.service import PREFIX
from loadtest.bench import generator, plain_rows
from loadtest.bench.generator import Job, Measured, WrongAnswer, cpu_seconds, request_thread_seconds
from player_sessions.rules.events import from_ms, read_events
from player_sessions.rules.sessions import MAX_LIMIT
from player_sessions.settings import Settings
from player_sessions.store.reads import EXTRA_ENDS
from player_sessions.store.rows import Inserts, RowsProtocol
from player_sessions.store.statements import CQL

_STALLED_SECONDS = 60.0
_SETTINGS = Settings()
# Begins the work of a number, and calls the first function when it is done, or the second.
_Begin = Callable[[int, Callable[[Any], None], Callable[[BaseException], None]], None]


class _Straight:
    """Keeps a number of batches or reads in flight: each answer begins the next one."""

    def __init__(self, begin: _Begin) -> None:
        self._begin = begin
        self.sent = 0
        self.answered = 0
        self.begun = float("inf")
        self.open = 0
        self.latencies: list[float] = []
        self.failure: BaseException | None = None
        self.stopping = False
        self.idle = threading.Event()

    def send(self) -> None:
        number, at = self.sent, time.perf_counter()
        self.sent += 1
        self._begin(number, partial(self._answered, at), self._failed)

    def _answered(self, at: float, _: Any) -> None:
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
    keyspace = os.environ[f"{PREFIX}KEYSPACE"]
    with cql.connected(os.environ, keyspace) as session:
        if job.player:
            return _measure(job, _Straight(_reads(session, keyspace, UUID(job.player))))
        prefix = os.urandom(8)
        straight = _Straight(_writes(session, keyspace, job, prefix))
        made = _measure(job, straight)
        sample = range(0, min(straight.sent, job.requests), max(1, job.requests // 20))
        players = (generator.players_of(prefix, number, job.batch) for number in sample)
        made.players = sorted(chain.from_iterable(players))
        return made


def _writes(session: Any, keyspace: str, job: Job, prefix: bytes) -> _Begin:
    """Return the sending of the batches that the other contenders get, packed by the service."""
    session.client_protocol_handler = RowsProtocol
    inserts = Inserts(plain_rows.prepare(session, keyspace), _SETTINGS)
    now, batches = now_ms(), []
    for request in generator.make_writes(job, prefix):
        events = read_events(request.partition(b"\r\n\r\n")[2], now + 60_000)
        batches.append(plain_rows.packed_batch(inserts, events, now))

    def begin(number: int, done: Any, failed: Any) -> None:
        batch = batches[number % len(batches)]
        session.execute_async(batch, timeout=None).add_callbacks(done, failed)

    return begin


def _reads(session: Any, keyspace: str, player: UUID) -> _Begin:
    """Return the asking for a player's newest ends, and then for the starts that belong to them."""
    ends, starts = (
        session.prepare(CQL[name].format(keyspace)) for name in ("first_ends", "starts")
    )
    values = player, from_ms(now_ms() - _SETTINGS.retention_ms), MAX_LIMIT + EXTRA_ENDS

    def begin(_: int, done: Any, failed: Any) -> None:
        def ask_for_starts(found: list[Any]) -> None:
            query = starts.bind((player, [session_id for _, session_id in found]))
            session.execute_async(query, timeout=None).add_callbacks(done, failed)

        query = ends.bind(values)
        session.execute_async(query, timeout=None).add_callbacks(ask_for_starts, failed)

    return begin


def _measure(job: Job, straight: _Straight) -> Measured:
    straight.open = job.connections
    for _ in range(job.connections):
        straight.send()
    time.sleep(job.warm_up)
    answered, straight.begun = straight.answered, time.perf_counter()
    own, cassandra = time.process_time(), cpu_seconds(job.cassandra)
    request_threads = request_thread_seconds(job.cassandra)
    time.sleep(job.seconds)
    until = time.monotonic() + _STALLED_SECONDS
    while not (straight.latencies or straight.failure) and time.monotonic() < until:
        time.sleep(0.05)  # nothing was sent and answered yet: extend the window
    made = Measured(
        requests=straight.answered - answered,
        seconds=time.perf_counter() - straight.begun,
        server_cpu=time.process_time() - own,
        cassandra_cpu=cpu_seconds(job.cassandra) - cassandra,
        request_threads_cpu=request_thread_seconds(job.cassandra) - request_threads,
        generator_cpu=0.0,
        latencies=straight.latencies,
        players=[],
    )
    straight.stopping = True
    if not straight.idle.wait(_STALLED_SECONDS) or straight.failure:
        raise WrongAnswer(f"a request failed: {straight.failure or 'no answer'}")
    return made


if __name__ == "__main__":
    raise SystemExit(generator.main(measure))
