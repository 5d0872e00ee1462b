"""The store: what the service asks of Cassandra, and whether it may be asked.

One blind write per event with its own TTL and timestamp, one bounded walk per read.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

from cassandra import Unauthorized

from player_sessions.driver import Budget, Done, Rows, StoreError, translate
from player_sessions.events import Event, from_ms, to_ms
from player_sessions.link import Link, Opened
from player_sessions.sessions import Page, Position, Start, Walk
from player_sessions.settings import Settings
from player_sessions.telemetry import metrics
from player_sessions.telemetry.logs import Limited, log
from player_sessions.telemetry.traces import span_of_task
from player_sessions.writer import Writer

if TYPE_CHECKING:
    from player_sessions.telemetry.otlp import Tracing

TOO_MANY_READS = "too-many-reads"
EXTRA_ENDS = 4  # rows read beyond the limit at first, for ends without a start
NEXT_ENDS = 100
MAX_ENDS = 500  # a read walks over no more rows than this, then answers with a cursor

CQL = {
    "start": "INSERT INTO {0}.session_starts (player_id, session_id, started_at, country)"
    " VALUES (?, ?, ?, ?) USING TTL ? AND TIMESTAMP ?",
    "end": "INSERT INTO {0}.session_ends (player_id, ended_at, session_id)"
    " VALUES (?, ?, ?) USING TTL ? AND TIMESTAMP ?",
    "first_ends": "SELECT ended_at, session_id FROM {0}.session_ends"
    " WHERE player_id = ? AND (ended_at) > (?) LIMIT ?",
    "next_ends": "SELECT ended_at, session_id FROM {0}.session_ends"
    " WHERE player_id = ? AND (ended_at) > (?) AND (ended_at, session_id) < (?, ?) LIMIT ?",
    "starts": "SELECT session_id, started_at, country FROM {0}.session_starts"
    " WHERE player_id = ? AND session_id IN ?",
    # Inside one partition, and only for pages after the first.
    "newer_ends": "SELECT ended_at, session_id FROM {0}.session_ends"
    " WHERE player_id = ? AND ended_at >= ? AND session_id IN ? ALLOW FILTERING",
}
_KINDS = ("start", "end")
# labels() takes a lock and a look-up: done once.
_ACCEPTED = {kind: metrics.EVENTS.labels(kind, "accepted") for kind in _KINDS}
_DISCARDED = {kind: metrics.EVENTS.labels(kind, "discarded") for kind in _KINDS}
_WRITE_SECONDS = metrics.STORE_SECONDS.labels("write")
_READ_SECONDS = metrics.STORE_SECONDS.labels("read")
_BATCH_EVENTS = metrics.BATCH_EVENTS.labels()
_EVENT_LAG = metrics.EVENT_LAG.labels()
_limited = Limited(1)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Store:
    """Writes events, reads sessions, and keeps connected while it runs."""

    def __init__(self, settings: Settings, tracing: Tracing | None = None) -> None:
        self._settings = settings
        self._tracing = tracing
        self._budget = Budget(settings.extra_requests)
        self._link = Link(settings, CQL, self._budget, self._opened)
        self._reads = 0
        self._loop = asyncio.get_running_loop()
        self._writer = Writer(settings, self._send, self._loop)
        metrics.QUEUED_ROWS.set_function(lambda: self._writer.queued_rows)
        metrics.QUEUE_AGE.set_function(lambda: self._writer.queue_age)

    @property
    def reason(self) -> str | None:
        """Why nothing can be stored or read now, or None."""
        return self._link.reason

    def _opened(self, opened: Opened) -> None:
        self._writer.batch_rows = opened.batch_rows

    def surplus(self, operation: str) -> str | None:
        """Why one more request of this operation, write or read, is too much now, or None."""
        if operation == "write":
            return self._writer.surplus()
        if operation == "read" and self._reads >= self._settings.reads_in_flight:
            return TOO_MANY_READS
        return None

    async def write(self, events: Sequence[Event]) -> tuple[int, int]:
        """(stored, discarded); raises StoreError when it is not certain that all are stored."""
        pack, now = self._link.ready().inserts.row, now_ms()
        rows: list[bytes] = []
        kept = {"start": 0, "end": 0}
        gone = {"start": 0, "end": 0}
        for event in events:
            at = event.at_ms
            _EVENT_LAG.observe((now - at) / 1000)
            row = pack(event, at, now)
            if row is None:
                gone[event.event] += 1
                continue
            kept[event.event] += 1
            rows.append(row)
        if rows:
            await self._writer.write(rows, events[0].player_id.bytes)
        _BATCH_EVENTS.observe(len(events))
        for counters, counts in ((_ACCEPTED, kept), (_DISCARDED, gone)):
            for kind, count in counts.items():
                if count:
                    counters[kind].inc(count)
        return len(rows), len(events) - len(rows)

    async def read(self, player_id: UUID, limit: int, after: Position | None) -> Page:
        """The player's newest complete sessions below `after`; raises StoreError."""
        opened = self._link.ready()
        if surplus := self.surplus("read"):
            raise StoreError(surplus, "too many reads are under way")
        self._reads += 1
        begun = self._loop.time()
        try:
            walk = Walk(limit, now_ms() - self._settings.retention_ms, after)
            page = await self._walk(opened, player_id, walk, begun + self._settings.deadline)
        finally:
            self._reads -= 1
        _READ_SECONDS.observe(self._loop.time() - begun)
        metrics.SESSIONS.inc(len(page.sessions))
        metrics.INCOMPLETE.inc(walk.incomplete)
        metrics.NEGATIVE.inc(sum(s.ended_at < s.started_at for s in page.sessions))
        return page

    async def _walk(self, opened: Opened, player_id: UUID, walk: Walk, until: float) -> Page:
        walked, count = 0, walk.limit + EXTRA_ENDS
        while True:
            ends = await self._ends(opened, player_id, walk, count, until)
            await self._pair(opened, player_id, walk, ends, until)
            walked += len(ends)
            at_end = len(ends) < count and (not ends or walk.position == ends[-1])
            if at_end:
                return Page(walk.sessions, None)
            if walk.full or walked >= MAX_ENDS:
                return Page(walk.sessions, walk.position)
            count = min(NEXT_ENDS, MAX_ENDS - walked)

    async def _ends(
        self, opened: Opened, player_id: UUID, walk: Walk, count: int, until: float
    ) -> list[Position]:
        oldest = from_ms(walk.oldest)
        if walk.position is None:
            rows = await self._fetch(opened, "first_ends", until, player_id, oldest, count)
        else:
            at, session_id = walk.position
            rows = await self._fetch(
                opened, "next_ends", until, player_id, oldest, from_ms(at), session_id, count
            )
        return _positions(rows)

    async def _pair(
        self, opened: Opened, player_id: UUID, walk: Walk, ends: list[Position], until: float
    ) -> None:
        wanted = walk.unmet(ends)
        newer: Rows = ()
        starts: Rows = ()
        if wanted:
            asked = [self._fetch(opened, "starts", until, player_id, wanted)]
            if walk.after is not None:
                at = from_ms(walk.after.ended_at)
                asked.append(self._fetch(opened, "newer_ends", until, player_id, at, wanted))
            starts, newer = (*await asyncio.gather(*asked), ())[:2]
        found = {
            session_id: Start(to_ms(started_at), country)
            for session_id, started_at, country in starts
            if started_at is not None
        }
        walk.add(ends, found, _positions(newer))

    async def _fetch(self, opened: Opened, name: str, until: float, *values: Any) -> Rows:
        span, parent, failed = None, span_of_task.get(), None
        if self._tracing is not None and parent is not None:
            table = "session_starts" if name == "starts" else "session_ends"
            span = self._tracing.begin_query(self._settings.keyspace, table, parent)
        try:
            statement = opened.statements[name].bind(values)
            left = max(0.0, until - self._loop.time())
            return await opened.client.fetch(statement, left, self._budget)
        except Exception as error:
            failed = _counted(error)
            raise failed from error
        finally:
            if self._tracing is not None and span is not None:
                self._tracing.end_store(span, failed)

    def _send(
        self,
        rows: Sequence[bytes],
        player: bytes,
        deadline: float,
        done: Done,
        spans: Sequence[Any],
    ) -> None:
        opened = self._link.opened
        assert opened is not None
        batch = opened.inserts.batch(rows, player)
        begun, span = self._loop.time(), None
        if self._tracing is not None and spans:
            span = self._tracing.begin_batch(self._settings.keyspace, len(rows), spans)

        def measured(rows: Rows | None, error: BaseException | None) -> None:
            _WRITE_SECONDS.observe(self._loop.time() - begun)
            fault = None if error is None else _counted(error)
            if self._tracing is not None and span is not None:
                self._tracing.end_store(span, fault)
            done(rows, fault)

        opened.client.send(batch, deadline, self._budget, measured)

    async def run(self) -> None:
        """Keep connected until cancelled; never raises for what Cassandra does."""
        await self._link.run()

    async def close(self, within: float) -> None:
        """Let the writes under way end, for up to `within` seconds, then disconnect."""
        until = self._loop.time() + within
        while not self._writer.idle and self._loop.time() < until:
            await asyncio.sleep(0.01)
        await self._link.close()


def _positions(rows: Rows) -> list[Position]:
    return [Position(to_ms(ended_at), session_id) for ended_at, session_id in rows]


def _counted(error: BaseException) -> BaseException:
    fault = translate(error)
    if isinstance(error, Unauthorized):
        _limited(log.error, "Cassandra does not let the service's role do it", cause=str(error))
    metrics.STORE_ERRORS.labels(fault.reason if isinstance(fault, StoreError) else "bug").inc()
    return fault
