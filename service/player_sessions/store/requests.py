"""One statement under way: deadline, second node and retry.

The driver's own timers, retries and speculation cost a wake-up of its thread for each request and
know no common budget. Here all three are decided on our event loop, under one budget.

`Session.get_pool_state` is not documented; `tests/guards/test_guard_cassandra_driver.py` checks it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

from cassandra.cluster import NoHostAvailable
from cassandra.policies import DCAwareRoundRobinPolicy, TokenAwarePolicy
from cassandra.query import Statement

from player_sessions.rules.reasons import STORE_OVERLOADED, STORE_TIMEOUT, STORE_UNAVAILABLE
from player_sessions.settings import Settings
from player_sessions.store import ready_frames
from player_sessions.store.budget import Budget
from player_sessions.store.cluster import connect
from player_sessions.store.errors import StoreError, translate
from player_sessions.store.loop_connection import LoopConnection, call_soon
from player_sessions.store.ready_frames import Answered, Failed, ReadyFrame
from player_sessions.telemetry import metrics

Rows = Sequence[Any]
Request: TypeAlias = Statement | ReadyFrame
Done = Callable[[Rows | None, BaseException | None], None]


class Client:
    """A connected driver, which sends single statements."""

    def __init__(self, settings: Settings, budget: Budget, loop: asyncio.AbstractEventLoop) -> None:
        """Connect, which blocks for seconds; raises NotConnected."""
        self._loop = loop
        self._budget = budget
        self._speculation_after = settings.speculation_after
        # Nodes that keep a request waiting are asked last until they answer. Otherwise a frozen
        # node would use up the budget before the driver's heartbeat finds it.
        self._late: set[Any] = set()
        self.policy = TokenAwarePolicy(
            DCAwareRoundRobinPolicy(local_dc=settings.cassandra_local_dc)
        )
        self.cluster, self.session = connect(
            settings, self.policy, connection=LoopConnection.on(loop)
        )

    def shutdown(self) -> None:
        """Disconnect, which blocks."""
        self.cluster.shutdown()

    def nodes(self) -> tuple[int, int]:
        """Return how many nodes are up, and how many are not."""
        hosts = self.cluster.metadata.all_hosts()
        up = sum(bool(host.is_up) for host in hosts)
        return up, len(hosts) - up

    def connections(self) -> int:
        """Return the number of open connections, without the control connection."""
        pools = self.session.get_pool_state().values()
        return sum(pool["open_count"] for pool in pools)

    def _plan(self, statement: Request) -> Iterator[Any]:
        """Return the nodes to ask, in order."""
        plan: Iterator[Any] = self.policy.make_query_plan(None, statement)
        return iter(sorted(plan, key=self._late.__contains__)) if self._late else plan

    def ask(self, statement: Request, host: Any, answered: Answered, failed: Failed) -> None:
        """Send a statement to one node; then one of the two is called, on whatever thread."""
        if isinstance(statement, Statement):
            future = self.session.execute_async(statement, timeout=None, host=host)
            future.add_callbacks(answered, failed, callback_args=(host,), errback_args=(host,))
        else:
            ready_frames.send(self.session, statement, host, answered, failed)

    def send(self, statement: Request, deadline: float, done: Done) -> None:
        """Send a statement, and call `done(rows, error)` once within `deadline` seconds.

        `done` is called on the event loop. The error is a StoreError, or a bug of ours.
        """
        attempts = _Attempts(self, statement, deadline, self._budget, done)
        attempts.start(self._speculation_after)

    async def fetch(self, statement: Request, deadline: float) -> Rows:
        """Return the rows of a statement; raises StoreError, or the driver's error for a bug."""
        future: asyncio.Future[Rows] = self._loop.create_future()

        def done(rows: Rows | None, error: BaseException | None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(rows or ())
            else:
                future.set_exception(error)

        self.send(statement, deadline, done)
        return await future


class _Attempts:
    """One statement under way. The first answer wins; later ones are ignored."""

    __slots__ = (
        "_asked", "_begun", "_budget", "_client", "_deadline", "_done", "_open", "_plan",
        "_retried", "_statement", "_timer",
    )  # fmt: skip

    def __init__(
        self,
        client: Client,
        statement: Request,
        deadline: float,
        budget: Budget,
        done: Done,
    ) -> None:
        self._client = client
        self._statement = statement
        self._deadline = deadline
        self._budget = budget
        self._done: Done | None = done
        self._plan = client._plan(statement)
        self._asked: Any = None
        self._open = 0
        self._retried = False
        self._begun = client._loop.time()
        self._timer: asyncio.TimerHandle | None = None

    def start(self, wait: float) -> None:
        """Ask the first node, and a second one too after `wait` seconds."""
        self._budget.count()
        then = self._speculate if wait < self._deadline else self._expire
        self._timer = self._client._loop.call_later(min(wait, self._deadline), then)
        self._ask_next(StoreError(STORE_UNAVAILABLE, "no node of Cassandra is up"))

    def _ask_next(self, otherwise: BaseException) -> None:
        """Ask the next node, or give up when there is none and no answer is outstanding."""
        host = next(self._plan, None)
        if host is not None:
            self._open += 1
            self._asked = host
            self._client.ask(self._statement, host, self._answered, self._failed)
        elif not self._open:
            self._finish(None, otherwise)

    # The driver's callbacks. They may run inside its own code or on its threads, so the work is
    # deferred to our loop.
    def _answered(self, rows: Any, host: Any) -> None:
        call_soon(self._client._loop, self._on_rows, rows, host)

    def _failed(self, error: BaseException, host: Any) -> None:
        call_soon(self._client._loop, self._on_error, error, host)

    def _on_rows(self, rows: Any, host: Any) -> None:
        self._client._late.discard(host)
        self._finish(rows, None)

    def _on_error(self, error: BaseException, host: Any) -> None:
        self._client._late.discard(host)
        self._open -= 1
        if self._done is None:
            return
        translated = translate(error)
        if isinstance(error, NoHostAvailable):  # never sent, so the next node costs no budget
            self._ask_next(translated)
        elif self._may_retry(translated):
            self._retried = True
            metrics.STORE_EXTRA.labels("retry").inc()
            self._ask_next(translated)
        elif not self._open:
            self._finish(None, translated)

    def _may_retry(self, error: BaseException) -> bool:
        return (
            isinstance(error, StoreError)
            and error.reason != STORE_OVERLOADED
            and not self._retried
            and self._budget.take()
        )

    def _speculate(self) -> None:
        left = self._deadline - (self._client._loop.time() - self._begun)
        self._timer = self._client._loop.call_later(max(0.0, left), self._expire)
        self._client._late.add(self._asked)
        if self._budget.take():
            metrics.STORE_EXTRA.labels("speculation").inc()
            self._ask_next(StoreError(STORE_UNAVAILABLE, "no other node of Cassandra is up"))

    def _expire(self) -> None:
        self._finish(None, StoreError(STORE_TIMEOUT, "Cassandra did not answer in time"))

    def _finish(self, rows: Rows | None, error: BaseException | None) -> None:
        done, self._done = self._done, None
        if done is not None:
            if self._timer is not None:
                self._timer.cancel()
            done(rows, error)
