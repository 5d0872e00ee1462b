"""Group commit: the rows of requests that arrive together go to Cassandra in one batch.

While two batches are in flight, requests wait in a bounded queue. When a batch returns, the next
one takes everything that waits, up to a number of rows. Beyond two, a batch is sent only when it is
full and the store is fast. At a slow store it would only queue inside Cassandra, ahead of reads. A
lone request is sent at once, since there is no timer. A request is divided between batches only
when it has more rows than one batch may have; then all of them must succeed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, Protocol

from player_sessions.rules.reasons import OVERLOADED, QUEUE_FULL, STORE_TIMEOUT, Reason
from player_sessions.settings import Settings
from player_sessions.store.budget import Budget
from player_sessions.store.errors import StoreError
from player_sessions.store.requests import Done
from player_sessions.store.rows import Row
from player_sessions.telemetry import metrics
from player_sessions.telemetry.request_ids import span_of_task

_EAGER = 2  # up to so many batches in flight, a batch need not be full
_SLOW_SECONDS = 0.1  # the store is slow when the median latency of batches is above this
_SPLITS = metrics.STORE_EXTRA.labels("split")


class Sender(Protocol):
    """What a group commit sends its batches with."""

    @property
    def max_rows(self) -> int:
        """The most rows of a batch."""

    def send(
        self,
        rows: Sequence[Row],
        player: bytes,
        deadline: float,
        spans: Sequence[Any],
        done: Done,
    ) -> None:
        """Send the rows to a replica of `player` within `deadline` seconds, then call `done`."""


class _Request:
    """A request that waits, or a part of a large one: its rows, a player, when it expires.

    The player is one of the request's. Times are those of the loop.
    """

    __slots__ = ("alone", "expires", "future", "player", "rows", "span")

    def __init__(
        self, rows: Sequence[Row], player: bytes, future: asyncio.Future[None], expires: float
    ) -> None:
        self.rows = rows
        self.player = player
        self.future = future
        self.expires = expires
        self.span = span_of_task.get()
        self.alone = False  # goes in a batch of its own, after a shared batch has failed


class GroupCommit:
    """Writes the rows of requests; each write ends within the settings' deadline."""

    def __init__(self, settings: Settings, sender: Sender, loop: asyncio.AbstractEventLoop) -> None:
        self._sender = sender
        self._loop = loop
        self._deadline = settings.deadline
        self._most_in_flight = settings.writer_batches_in_flight
        self._eager = min(_EAGER, self._most_in_flight)
        self._most_queued = settings.writer_queue_rows
        self._longest_wait = min(settings.queue_wait, settings.deadline / 2)
        # Latency of batches in seconds. The mean says how long a request waits. The median says
        # whether the store as a whole is slow: one frozen node of three does not move it.
        self._mean = 0.0
        self._median = 0.01
        self._splits = Budget(0.1, at_rest=10)
        self._queue: deque[_Request] = deque()
        self._queued_rows = 0
        self._in_flight = 0
        self._woken = False
        self._watch: asyncio.TimerHandle | None = None

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing is in flight."""
        return not self._queue and not self._in_flight

    @property
    def queued_rows(self) -> int:
        """How many rows wait."""
        return self._queued_rows

    @property
    def queue_age(self) -> float:
        """How many seconds the oldest request has waited."""
        if not self._queue:
            return 0.0
        return max(0.0, self._loop.time() + self._deadline - self._queue[0].expires)

    @property
    def _allowed(self) -> int:
        """How many batches may be in flight now."""
        return self._most_in_flight if self._median < _SLOW_SECONDS else self._eager

    def surplus(self, rows: int = 1) -> Reason | None:
        """Return why a request with so many rows should not wait, or None.

        By Little's law, the expected wait is the queue's length divided by the rate at which it
        empties, which is all allowed batches, full, in each mean latency. The request's own batches
        take one latency more, or as many as they need.
        """
        if not self._queued_rows:
            return None
        if self._queued_rows + rows > self._most_queued:
            return QUEUE_FULL
        if self._in_flight < self._eager:  # the queue has only just come, and leaves at once
            return None
        rows_in_a_turn = self._sender.max_rows * self._allowed
        turns = self._queued_rows / rows_in_a_turn + max(1.0, rows / rows_in_a_turn)
        return OVERLOADED if turns * self._mean > self._longest_wait else None

    def write(self, rows: Sequence[Row], player: bytes) -> asyncio.Future[Any]:
        """Return a future that is done when all rows are stored; one of them is of `player`.

        Raises StoreError at once when the queue is too long. The future fails with StoreError, or
        with the driver's error for a bug of ours, as soon as any row could not be stored.
        """
        if surplus := self.surplus(len(rows)):
            raise StoreError(surplus, "too many events are waiting to be stored")
        most = self._sender.max_rows
        if len(rows) <= most:
            return self._enqueue(rows, player)
        parts = (rows[at : at + most] for at in range(0, len(rows), most))
        return asyncio.gather(*(self._enqueue(part, player) for part in parts))

    def _enqueue(self, rows: Sequence[Row], player: bytes) -> asyncio.Future[None]:
        future: asyncio.Future[None] = self._loop.create_future()
        self._queue.append(_Request(rows, player, future, self._loop.time() + self._deadline))
        self._queued_rows += len(rows)
        if not self._woken:  # requests of the same turn of the loop go together
            self._woken = True
            self._loop.call_soon(self._wake)
        return future

    def _wake(self) -> None:
        self._woken = False
        self._pump()

    def _pump(self) -> None:
        while self._queue and self._may_send():
            self._commit(self._take())
        if self._queue and self._watch is None:
            self._watch = self._loop.call_at(self._queue[0].expires, self._expire)

    def _may_send(self) -> bool:
        if self._in_flight < self._eager:
            return True
        return self._queued_rows >= self._sender.max_rows and self._in_flight < self._allowed

    def _take(self) -> list[_Request]:
        """Take the requests of the next batch off the queue, in order of arrival."""
        queue, most = self._queue, self._sender.max_rows
        taken = [queue.popleft()]
        rows = len(taken[0].rows)
        while (
            queue
            and not taken[0].alone
            and not queue[0].alone
            and rows + len(queue[0].rows) <= most
        ):
            taken.append(queue.popleft())
            rows += len(taken[-1].rows)
        self._queued_rows -= rows
        return taken

    def _commit(self, requests: list[_Request]) -> None:
        rows = requests[0].rows
        if len(requests) > 1:
            rows = [row for request in requests for row in request.rows]
        self._in_flight += 1
        self._splits.count()
        # The batch has the deadline of its oldest request; the others came just after it.
        begun = self._loop.time()
        left = max(0.0, requests[0].expires - begun)
        spans = [request.span for request in requests if request.span is not None]
        self._sender.send(
            rows,
            requests[0].player,
            left,
            spans,
            lambda _, error: self._committed(requests, begun, error),
        )

    def _committed(
        self, requests: list[_Request], begun: float, error: BaseException | None
    ) -> None:
        self._in_flight -= 1
        took = self._loop.time() - begun
        self._mean += 0.1 * (took - self._mean)
        self._median *= 1.25 if took > self._median else 0.8
        if error is not None and self._may_split(requests, error):
            _SPLITS.inc()
            for request in reversed(requests):
                request.alone = True
                self._queue.appendleft(request)
                self._queued_rows += len(request.rows)
        else:
            for request in requests:
                _settle(request, error)
        self._pump()

    def _may_split(self, requests: list[_Request], error: BaseException) -> bool:
        return (
            len(requests) > 1
            and isinstance(error, StoreError)
            and error.one_range
            and requests[0].expires > self._loop.time()
            and self._splits.take()
        )

    def _expire(self) -> None:
        """Fail the requests whose deadline passed while they waited."""
        self._watch = None
        now = self._loop.time()
        while self._queue and self._queue[0].expires <= now:
            request = self._queue.popleft()
            self._queued_rows -= len(request.rows)
            _settle(request, StoreError(STORE_TIMEOUT, "the write waited longer than its deadline"))
        self._pump()


def _settle(request: _Request, error: BaseException | None) -> None:
    if request.future.done():  # its client has gone away
        return
    if error is None:
        request.future.set_result(None)
    else:
        request.future.set_exception(error)
