"""A group commit's packed rows as a frame that `ready_frames` can send.

The driver's own message would have a keyspace, a timestamp and a second consistency too. Our rows
name their keyspace, and none is conditional. The rows of events have timestamps of their own, and
those of hours are never written again, so that Cassandra's own time will do.
`tests/guards/test_guard_cassandra_frames.py` checks that the frame is the driver's without these.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any

from cassandra.query import Statement

_HEAD = struct.Struct(">BH")  # kind of the batch, number of rows
_TAIL = struct.Struct(">HI")  # consistency, flags
_UNLOGGED = 1
_VOID = struct.pack(">i", 1)  # a RESULT without rows


class ReadyBatch:
    """An UNLOGGED batch of packed rows; `statement` returns the same for the driver's own way."""

    opcode = 0x0D  # BATCH
    columns = None

    def __init__(
        self,
        rows: Sequence[bytes],
        player: bytes,
        keyspace: str,
        consistency: int,
        statement: Callable[[], Statement],
    ) -> None:
        head, tail = _HEAD.pack(_UNLOGGED, len(rows)), _TAIL.pack(consistency, 0)
        self.body = b"".join((head, *rows, tail))
        self.keyspace = keyspace
        self.routing_key = player
        self.statement = statement

    def rows(self, result: bytes) -> list[Any] | None:
        """Return no rows for the answer that a batch has when it succeeded."""
        return [] if result == _VOID else None

    def plain(self, rows: Any) -> list[Any]:  # noqa: ARG002
        """Return no rows, since a batch has none."""
        return []
