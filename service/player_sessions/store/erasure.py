"""Erasure: one batch that deletes a player's rows of both tables, up to a time.

The tables share the partition key, so the batch is one mutation: a replica has both deletions or
neither. They are blind and repeatable, like every write.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING
from uuid import UUID

from cassandra.query import BatchStatement, PreparedStatement

from player_sessions.rules.events import from_ms
from player_sessions.store.errors import counted
from player_sessions.store.packing import statement_head
from player_sessions.store.rows import NOW_IN_SECONDS, Inserts
from player_sessions.telemetry import metrics
from player_sessions.telemetry.logs import log
from player_sessions.telemetry.request_ids import span_of_task

if TYPE_CHECKING:
    from player_sessions.store.connector import Connected
    from player_sessions.telemetry.tracing import Tracing

_ERASE_SECONDS = metrics.STORE_SECONDS.labels("erase")
_STATEMENTS = 2
_VALUES = struct.Struct(">iqi16s")  # the timestamp and the player, each behind its length


class Deletes:
    """The two prepared DELETEs; makes the batch that erases a player."""

    def __init__(
        self, statements: Mapping[str, PreparedStatement], inserts: Inserts, retention_ms: int
    ) -> None:
        """`statements` has those of `CQL` by name."""
        names = ("erase_starts", "erase_ends")
        self._heads = [statement_head(statements[name], values=2) for name in names]
        self._inserts = inserts
        self._retention = retention_ms

    def batch(self, player: bytes, through: int) -> BatchStatement:
        """Return the batch that deletes what the player did up to `through` (ms), for good.

        Cassandra forgets a deletion `gc_grace_seconds` after it was made. An event that is sent
        again later would then be back. So the deletions are dated to when the newest event that
        they cover expires: from then on, the service discards that event (docs/adr/0012).
        """
        stamp = through * 1000 + 999  # rows differ in the microseconds below their millisecond
        values = _VALUES.pack(8, stamp, 16, player)
        batch = self._inserts.batch([head + values for head in self._heads], player)
        expires = -(-(through + self._retention) // 1000)
        batch.custom_payload = {NOW_IN_SECONDS: expires.to_bytes(4, "big")}
        return batch


async def erase(
    connected: Connected,
    player_id: UUID,
    through: int,
    within: float,
    tracing: Tracing | None,
) -> None:
    """Erase what the player did up to `through` (ms), within so many seconds; raises StoreError.

    Its one line in the log does not name the player.
    """
    span, parent = None, span_of_task.get()
    failed: BaseException | None = None
    outcome, begun = "failed", time.perf_counter()
    if tracing is not None and parent is not None:
        span = tracing.begin_batch(connected.keyspace, _STATEMENTS, [parent])
    try:
        await connected.client.fetch(connected.deletes.batch(player_id.bytes, through), within)
        outcome = "done"
    except Exception as error:
        failed = counted(error)
        raise failed from error
    finally:
        _ERASE_SECONDS.observe(time.perf_counter() - begun)
        metrics.ERASURES.labels(outcome).inc()
        moment = from_ms(through).isoformat(timespec="milliseconds")
        log.info("erasure of a player", outcome=outcome, erased_through=moment)
        if tracing is not None and span is not None:
            tracing.end_store(span, failed)
