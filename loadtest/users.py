"""One Locust user is one game server: an open loop of requests over its own connections.

Arrivals are drawn from a clock (Poisson) and handed to a gevent pool. They do not wait for answers,
as players do not: latency counts from the moment at which a request was due, and an arrival that
finds every connection busy is counted as missed. A closed loop, which waits for the answer before
it draws the next pause, would hide exactly the stalls that a load test looks for.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import Any, Protocol

import gevent
import msgspec
from gevent.pool import Pool
from locust import FastHttpUser, task
from locust.exception import StopUser

from loadtest import journal, target
from loadtest.journal import Journal
from loadtest.play import Batch, day_curve
from loadtest.tally import ACKNOWLEDGED, FAILED, MISSED, READ, SHED, WRITE, Tally

_JSON = {"Content-Type": "application/json"}
_METHODS = {WRITE: "POST", READ: "GET"}
_PATHS = {WRITE: "/v1/events", READ: "/v1/players/{player_id}/sessions"}
_OUTCOMES = {200: ACKNOWLEDGED, 503: SHED, 429: SHED}
_OFFSET = time.time() - time.perf_counter()


class Source(Protocol):
    """Where batches come from: the model of play, or a file."""

    def next(self, now_ms: int) -> Batch | None:
        """None: there are no more."""

    def again(self, batch: Batch, at_ms: int) -> None: ...

    def reader(self) -> str: ...


@dataclass
class Run:
    """What the users of a process share during one test."""

    source: Source
    journal: Journal
    tally: Tally
    begin: float
    under_way: int = 0  # batches that were sent and are not in the journal yet


class Missed(Exception):
    """An arrival that found every connection busy."""


class _Problem(msgspec.Struct):
    type: str


class _Page(msgspec.Struct):
    next_cursor: str | None


def clock() -> float:
    """Seconds since 1970 that never step back."""
    return _OFFSET + time.perf_counter()


class GameServer(FastHttpUser):
    """Sends `--rate` requests per second on average, until it is stopped."""

    abstract = True
    run_data: Run  # of the process's present test, set when that starts

    def __init__(self, environment: Any) -> None:
        options = environment.parsed_options
        self.options = options
        self.insecure = options.insecure
        self.ssl_context_factory = lambda: target.tls(options)
        self.default_headers = target.headers(options)
        self.concurrency = options.connections
        self.network_timeout = self.connection_timeout = options.timeout
        super().__init__(environment)
        self.pool = Pool(options.connections)
        self.draw = random.Random()

    @task
    def arrivals(self) -> None:
        due = clock()
        while True:
            due += self.draw.expovariate(self.options.rate * self._curve(due))
            # Behind the clock or not, sleeping lets answers in; a lag is told, not dropped.
            gevent.sleep(0)
            while (early := due - clock()) > 0:  # gevent's timers may be early: cached time
                gevent.sleep(early)
            kind = READ if self.draw.random() < self.options.reads else WRITE
            if self.pool.full():
                self._miss(due, kind)
            elif kind == READ:
                self.pool.spawn(self._read, self.run_data.source.reader(), due)
            elif batch := self.run_data.source.next(_ms(clock())):
                self.pool.spawn(self._write, batch, due)
            elif not len(self.pool):  # else one under way may have to be sent again
                raise StopUser

    def _curve(self, now: float) -> float:
        day = self.options.day
        return day_curve((now - self.run_data.begin) / day % 1) if day else 1.0

    def on_stop(self) -> None:
        """What is under way gets its answer, so that the journal knows of all that was sent."""
        self.pool.join()

    def _write(self, batch: Batch, due: float) -> None:
        run, begun = self.run_data, clock()
        run.under_way += 1
        with self.client.post(
            _PATHS[WRITE], data=batch.body, headers=_JSON, catch_response=True
        ) as answer:
            outcome = self._settle(answer, WRITE, due, begun, batch.events)
            whole = outcome == ACKNOWLEDGED and b'"discarded":0' in answer.content
            run.journal.add(journal.ACKNOWLEDGED if whole else journal.UNKNOWN, batch.tokens)
            run.under_way -= 1
            if outcome != ACKNOWLEDGED:
                pause = (answer.headers or {}).get("retry-after") or 1
                run.source.again(batch, _ms(clock() + float(pause)))

    def _read(self, player: str, due: float, cursor: str = "") -> None:
        begun, path = clock(), _PATHS[READ].format(player_id=player) + cursor
        with self.client.get(path, name=_PATHS[READ], catch_response=True) as answer:
            outcome = self._settle(answer, READ, due, begun, 0)
        if outcome == ACKNOWLEDGED and self.draw.random() < self.options.deeper:
            after = msgspec.json.decode(answer.content, type=_Page).next_cursor
            if after:
                self._read(player, clock(), f"?cursor={after}")

    def _settle(self, answer: Any, kind: str, due: float, begun: float, events: int) -> str:
        """Count the answer, for us and for Locust, from when the request was due."""
        latency = clock() - due
        outcome = _OUTCOMES.get(answer.status_code, FAILED)
        answer.request_meta["response_time"] = latency * 1000
        if outcome == ACKNOWLEDGED:
            answer.success()
        else:
            answer.failure(f"{outcome}: {answer.status_code} {_problem(answer)}")
        self.run_data.tally.sent(due, kind, outcome, latency, begun - due, events)
        return outcome

    def _miss(self, due: float, kind: str) -> None:
        self.run_data.tally.missed(due, kind)
        self.environment.events.request.fire(
            request_type=_METHODS[kind],
            name=_PATHS[kind],
            response_time=None,
            response_length=0,
            context={},
            exception=Missed(f"{MISSED}: all {self.options.connections} connections busy"),
        )


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _problem(answer: Any) -> str:
    """The type of the problem that a refusal names, or what went wrong on the way."""
    try:
        return msgspec.json.decode(answer.content or b"", type=_Problem).type
    except msgspec.DecodeError:
        error = getattr(answer, "error", None)
        return f"{type(error).__name__}: {error}" if error else "without a problem document"
