"""One Locust user is one game server: an open loop of requests over its own connections.

Arrivals are drawn from a clock (Poisson) and given to a gevent pool. They do not wait for answers,
as players do not. Latency counts from the moment when a request was due. An arrival that finds
every connection busy counts as missed. A closed loop, which waits for the answer before it draws
the next pause, would hide exactly the stalls that a load test looks for.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote

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
EVENTS, SESSIONS = "/v1/events", "/v1/players/{player_id}/sessions"
_OUTCOMES = {503: SHED, 429: SHED}
_OFFSET = time.time() - time.perf_counter()


class Source(Protocol):
    """The source of batches: the model of play, or a file."""

    def next(self, now_ms: int) -> Batch | None:
        """Return the next batch, or None if there are no more."""

    def again(self, batch: Batch, at_ms: int) -> None: ...

    def reader(self) -> str: ...


@dataclass
class Run:
    """The state that the users of a process share during one test."""

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
    """Return seconds since 1970; the clock never steps back."""
    return _OFFSET + time.perf_counter()


class GameServer(FastHttpUser):
    """Sends `--rate` requests per second on average, until it is stopped."""

    abstract = True
    run_data: Run  # the run of the current test, set when the test starts

    def __init__(self, environment: Any) -> None:
        options = environment.parsed_options
        self.options = options
        self.insecure = options.insecure
        self.ssl_context_factory = lambda: target.tls(options)
        self.default_headers = target.headers(options)
        self.concurrency = options.connections
        self.network_timeout = self.connection_timeout = options.timeout
        if self.host:  # it comes from --host, the web page or the master
            self.host = target.url(self.host)
        super().__init__(environment)
        self.pool = Pool(options.connections)
        self.draw = random.Random()

    @task
    def arrivals(self) -> None:
        due = clock()
        while True:
            due += self.draw.expovariate(self.options.rate * self._curve(due))
            # Sleep even when late, so that answers are read; the lag is recorded.
            gevent.sleep(0)
            while (early := due - clock()) > 0:  # gevent's timers may fire early
                gevent.sleep(early)
            kind = READ if self.draw.random() < self.options.reads else WRITE
            route = self.read_route() if kind == READ else EVENTS
            if self.pool.full():
                self._miss(due, kind, route)
            elif kind == READ:
                self.pool.spawn(self.read, route, due)
            elif batch := self.run_data.source.next(_ms(clock())):
                self.pool.spawn(self._write, batch, due)
            elif not len(self.pool):  # otherwise a request in flight may have to be sent again
                raise StopUser

    def read_route(self) -> str:
        """Return the route of the next read; its name stands in Locust's statistics."""
        return SESSIONS

    def read(self, route: str, due: float) -> None:
        """Send a read of that route; here all reads are of sessions."""
        del route
        self._read_sessions(self.run_data.source.reader(), due)

    def stored(self, tokens: list[str]) -> None:
        """Take note that the events of these tokens are stored."""

    def _curve(self, now: float) -> float:
        day = self.options.day
        return day_curve((now - self.run_data.begin) / day % 1) if day else 1.0

    def on_stop(self) -> None:
        """Wait for the answers under way, so that the journal knows of all that was sent."""
        self.pool.join()

    def _write(self, batch: Batch, due: float) -> None:
        run, begun = self.run_data, clock()
        run.under_way += 1
        with self.client.post(
            EVENTS, data=batch.body, headers=_JSON, catch_response=True
        ) as answer:
            outcome = self._settle(answer, WRITE, due, begun, batch.events)
            whole = outcome == ACKNOWLEDGED and b'"discarded":0' in answer.content
            run.journal.add(journal.ACKNOWLEDGED if whole else journal.UNKNOWN, batch.tokens)
            run.under_way -= 1
            if whole:
                self.stored(batch.tokens)
            if outcome != ACKNOWLEDGED:
                pause = (answer.headers or {}).get("retry-after") or 1
                run.source.again(batch, _ms(clock() + float(pause)))

    def _read_sessions(self, player: str, due: float, cursor: str = "") -> None:
        path = SESSIONS.format(player_id=quote(player, safe="")) + cursor
        outcome, answer = self._get(SESSIONS, path, due)
        if outcome == ACKNOWLEDGED and self.draw.random() < self.options.deeper:
            after = msgspec.json.decode(answer.content, type=_Page).next_cursor
            if after:
                self._read_sessions(player, clock(), f"?cursor={after}")

    def _get(self, route: str, path: str, due: float, expected: int = 200) -> tuple[str, Any]:
        begun = clock()
        with self.client.get(path, name=route, catch_response=True) as answer:
            return self._settle(answer, READ, due, begun, 0, expected), answer

    def _settle(
        self, answer: Any, kind: str, due: float, begun: float, events: int, expected: int = 200
    ) -> str:
        """Count the answer for us and for Locust, from when the request was due."""
        latency, status = clock() - due, answer.status_code
        outcome = ACKNOWLEDGED if status == expected else _OUTCOMES.get(status, FAILED)
        answer.request_meta["response_time"] = latency * 1000
        if outcome == ACKNOWLEDGED:
            answer.success()
        else:
            answer.failure(f"{outcome}: {status} {problem(answer)}")
        self.run_data.tally.sent(due, kind, outcome, latency, begun - due, events)
        return outcome

    def _miss(self, due: float, kind: str, route: str) -> None:
        self.run_data.tally.missed(due, kind)
        self.environment.events.request.fire(
            request_type=_METHODS[kind],
            name=route,
            response_time=None,
            response_length=0,
            context={},
            exception=Missed(f"{MISSED}: all {self.options.connections} connections busy"),
        )


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def problem(answer: Any) -> str:
    """Return the problem type of a refusal, or describe why there is none."""
    try:
        return msgspec.json.decode(answer.content or b"", type=_Problem).type
    except msgspec.DecodeError:
        error = getattr(answer, "error", None)
        return f"{type(error).__name__}: {error}" if error else "without a problem document"
