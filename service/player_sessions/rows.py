"""Events as rows of a batch, in the very bytes of Cassandra's protocol.

The driver binds values one by one and writes them one by one again, which costs more than all else
of a batch. A row is packed here at once, when the event is known, and the frame is its rows joined;
the driver writes all else of it. `tests/store` holds the frames against the driver's own.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from cassandra.protocol import BatchMessage, ProtocolHandler
from cassandra.query import BatchStatement, BatchType, BoundStatement, PreparedStatement

from player_sessions.events import Event

MAX_TTL = 630_720_000  # Cassandra's own bound, 20 years
# Each value is its length and its bytes: player, then in the order of the INSERT, TTL, timestamp.
_START = "i16s i16s iq i2s ii iq"
_END = "i16s iq i16s ii iq"


class Inserts:
    """The two INSERTs, and how their rows are packed."""

    def __init__(
        self, start: PreparedStatement, end: PreparedStatement, retention_ms: int, consistency: int
    ) -> None:
        self._start = _packer(start.query_id, 6, _START)
        self._end = _packer(end.query_id, 5, _END)
        self._keyspace = BoundStatement(start).keyspace
        self._retention = retention_ms
        self._consistency = consistency

    def row(self, event: Event, at: int, now: int) -> bytes | None:
        """Of the event, whose own time is `at` (ms); None: older than the retention, discarded.

        The write's timestamp is the event's own time, so that writes may arrive in any order.
        Under its millisecond stand microseconds for the country, so that two starts that differ
        never tie.
        """
        expires = at + self._retention
        if expires <= now:
            return None
        # Cassandra counts a TTL from the whole second in which it writes: the difference of whole
        # seconds never ends early, and is never 0, which would mean for ever.
        ttl = -(-expires // 1000) - now // 1000
        if ttl > MAX_TTL:
            ttl = MAX_TTL
        player, session = event.player_id.bytes, event.session_id.bytes
        if event.event == "end":
            return self._end(player, 8, at, 16, session, 4, ttl, 8, at * 1000)
        country = (event.country or "").encode()
        stamp = at * 1000 + (country[0] - 65) * 26 + country[1] - 65
        return self._start(player, 16, session, 8, at, 2, country, 4, ttl, 8, stamp)

    def batch(self, rows: Sequence[bytes], player: bytes) -> BatchStatement:
        """One UNLOGGED batch, sent to a replica of this player."""
        batch = BatchStatement(BatchType.UNLOGGED, consistency_level=self._consistency)
        batch.is_idempotent = True
        batch.routing_key, batch.keyspace = player, self._keyspace
        batch._statements_and_parameters = rows
        return batch


def _packer(query_id: bytes, values: int, form: str) -> Callable[..., bytes]:
    """Packs what follows the player's length; kind 1 is a prepared statement."""
    row = struct.Struct(f">BH{len(query_id)}sH{form}")
    return partial(row.pack, 1, len(query_id), query_id, values, 16)


class _RowsMessage(BatchMessage):  # type: ignore[misc]
    """A BATCH whose queries are packed already."""

    def send_body(self, f: Any, protocol_version: int) -> None:
        without = io.BytesIO()
        message = BatchMessage(
            self.batch_type, (), self.consistency_level,
            self.serial_consistency_level, self.timestamp, self.keyspace,
        )  # fmt: skip
        message.send_body(without, protocol_version)
        frame, count = without.getvalue(), len(self.queries).to_bytes(2, "big")
        f.write(b"".join((frame[:1], count, *self.queries, frame[3:])))


class RowsProtocol(ProtocolHandler):  # type: ignore[misc]
    """The driver's, for a session whose batches are all of `Inserts.batch`."""

    @classmethod
    def encode_message(cls, msg: Any, *frame: Any, **options: Any) -> bytes:
        if isinstance(msg, BatchMessage):
            msg.__class__ = _RowsMessage  # the driver makes the message itself
        encoded: bytes = super().encode_message(msg, *frame, **options)
        return encoded
