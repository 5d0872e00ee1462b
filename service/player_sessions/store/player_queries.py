"""The SELECTs of one player in the bytes of the protocol: values packed, rows unpacked.

The driver binds each value, reads the description of the columns in each answer, and makes an
object of each value, which costs more than the rest of a read. All values of these tables have
fixed widths, so here `struct` packs an EXECUTE message and unpacks the rows of its answer. Where a
row looks otherwise, or the answer has more than rows, the driver reads the answer.
`tests/unit/test_player_query_frames.py` checks that both read the same, and that the message is the
driver's own, but for the flag that leaves the description of the columns out.

These names of the driver are not documented; `tests/guards/test_guard_cassandra_frames.py` checks
them: `PreparedStatement.query_id`, `result_metadata_id` and `result_metadata`, and
`BoundStatement.values`, which has the values as bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from cassandra.query import BoundStatement, PreparedStatement

from player_sessions.rules.events import to_ms

# Flags of an EXECUTE: it has values and a fetch size, and wants no description of the columns.
_FLAGS = 0x01 | 0x04 | 0x02
_FETCH_SIZE = struct.pack(">i", 5000)  # rows; the driver's own default
# A RESULT begins with its kind (rows), flags (no description of the columns) and number of columns.
_ONE_COLUMN, _TWO_COLUMNS, _THREE_COLUMNS = (
    struct.pack(">iii", 2, 4, columns) for columns in (1, 2, 3)
)
_FIRST_ROW = len(_TWO_COLUMNS) + 4
# Each value is its length and its bytes.
_END = struct.Struct(">iqi16s")
_START = struct.Struct(">i16siqi2s")
_START_OF_SESSION = struct.Struct(">iqi2s")
_END_OF_SESSION = struct.Struct(">iq")
_LATEST = struct.Struct(">iiqi16si2s")  # a tuple is one value, whose bytes are those of three


class Query:
    """One SELECT with its values, as a frame that `ready_frames` can send."""

    opcode = 0x0A  # EXECUTE

    def __init__(self, select: _Select, player: bytes, body: bytes) -> None:
        self._select = select
        self.table = select.table
        self.keyspace = select.keyspace
        self.columns = select.prepared.result_metadata
        self.routing_key = player
        self.body = body
        self.rows = select.rows

    def plain(self, rows: Any) -> list[tuple[Any, ...]]:
        """Return rows of the driver's as bytes and milliseconds."""
        return [tuple(map(_plain, row)) for row in rows]

    def statement(self) -> BoundStatement:
        """Return the driver's statement with the same values."""
        statement = BoundStatement(self._select.prepared)
        statement.values = self._select.values(self.body)
        return statement


class _Select:
    """A prepared SELECT; `form` is that of its values after the player."""

    def __init__(
        self,
        prepared: PreparedStatement,
        form: str,
        values: int,
        rows: Callable[[bytes], list[Any] | None],
    ) -> None:
        self.prepared = prepared
        self.rows = rows
        self.keyspace = BoundStatement(prepared).keyspace
        self.table = prepared.column_metadata[0].table_name
        query, columns = prepared.query_id, prepared.result_metadata_id
        self._head = struct.pack(
            f">H{len(query)}sH{len(columns)}sHIH",
            len(query), query, len(columns), columns, prepared.consistency_level, _FLAGS, values,
        )  # fmt: skip
        self._pack = struct.Struct(f">i16s{form}").pack

    def query(self, player: bytes, *values: Any, sessions: Sequence[bytes] = ()) -> Query:
        """Return the query with these values, and at last those of the list of `sessions`."""
        parts = [self._head, self._pack(16, player, *values)]
        parts += (b"\0\0\0\x10" + session for session in sessions)
        return Query(self, player, b"".join((*parts, _FETCH_SIZE)))

    def values(self, body: bytes) -> list[bytes]:
        """Return the values in the body of a query."""
        found, at = [], len(self._head)
        while at < len(body) - len(_FETCH_SIZE):
            (length,) = struct.unpack_from(">i", body, at)
            found.append(body[at + 4 : at + 4 + length])
            at += 4 + length
        return found


class PlayerQueries:
    """The prepared SELECTs of a player; each method returns one of them with its values."""

    def __init__(self, statements: Mapping[str, PreparedStatement]) -> None:
        """`statements` has the prepared ones of `statements.CQL` by name."""
        self._first_ends = _Select(statements["first_ends"], "iqii", 3, _ends)
        self._next_ends = _Select(statements["next_ends"], "iqiqi16sii", 5, _ends)
        self._starts = _Select(statements["starts"], "ii", 2, _starts)
        self._newer_ends = _Select(statements["newer_ends"], "iqii", 3, _ends)
        self._start_of_session = _Select(
            statements["start_of_session"], "i16s", 2, _start_of_session
        )
        self._end_of_session = _Select(statements["end_of_session"], "iqi16s", 3, _end_of_session)
        self._latest = _Select(statements["latest"], "", 1, _latest)

    def first_ends(self, player: bytes, oldest: int, count: int) -> Query:
        """Return the query of the newest `count` ends that are later than `oldest`."""
        return self._first_ends.query(player, 8, oldest, 4, count)

    def next_ends(self, player: bytes, oldest: int, below: tuple[int, bytes], count: int) -> Query:
        """Return the query of the newest `count` ends below the end `below`."""
        ended_at, session = below
        return self._next_ends.query(player, 8, oldest, 8, ended_at, 16, session, 4, count)

    def starts(self, player: bytes, sessions: Sequence[bytes]) -> Query:
        """Return the query of the starts of these sessions."""
        count = len(sessions)
        return self._starts.query(player, 4 + 20 * count, count, sessions=sessions)

    def newer_ends(self, player: bytes, since: int, sessions: Sequence[bytes]) -> Query:
        """Return the query of all ends of these sessions that are at `since` or later."""
        count = len(sessions)
        return self._newer_ends.query(player, 8, since, 4 + 20 * count, count, sessions=sessions)

    def start_of_session(self, player: bytes, session: bytes) -> Query:
        """Return the query of the time and country of a session's start."""
        return self._start_of_session.query(player, 16, session)

    def end_of_session(self, player: bytes, oldest: int, session: bytes) -> Query:
        """Return the query of the time of a session's newest end that is later than `oldest`."""
        return self._end_of_session.query(player, 8, oldest, 16, session)

    def latest(self, player: bytes) -> Query:
        """Return the query of the latest start: a tuple of its time, session id and country."""
        return self._latest.query(player)


def _ends(result: bytes) -> list[tuple[int, bytes]] | None:
    """Return (time, session id) of each row; None where a row or the answer looks otherwise."""
    found = _rows(result, _TWO_COLUMNS, _END)
    if found is None:
        return None
    rows = [(at, session) for time, at, uuid, session in found if time == 8 and uuid == 16]
    return rows if len(rows) == len(found) else None


def _starts(result: bytes) -> list[tuple[bytes, int, bytes]] | None:
    """Return (session id, time, country) of each row, like `_ends`."""
    found = _rows(result, _THREE_COLUMNS, _START)
    if found is None:
        return None
    rows = [
        (session, at, country)
        for uuid, session, time, at, text, country in found
        if uuid == 16 and time == 8 and text == 2
    ]
    return rows if len(rows) == len(found) else None


def _start_of_session(result: bytes) -> list[tuple[int, bytes]] | None:
    """Return (time, country) of each row, like `_ends`."""
    found = _rows(result, _TWO_COLUMNS, _START_OF_SESSION)
    if found is None:
        return None
    rows = [(at, country) for time, at, text, country in found if time == 8 and text == 2]
    return rows if len(rows) == len(found) else None


def _end_of_session(result: bytes) -> list[tuple[int]] | None:
    """Return (time,) of each row, like `_ends`."""
    found = _rows(result, _ONE_COLUMN, _END_OF_SESSION)
    if found is None:
        return None
    rows = [(at,) for time, at in found if time == 8]
    return rows if len(rows) == len(found) else None


def _latest(result: bytes) -> list[tuple[tuple[int, bytes, bytes]]] | None:
    """Return ((time, session id, country),) of each row, like `_ends`."""
    found = _rows(result, _ONE_COLUMN, _LATEST)
    if found is None:
        return None
    rows = [
        ((at, session, country),)
        for whole, time, at, uuid, session, text, country in found
        if whole == 38 and time == 8 and uuid == 16 and text == 2
    ]
    return rows if len(rows) == len(found) else None


def _rows(result: bytes, head: bytes, row: struct.Struct) -> list[tuple[Any, ...]] | None:
    """Return the rows of a RESULT that has this head and rows of this width, or None."""
    count = int.from_bytes(result[len(head) : _FIRST_ROW], "big")
    if not result.startswith(head) or len(result) != _FIRST_ROW + count * row.size:
        return None
    return list(row.iter_unpack(memoryview(result)[_FIRST_ROW:]))


def _plain(value: Any) -> Any:
    match value:
        case UUID():
            return value.bytes
        case datetime():
            return to_ms(value)
        case str():
            return value.encode()
        case tuple():
            return tuple(map(_plain, value))
    return value
