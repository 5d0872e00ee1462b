"""Events as rows of the tables, in the bytes of the protocol.

The driver binds each value and writes each value again, which costs more than the rest of a batch.
Here `Inserts` packs a row once, when the event is known, and `RowsProtocol` joins the rows into a
BATCH message; the driver writes everything else. `tests/store/test_frames.py` checks that the frame
is byte for byte the driver's own.

Packed rows travel through the driver as the text of a single statement. These names of the driver
are not documented; `tests/guards/test_guard_cassandra_driver.py` checks them.

- `BatchMessage`: its constructor, its attributes, `opcode` and `send_body`; its `queries` hold what
  `BatchStatement.add` was given, unchanged.
- `ProtocolHandler.encode_message` asks a message for `opcode`, `custom_payload`, `tracing` and
  `send_body`, and for nothing else.
- `PreparedStatement.query_id`.
- `cassandra.murmur3.murmur3`, the hash of Cassandra's partitioner.

A batch's `custom_payload` may have `NOW_IN_SECONDS`. It does not travel as a payload: it becomes
the field of the protocol (native protocol v5, 4.1.7) for which the driver has no option.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

from cassandra import ConsistencyLevel
from cassandra.protocol import BatchMessage, ProtocolHandler
from cassandra.query import (
    BatchStatement,
    BatchType,
    BoundStatement,
    PreparedStatement,
    SimpleStatement,
)

from player_sessions.rules.countries import COUNTRIES
from player_sessions.rules.events import Event, Start
from player_sessions.settings import Settings
from player_sessions.store.hour_rows import HourRows, StartOfHour, start_key
from player_sessions.store.packing import packer
from player_sessions.store.ready_batch import ReadyBatch

Row: TypeAlias = bytes | StartOfHour  # packed, or to be packed with the others of its batch

NOW_IN_SECONDS = "now_in_seconds"
_WITH_NOW_IN_SECONDS = 0x100  # flag of the protocol
MAX_TTL = 630_720_000  # Cassandra's own limit, 20 years
ROW_BYTES = 192  # the most that a row of ours counts against the server's batch size limits
_UNITS = {"KiB": 1024, "MiB": 1024**2, "GiB": 1024**3, "B": 1}
# Each value is its length and its bytes: the columns in the order of the INSERT, the TTL and the
# timestamp. The columns of `_BEGUN` together, with their lengths, are also the bytes of `latest`.
_START = "16s 38s i38s ii iq"
_BEGUN = "iq i16s i2s"
_END = "16s iq i16s ii iq"
_COUNTRIES = {name: (name.encode(), number) for number, name in enumerate(COUNTRIES)}


class Inserts:
    """The prepared INSERTs; packs their rows and makes batches of them."""

    def __init__(self, statements: Mapping[str, PreparedStatement], settings: Settings) -> None:
        """`statements` has those of `CQL` by name."""
        self._begun = struct.Struct(f">{_BEGUN}").pack
        self._start = packer(statements["start"], 7, 16, _START)
        self._end = packer(statements["end"], 5, 16, _END)
        self._hours = HourRows(statements["starts_of_hour"], settings)
        self._keyspace = BoundStatement(statements["start"]).keyspace
        self._retention = settings.retention_ms
        self._consistency = ConsistencyLevel.name_to_value[settings.write_consistency]

    def rows(self, event: Event, at: int, now: int) -> tuple[Row, ...]:
        """Return the rows of an event that happened at `at` (ms), or () if it is too old.

        A start also stands among the starts of its hour, as long as those are kept. The write's
        timestamp is the event's own time, so that writes may arrive in any order. The microseconds
        below that millisecond encode the country, so that two starts that differ never tie. Only
        `latest` can tie, between two sessions that began in the same millisecond and country:
        Cassandra keeps the one that expires in the later second, else the larger session id.
        """
        expires = at + self._retention
        if expires <= now:
            return ()
        # Cassandra counts a TTL from the whole second in which it writes. The difference of whole
        # seconds never ends early, and is never 0, which would mean for ever.
        second = now // 1000
        ttl = -(-expires // 1000) - second
        if ttl > MAX_TTL:
            ttl = MAX_TTL
        # `UUID.bytes` takes twice as long.
        player, session = event.player_id.int.to_bytes(16), event.session_id.int.to_bytes(16)
        if type(event) is not Start:
            return (self._end(player, 8, at, 16, session, 4, ttl, 8, at * 1000),)
        country, number = _COUNTRIES[event.country]
        stamp = at * 1000 + number
        begun = self._begun(8, at, 16, session, 2, country)
        start = self._start(player, begun, 38, begun, 4, ttl, 8, stamp)
        kept = self._hours.retention
        if not kept or at + kept <= now:
            return (start,)
        return start, (at, start_key(player, session, number))

    def joined(self, rows: Sequence[Row], now: int) -> list[bytes]:
        """Return the rows of a batch, all packed: the starts of an hour share rows."""
        packed = [row for row in rows if type(row) is bytes]
        if len(packed) < len(rows):
            packed += self._hours.rows([row for row in rows if type(row) is tuple], now)
        return packed

    def batch(self, rows: Sequence[bytes], player: bytes) -> BatchStatement:
        """Return one UNLOGGED batch of packed rows, sent to a replica of this player."""
        batch = BatchStatement(BatchType.UNLOGGED, consistency_level=self._consistency)
        batch.is_idempotent = True
        batch.routing_key, batch.keyspace = player, self._keyspace
        batch.add(SimpleStatement(b"".join((len(rows).to_bytes(2, "big"), *rows))))
        return batch

    def frame(self, rows: Sequence[bytes], player: bytes) -> ReadyBatch:
        """Return the same batch as a frame, which costs a third of the driver's own way."""
        statement = partial(self.batch, rows, player)
        return ReadyBatch(rows, player, self._keyspace, self._consistency, statement)


def batch_rows(limits: Mapping[str, Any], most: int) -> int:
    """Return how many rows a batch may have, at most `most`, below the server's thresholds.

    `limits` is the content of `system_views.settings`: text by name.
    """
    partitions = int(limits.get("unlogged_batch_across_partitions_warn_threshold") or 10)
    size = _bytes(limits.get("batch_size_warn_threshold")) or 5 * 1024
    fail = _bytes(limits.get("batch_size_fail_threshold")) or 50 * 1024
    return max(10, min(most, partitions, min(size, fail) // ROW_BYTES))


def _bytes(text: str | None) -> int:
    """Return the bytes of a size such as `64KiB`; 0 for none."""
    for unit, size in _UNITS.items():
        if text and text.endswith(unit):
            return int(text.removesuffix(unit)) * size
    return 0


class _PackedBatch:
    """A BATCH message whose rows are packed already, as a protocol handler encodes it."""

    opcode = BatchMessage.opcode

    def __init__(self, message: Any) -> None:
        payload = dict(message.custom_payload or {})
        self._now: bytes | None = payload.pop(NOW_IN_SECONDS, None)
        self.custom_payload = payload or None
        self.tracing = message.tracing
        ((_, self._rows, _),) = message.queries
        self._empty = BatchMessage(
            message.batch_type, (), message.consistency_level,
            message.serial_consistency_level, message.timestamp, message.keyspace,
        )  # fmt: skip

    def send_body(self, f: Any, protocol_version: int) -> None:
        """Write what the driver writes, with our count and rows in place of its count of 0.

        `now_in_seconds` is the last field of the message, and its flag stands among the others.
        """
        empty = io.BytesIO()
        self._empty.send_body(empty, protocol_version)
        body = empty.getvalue()
        head, rest = body[:1], body[3:]
        if self._now is not None:  # behind the consistency (2 bytes) are the flags (4 bytes)
            flags = int.from_bytes(rest[2:6], "big") | _WITH_NOW_IN_SECONDS
            rest = b"".join((rest[:2], flags.to_bytes(4, "big"), rest[6:], self._now))
        f.write(b"".join((head, self._rows, rest)))


class RowsProtocol(ProtocolHandler):  # type: ignore[misc]
    """The driver's protocol, for a session whose batches are all made by `Inserts.batch`."""

    @classmethod
    def encode_message(cls, msg: Any, *frame: Any, **options: Any) -> bytes:
        """Return the whole frame of a message."""
        if isinstance(msg, BatchMessage):
            msg = _PackedBatch(msg)
        encoded: bytes = super().encode_message(msg, *frame, **options)
        return encoded
