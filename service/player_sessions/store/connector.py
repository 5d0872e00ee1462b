"""Keeps connected to Cassandra: connects with back-off, checks the connection, rebuilds it.

The schema is checked at boot and again while the service runs. When every known node has been away
for long, the driver is rebuilt from the contact points, which are then looked up in DNS again.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from cassandra import ConsistencyLevel, Unauthorized
from cassandra.query import PreparedStatement, SimpleStatement

from player_sessions.rules.reasons import NOT_READY
from player_sessions.settings import Settings
from player_sessions.store import schema
from player_sessions.store.budget import Budget
from player_sessions.store.erasure import Deletes
from player_sessions.store.errors import StoreError, counted, describe, translate
from player_sessions.store.player_queries import PlayerQueries
from player_sessions.store.requests import Client, Request, Rows
from player_sessions.store.rows import Inserts, RowsProtocol, batch_rows
from player_sessions.store.schema.apply import read_applied, unkept_retention
from player_sessions.store.statements import CQL
from player_sessions.telemetry import metrics
from player_sessions.telemetry.logs import log
from player_sessions.telemetry.request_ids import span_of_task

if TYPE_CHECKING:
    from player_sessions.telemetry.tracing import Tracing

_CHECK_SECONDS = 10.0
_CLOCK_SECONDS = 30.0
_REBUILD_SECONDS = 10.0
_NOW = "SELECT toUnixTimestamp(now()) FROM system.local"


class Connected:
    """A connected client, its prepared statements by name, and the packers of its writes."""

    def __init__(self, settings: Settings, budget: Budget, loop: asyncio.AbstractEventLoop) -> None:
        """Connect, which blocks for seconds; raises StoreError when the schema does not fit."""
        self.keyspace = settings.keyspace
        self._settings = settings
        self.client = Client(settings, budget, loop)
        try:
            self.check_schema()
            self.statements: dict[str, PreparedStatement] = {}
            for name, text in CQL.items():
                prepared = self.client.session.prepare(text.format(settings.keyspace))
                prepared.is_idempotent = True
                prepared.consistency_level = ConsistencyLevel.name_to_value[
                    settings.read_consistency
                ]
                self.statements[name] = prepared
            self.player_queries = PlayerQueries(self.statements)
            self.client.session.client_protocol_handler = RowsProtocol
            self.inserts = Inserts(self.statements, settings)
            self.deletes = Deletes(self.statements, self.inserts, settings.retention_ms)
            self.batch_rows = batch_rows(self._limits(), settings.writer_batch_rows)
        except BaseException:
            self.client.shutdown()
            raise

    async def fetch(
        self, request: Request, table: str, within: float, tracing: Tracing | None
    ) -> Rows:
        """Return the rows of one query of `table`, within so many seconds; raises StoreError.

        The query has a span of its own where the request that asks is traced.
        """
        span, parent, failed = None, span_of_task.get(), None
        if tracing is not None and parent is not None:
            span = tracing.begin_query(self.keyspace, table, parent)
        try:
            return await self.client.fetch(request, within)
        except Exception as error:
            failed = counted(error)
            raise failed from error
        finally:
            if tracing is not None and span is not None:
                tracing.end_store(span, failed)

    def check_schema(self) -> None:
        """Check schema and retention, which blocks; raises StoreError when they do not fit."""
        applied = read_applied(self.client.session.execute, self.keyspace)
        metrics.SCHEMA_VERSION.set(schema.newest_done(applied))
        reason = schema.mismatch(applied, schema.migrations())
        metrics.SCHEMA_MISMATCH.set(reason is not None)
        reason = reason or unkept_retention(self._settings, self.client.session.execute)
        if reason:
            raise StoreError(NOT_READY, reason)

    def _limits(self) -> dict[str, Any]:
        try:
            rows = self.client.session.execute("SELECT name, value FROM system_views.settings")
        except Unauthorized:
            log.warning("no grant on system_views.settings: group commits stay at 10 rows")
            return {}
        return dict(rows.all())


class Connector:
    """Holds the present connection, and in `reason` why nothing can be asked now, or None."""

    def __init__(self, settings: Settings, budget: Budget) -> None:
        self.reason: str | None = "connecting to Cassandra"
        self.connected: Connected | None = None
        self._settings = settings
        self._budget = budget
        self._loop = asyncio.get_running_loop()

    def ready(self) -> Connected:
        """Return the connection to ask; raises StoreError when there is none that fits."""
        if self.reason is not None or self.connected is None:
            raise StoreError(NOT_READY, self.reason or "not connected")
        return self.connected

    async def run(self) -> None:
        """Stay connected until cancelled; no error of Cassandra's ends this."""
        await self._connect()
        checked = up = self._loop.time()
        clock_read = up - _CLOCK_SECONDS
        while True:
            await asyncio.sleep(1)
            assert self.connected is not None
            now = self._loop.time()
            if self._any_node_up(self.connected.client):
                up = now
                if now - checked >= _CHECK_SECONDS:
                    await self._check_schema(self.connected)
                    checked = now
                if now - clock_read >= _CLOCK_SECONDS:
                    await self._compare_clocks(self.connected.client)
                    clock_read = now
            elif now - up >= _REBUILD_SECONDS:
                log.warning(
                    "no node has been up for long: connecting again from the contact points"
                )
                await self._connect()
                up = self._loop.time()

    async def _connect(self) -> None:
        """Try with back-off until a connection fits; it then replaces the present one."""
        pause = 0.5
        while True:
            try:
                connected = await asyncio.to_thread(
                    Connected, self._settings, self._budget, self._loop
                )
                break
            except Exception as error:
                reason = describe(translate(error))
                if self.connected is None:
                    self.reason = reason
                log.warning("no connection to Cassandra yet", reason=reason, cause=describe(error))
                await asyncio.sleep(pause)
                pause = min(5.0, pause * 2)
        before, self.connected = self.connected, connected
        self.reason = None
        log.info("connected to Cassandra", batch_rows=connected.batch_rows)
        if before is not None:
            await self._leave(before)

    async def _leave(self, before: Connected) -> None:
        """Disconnect once the requests that began on this connection have ended.

        The driver may have found a node again by itself while the new connection was being made.
        """
        try:
            await asyncio.sleep(self._settings.deadline)
        finally:
            await asyncio.to_thread(before.client.shutdown)

    def _any_node_up(self, client: Client) -> bool:
        """Return whether any node is up, and set the gauges of the driver."""
        up, down = client.nodes()
        metrics.DRIVER_NODES.labels("up").set(up)
        metrics.DRIVER_NODES.labels("down").set(down)
        metrics.DRIVER_CONNECTIONS.set(client.connections())
        return up > 0

    async def _compare_clocks(self, client: Client) -> None:
        """Compare our clock with one node's, taken at the midpoint of the round trip."""
        asked = time.time()
        try:
            rows = await client.fetch(SimpleStatement(_NOW), self._settings.deadline)
        except Exception:  # other metrics show whether Cassandra answers
            return
        metrics.CLOCK_SKEW.set((asked + time.time()) / 2 - rows[0][0] / 1000)

    async def _check_schema(self, connected: Connected) -> None:
        reason = None
        try:
            await asyncio.to_thread(connected.check_schema)
        except Exception as error:
            if not isinstance(error, StoreError):  # an absent node says nothing about the schema
                return
            reason = str(error)
        if reason != self.reason:
            log.warning(
                "the schema fits again" if reason is None else "the schema does not fit",
                reason=reason,
            )
        self.reason = reason

    async def close(self) -> None:
        """Disconnect."""
        if self.connected is not None:
            await asyncio.to_thread(self.connected.client.shutdown)
