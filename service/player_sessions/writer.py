"""Group commit: the events of requests that arrive together go to Cassandra in one batch.

While two batches are in flight, requests wait in a bounded queue; when one returns, the next takes
all that waits, up to a number of rows. More batches than two fly only when they are full, and the
store is not slow: then more of them would only wait there instead of here, before reads too. A lone
request is sent at once: there is no timer. A request is never divided between batches.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from player_sessions.driver import STORE_TIMEOUT, Budget, Done, StoreError
from player_sessions.settings import Settings
from player_sessions.telemetry import metrics
from player_sessions.telemetry.traces import span_of_task

QUEUE_FULL = "queue-full"
OVERLOADED = "overloaded"
_EAGER = 2  # batches in flight up to which one is sent without being full
_SLOW_SECONDS = 0.1  # the median latency of batches above which no more than those fly
_GROUP_ROWS = metrics.GROUP_ROWS.labels()
_SPLITS = metrics.STORE_EXTRA.labels("split")

# What sends these rows as one batch, to a replica of this player, within so many seconds, on behalf
# of these spans.
Send = Callable[[Sequence[bytes], bytes, float, Done, Sequence[Any]], None]


class _Request:
    """The rows of one request and a player of theirs, who waits and until when (loop time)."""

    __slots__ = ("alone", "expires", "future", "player", "rows", "span")

    def __init__(
        self, rows: Sequence[bytes], player: bytes, future: asyncio.Future[None], expires: float
    ) -> None:
        self.rows = rows
        self.player = player
        self.future = future
        self.expires = expires
        self.span = span_of_task.get()
        self.alone = False  # written apart, after a batch it shared has failed


class Writer:
    """Takes the rows of requests; each write ends by the settings' deadline."""

    def __init__(self, settings: Settings, send: Send, loop: asyncio.AbstractEventLoop) -> None:
        self.batch_rows = settings.writer_batch_rows
        self._send = send
        self._loop = loop
        self._deadline = settings.deadline
        self._most_in_flight = settings.writer_batches_in_flight
        self._eager = min(_EAGER, self._most_in_flight)
        self._most_queued = settings.writer_queue_rows
        self._longest_wait = min(settings.queue_wait, settings.deadline / 2)
        # Latency of batches in seconds. The mean says how long one waits; the median, which one
        # frozen node of three does not move, whether the store as a whole is slow.
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
        return not self._queue and not self._in_flight

    @property
    def queued_rows(self) -> int:
        return self._queued_rows

    @property
    def queue_age(self) -> float:
        """Seconds that the oldest request has waited."""
        if not self._queue:
            return 0.0
        return max(0.0, self._loop.time() + self._deadline - self._queue[0].expires)

    @property
    def _allowed(self) -> int:
        """Batches that may be in flight."""
        return self._most_in_flight if self._median < _SLOW_SECONDS else self._eager

    def surplus(self, rows: int = 1) -> str | None:
        """Why a request with so many rows should not wait, or None.

        The expected time is Little's law: what is queued, by what leaves, which is so many full
        batches at once, each in the latency measured of late; and then its own batch's latency.
        """
        if not self._queued_rows:
            return None
        if self._queued_rows + rows > self._most_queued:
            return QUEUE_FULL
        if self._in_flight < self._eager:  # they have come this moment, and leave the next
            return None
        turns = self._queued_rows / (self.batch_rows * self._allowed) + 1
        return OVERLOADED if turns * self._mean > self._longest_wait else None

    def write(self, rows: Sequence[bytes], player: bytes) -> asyncio.Future[None]:
        """Done when all rows are stored, one of them this player's.

        Fails with StoreError, or the driver's error: a bug.
        """
        if surplus := self.surplus(len(rows)):
            raise StoreError(surplus, "too many events are waiting to be stored")
        future: asyncio.Future[None] = self._loop.create_future()
        self._queue.append(_Request(rows, player, future, self._loop.time() + self._deadline))
        self._queued_rows += len(rows)
        if not self._woken:  # what comes in the same turn of the loop goes along
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
        return self._queued_rows >= self.batch_rows and self._in_flight < self._allowed

    def _take(self) -> list[_Request]:
        """The requests of the next batch, in order of arrival."""
        queue = self._queue
        taken = [queue.popleft()]
        rows = len(taken[0].rows)
        while (
            queue
            and not taken[0].alone
            and not queue[0].alone
            and rows + len(queue[0].rows) <= self.batch_rows
        ):
            taken.append(queue.popleft())
            rows += len(taken[-1].rows)
        self._queued_rows -= rows
        return taken

    def _commit(self, requests: list[_Request]) -> None:
        rows = requests[0].rows
        if len(requests) > 1:
            rows = [row for request in requests for row in request.rows]
        _GROUP_ROWS.observe(len(rows))
        self._in_flight += 1
        self._splits.count()
        # The oldest request's deadline is the batch's: those that share it came just after.
        begun = self._loop.time()
        left = max(0.0, requests[0].expires - begun)
        spans = [request.span for request in requests if request.span is not None]
        self._send(
            rows,
            requests[0].player,
            left,
            lambda _, error: self._committed(requests, begun, error),
            spans,
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
        """Fail the requests whose time ran out while they waited."""
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


def batch_rows(limits: dict[str, Any], most: int) -> int:
    """Most rows of a batch under the server's own thresholds, as `system_views.settings` has them.

    A row of ours counts at most ROW_BYTES there (tests/store measures it).
    """
    partitions = int(limits.get("unlogged_batch_across_partitions_warn_threshold") or 10)
    size = _bytes(limits.get("batch_size_warn_threshold")) or 5 * 1024
    fail = _bytes(limits.get("batch_size_fail_threshold")) or 50 * 1024
    return max(10, min(most, partitions, min(size, fail) // ROW_BYTES))


ROW_BYTES = 128
_UNITS = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}


def _bytes(text: str | None) -> int:
    """Bytes of a size such as `64KiB`; 0 for none."""
    for unit in ("KiB", "MiB", "GiB", "B"):
        if text and text.endswith(unit):
            return int(text.removesuffix(unit)) * _UNITS[unit]
    return 0
