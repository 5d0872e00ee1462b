"""The door of this room: what the service asks of Cassandra, and whether it may be asked now.

A write is one blind insert per event, in a group commit with those of other requests. A read is a
walk of bounded work. An erasure is one blind batch of deletions.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from uuid import UUID

from player_sessions.rules.countries import Count, hours_until
from player_sessions.rules.events import Event
from player_sessions.rules.reasons import TOO_MANY_READS, Reason
from player_sessions.rules.session_state import Presence, SessionState, presence
from player_sessions.rules.sessions import Page, Position, Walk
from player_sessions.settings import Settings
from player_sessions.store.budget import Budget
from player_sessions.store.connector import Connected, Connector
from player_sessions.store.countries import CountryStarts
from player_sessions.store.erasure import erase
from player_sessions.store.errors import StoreError, counted
from player_sessions.store.group_commit import GroupCommit
from player_sessions.store.lookups import Lookup
from player_sessions.store.reads import Read
from player_sessions.store.requests import Done, Rows
from player_sessions.store.rows import Row
from player_sessions.telemetry import metrics

if TYPE_CHECKING:
    from player_sessions.telemetry.tracing import Tracing

__all__ = ["Store", "StoreError", "now_ms"]

# labels() takes a lock and looks the values up, so each series is taken once.
_KINDS = ("start", "end")
_ACCEPTED = {kind: metrics.EVENTS.labels(kind, "accepted") for kind in _KINDS}
_DISCARDED = {kind: metrics.EVENTS.labels(kind, "discarded") for kind in _KINDS}
_SESSIONS = metrics.SESSIONS.labels()
_INCOMPLETE = metrics.INCOMPLETE.labels()
_NEGATIVE = metrics.NEGATIVE.labels()
_WRITE_SECONDS = metrics.STORE_SECONDS.labels("write")
_READ_SECONDS = metrics.STORE_SECONDS.labels("read")
_BATCH_EVENTS = metrics.BATCH_EVENTS.labels()
_GROUP_ROWS = metrics.GROUP_ROWS.labels()
_EVENT_LAG = metrics.EVENT_LAG.labels()


def now_ms() -> int:
    """Return the time in milliseconds since 1970 UTC."""
    return time.time_ns() // 1_000_000


class Store:
    """Writes events, reads sessions, and stays connected while it runs."""

    def __init__(self, settings: Settings, tracing: Tracing | None = None) -> None:
        self._settings = settings
        self._tracing = tracing
        self._connector = Connector(settings, Budget(settings.extra_requests))
        self._reads = 0
        self._loop = asyncio.get_running_loop()
        sender = _BatchSender(self._connector, tracing)
        self._group_commit = GroupCommit(settings, sender, self._loop)
        self._countries = CountryStarts(self._connector, settings.deadline, now_ms, tracing)
        metrics.QUEUED_ROWS.set_function(lambda: self._group_commit.queued_rows)
        metrics.QUEUE_AGE.set_function(lambda: self._group_commit.queue_age)

    @property
    def reason(self) -> str | None:
        """Why nothing can be stored or read now, or None."""
        return self._connector.reason

    def surplus(self, operation: str) -> Reason | None:
        """Return why one more request would be too much now, or None.

        `operation` is "write" or "read"; anything else is never too much.
        """
        if operation == "write":
            return self._group_commit.surplus()
        if operation == "read" and self._reads >= self._settings.reads_in_flight:
            return TOO_MANY_READS
        return None

    async def write(self, events: Sequence[Event]) -> tuple[int, int]:
        """Store all events; return (stored, discarded as older than the retention).

        Raises StoreError when it is not certain that all of them are stored.
        """
        rows_of, now = self._connector.ready().inserts.rows, now_ms()
        rows: list[Row] = []
        kept = {"start": 0, "end": 0}
        gone = {"start": 0, "end": 0}
        for event in events:
            at = event.at_ms
            _EVENT_LAG.observe((now - at) / 1000)
            made = rows_of(event, at, now)
            (kept if made else gone)[event.kind] += 1
            rows += made
        if rows:
            await self._group_commit.write(rows, events[0].player_id.bytes)
        _BATCH_EVENTS.observe(len(events))
        for counters, counts in ((_ACCEPTED, kept), (_DISCARDED, gone)):
            for kind, count in counts.items():
                if count:
                    counters[kind].inc(count)
        accepted = kept["start"] + kept["end"]
        return accepted, len(events) - accepted

    async def read(self, player_id: UUID, limit: int, after: Position | None) -> Page:
        """Return the player's newest complete sessions below `after`; raises StoreError."""
        begun = time.perf_counter()  # uvloop's own clock has whole milliseconds only
        until = self._loop.time() + self._settings.deadline
        with self._counted_as_a_read() as connected:
            walk = Walk(limit, now_ms() - self._settings.retention_ms, after)
            page = await Read(connected, player_id, until, self._tracing).page(walk)
        _READ_SECONDS.observe(time.perf_counter() - begun)
        _SESSIONS.inc(len(page.sessions))
        _INCOMPLETE.inc(walk.incomplete)
        _NEGATIVE.inc(walk.negative)
        return page

    async def starts(self, hours: int) -> dict[int, Count]:
        """Return the starts per country of the last `hours` hours, oldest first, by hour (ms).

        The last hour is the one under way. Raises StoreError.
        """
        asked = hours_until(now_ms(), hours)
        with self._counted_as_a_read():
            return dict(zip(asked, await self._countries.counts(asked), strict=True))

    async def erase(self, player_id: UUID) -> int:
        """Erase all that the player did until now; return the last time (ms) that is erased.

        Clients' clocks may run ahead by the future tolerance, so that time lies in the future. An
        erasure counts as a read for the limit of reads. Raises StoreError when it is not certain
        that the player is erased.
        """
        through = now_ms() + round(self._settings.future_tolerance * 1000)
        with self._counted_as_a_read() as connected:
            await erase(connected, player_id, through, self._settings.deadline, self._tracing)
        return through

    async def session(self, player_id: UUID, session_id: UUID) -> SessionState | None:
        """Return what became of a session, or None if neither event is kept; raises StoreError."""
        with self._lookup(player_id) as lookup:
            return await lookup.session(session_id)

    async def presence(self, player_id: UUID) -> Presence:
        """Return whether a player is online, and the latest session; raises StoreError."""
        online_since = now_ms() - round(self._settings.online_for * 1000)
        with self._lookup(player_id) as lookup:
            return presence(await lookup.latest(), online_since)

    @contextmanager
    def _lookup(self, player_id: UUID) -> Iterator[Lookup]:
        """Yield a lookup of one player; raises StoreError."""
        begun = time.perf_counter()
        until = self._loop.time() + self._settings.deadline
        oldest = now_ms() - self._settings.retention_ms
        with self._counted_as_a_read() as connected:
            yield Lookup(connected, player_id, oldest, until, self._tracing)
        _READ_SECONDS.observe(time.perf_counter() - begun)

    @contextmanager
    def _counted_as_a_read(self) -> Iterator[Connected]:
        """Yield the connection, and count one read more meanwhile; raises StoreError."""
        connected = self._connector.ready()
        if surplus := self.surplus("read"):
            raise StoreError(surplus, "too many reads are under way")
        self._reads += 1
        try:
            yield connected
        finally:
            self._reads -= 1

    async def run(self) -> None:
        """Stay connected until cancelled; no error of Cassandra's ends this."""
        await self._connector.run()

    async def close(self, within: float) -> None:
        """Wait up to `within` seconds for the writes in flight, then disconnect."""
        self._countries.close()
        until = self._loop.time() + within
        while not self._group_commit.idle and self._loop.time() < until:
            await asyncio.sleep(0.01)
        await self._connector.close()


class _BatchSender:
    """Sends the rows of a group commit as one batch, and measures and traces it."""

    def __init__(self, connector: Connector, tracing: Tracing | None) -> None:
        self._connector = connector
        self._tracing = tracing

    @property
    def max_rows(self) -> int:
        """The most rows of a batch, which the server's limits decide."""
        connected = self._connector.connected
        return connected.batch_rows if connected else 10

    def send(
        self,
        rows: Sequence[Row],
        player: bytes,
        deadline: float,
        spans: Sequence[Any],
        done: Done,
    ) -> None:
        """Send the rows to a replica of `player` within `deadline` seconds, then call `done`.

        `spans` are those of the traced requests that share the batch.
        """
        connected = self._connector.connected
        assert connected is not None  # rows come from `write`, which needs a connection
        packed = connected.inserts.joined(rows, now_ms())
        batch = connected.inserts.frame(packed, player)
        _GROUP_ROWS.observe(len(packed))
        begun, span = time.perf_counter(), None
        if self._tracing is not None and spans:
            span = self._tracing.begin_batch(connected.keyspace, len(packed), spans)

        def measured(rows: Rows | None, error: BaseException | None) -> None:
            _WRITE_SECONDS.observe(time.perf_counter() - begun)
            translated = None if error is None else counted(error)
            if self._tracing is not None and span is not None:
                self._tracing.end_store(span, translated)
            done(rows, translated)

        connected.client.send(batch, deadline, measured)
