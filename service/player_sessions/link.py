"""The link to Cassandra: opened with back-off, checked while it holds, opened anew when it is lost.

The schema is checked at the start and again while the service runs, and everything starts from DNS
again when every known node has been away for long.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

from cassandra import ConsistencyLevel, Unauthorized
from cassandra.query import PreparedStatement, SimpleStatement

from player_sessions import schema
from player_sessions.driver import Budget, Client, StoreError, translate
from player_sessions.rows import Inserts, RowsProtocol
from player_sessions.schema.apply import read_applied
from player_sessions.settings import Settings
from player_sessions.telemetry import metrics
from player_sessions.telemetry.logs import log
from player_sessions.writer import batch_rows

NOT_READY = "not-ready"
_CHECK_SECONDS = 10.0
_CLOCK_SECONDS = 30.0
_REBUILD_SECONDS = 10.0
_NOW = "SELECT toUnixTimestamp(now()) FROM system.local"


class Opened:
    """What one connection brings: the client, its prepared statements, its INSERTs."""

    def __init__(
        self, settings: Settings, cql: Mapping[str, str], loop: asyncio.AbstractEventLoop
    ) -> None:
        """Blocks for seconds; raises StoreError when the schema does not fit."""
        self.client = Client(settings, loop)
        try:
            self.check_schema(settings.keyspace)
            self.statements: dict[str, PreparedStatement] = {}
            for name, text in cql.items():
                prepared = self.client.session.prepare(text.format(settings.keyspace))
                prepared.is_idempotent = True
                prepared.consistency_level = ConsistencyLevel.name_to_value[
                    settings.read_consistency
                ]
                self.statements[name] = prepared
            self.client.session.client_protocol_handler = RowsProtocol
            self.inserts = Inserts(
                self.statements["start"],
                self.statements["end"],
                settings.retention_ms,
                ConsistencyLevel.name_to_value[settings.write_consistency],
            )
            self.batch_rows = batch_rows(self._limits(), settings.writer_batch_rows)
        except BaseException:
            self.client.shutdown()
            raise

    def check_schema(self, keyspace: str) -> None:
        applied = read_applied(self.client.session.execute, keyspace)
        metrics.SCHEMA_VERSION.set(schema.newest_done(applied))
        reason = schema.mismatch(applied, schema.migrations())
        metrics.SCHEMA_MISMATCH.set(reason is not None)
        if reason:
            raise StoreError(NOT_READY, reason)

    def _limits(self) -> dict[str, Any]:
        try:
            rows = self.client.session.execute("SELECT name, value FROM system_views.settings")
        except Unauthorized:
            log.warning("no grant on system_views.settings: group commits stay at 10 rows")
            return {}
        return dict(rows.all())


class Link:
    """What is open now, and in `reason` why nothing can be asked, or None.

    cql: the statements by name, {0} for the keyspace, among them the INSERTs `start` and `end`.
    use: is told of each newly opened connection before anything is asked of it.
    """

    def __init__(
        self,
        settings: Settings,
        cql: Mapping[str, str],
        budget: Budget,
        use: Callable[[Opened], None],
    ) -> None:
        self.reason: str | None = "connecting to Cassandra"
        self.opened: Opened | None = None
        self._settings = settings
        self._cql = cql
        self._budget = budget
        self._use = use
        self._loop = asyncio.get_running_loop()

    def ready(self) -> Opened:
        """What to ask; raises StoreError where nothing can be."""
        if self.reason is not None or self.opened is None:
            raise StoreError(NOT_READY, self.reason or "not connected")
        return self.opened

    async def run(self) -> None:
        """Keep connected until cancelled; never raises for what Cassandra does."""
        await self._connect()
        checked = up = self._loop.time()
        clock_read = up - _CLOCK_SECONDS
        while True:
            await asyncio.sleep(1)
            assert self.opened is not None
            now = self._loop.time()
            if self._look_at_nodes(self.opened.client):
                up = now
                if now - checked >= _CHECK_SECONDS:
                    await self._check_schema(self.opened)
                    checked = now
                if now - clock_read >= _CLOCK_SECONDS:
                    await self._compare_clocks(self.opened.client)
                    clock_read = now
            elif now - up >= _REBUILD_SECONDS:
                log.warning(
                    "no node has been up for long: connecting again from the contact points"
                )
                await self._connect()
                up = self._loop.time()

    async def _connect(self) -> None:
        """Try with back-off until there is a connection that fits; it replaces the one before."""
        pause = 0.5
        while True:
            try:
                opened = await asyncio.to_thread(Opened, self._settings, self._cql, self._loop)
                break
            except Exception as error:
                fault = translate(error)
                if self.opened is None:
                    self.reason = str(fault)
                log.warning("no connection to Cassandra yet", reason=str(fault), cause=str(error))
                await asyncio.sleep(pause)
                pause = min(5.0, pause * 2)
        before, self.opened = self.opened, opened
        self._use(opened)
        self.reason = None
        log.info("connected to Cassandra", batch_rows=opened.batch_rows)
        if before is not None:
            await asyncio.to_thread(before.client.shutdown)

    def _look_at_nodes(self, client: Client) -> bool:
        """Whether any node is up."""
        up, down = client.nodes()
        metrics.DRIVER_NODES.labels("up").set(up)
        metrics.DRIVER_NODES.labels("down").set(down)
        metrics.DRIVER_CONNECTIONS.set(client.connections())
        return up > 0

    async def _compare_clocks(self, client: Client) -> None:
        """With a node's, at the middle of the question's way."""
        asked = time.time()
        try:
            rows = await client.fetch(SimpleStatement(_NOW), self._settings.deadline, self._budget)
        except Exception:  # Cassandra's health shows elsewhere
            return
        metrics.CLOCK_SKEW.set((asked + time.time()) / 2 - rows[0][0] / 1000)

    async def _check_schema(self, opened: Opened) -> None:
        reason = None
        try:
            await asyncio.to_thread(opened.check_schema, self._settings.keyspace)
        except Exception as error:
            if not isinstance(error, StoreError):  # Cassandra's health is not the schema's
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
        if self.opened is not None:
            await asyncio.to_thread(self.opened.client.shutdown)
