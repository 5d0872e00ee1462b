"""Replace Cassandra by a node in this process, which answers the queries of a read at once.

Everything of the driver runs but its sockets: statements, sessions, pools, connections, frames and
their checksums. `connected` is what the store has when it is connected to this one node.
"""

from __future__ import annotations

import asyncio
import struct
import zlib
from typing import Any
from unittest import mock

from cassandra import ConsistencyLevel
from cassandra.cluster import Cluster
from cassandra.cqltypes import AsciiType, DateType, Int32Type, ListType, TupleType, UUIDType
from cassandra.metadata import KeyspaceMetadata
from cassandra.policies import HostDistance, SimpleConvictionPolicy
from cassandra.pool import Host, HostConnection
from cassandra.protocol import ColumnMetadata
from cassandra.query import PreparedStatement
from cassandra.segment import CRC32_INITIAL, compute_crc24

from dev.game_events import now_ms
from player_sessions.rules.sessions import MAX_LIMIT
from player_sessions.settings import Settings
from player_sessions.store import requests
from player_sessions.store.budget import Budget
from player_sessions.store.cluster import build_cluster
from player_sessions.store.connector import Connected
from player_sessions.store.loop_connection import LoopConnection
from player_sessions.store.player_queries import PlayerQueries
from player_sessions.store.reads import EXTRA_ENDS

_KEYSPACE = "games"
_ROWS, _ONE_TABLE, _NO_METADATA = 2, 1, 4  # in a RESULT frame: its kind, and flags
_SKIP_METADATA = 2  # a flag of an EXECUTE frame
_CODES = {AsciiType: b"\0\x01", DateType: b"\0\x0b", UUIDType: b"\0\x0c"}
_IDS = ListType.apply_parameters([UUIDType])
QUERIES: dict[str, list[Any]] = {  # each query of a player, with the types of its values
    "first_ends": [UUIDType, DateType, Int32Type],
    "next_ends": [UUIDType, DateType, DateType, UUIDType, Int32Type],
    "starts": [UUIDType, _IDS],
    "newer_ends": [UUIDType, DateType, _IDS],
    "start_of_session": [UUIDType, UUIDType],
    "end_of_session": [UUIDType, DateType, UUIDType],
    "latest": [UUIDType],
}
_OF_ENDS = [("ended_at", DateType), ("session_id", UUIDType)]
_COLUMNS: dict[str, list[tuple[str, Any]]] = {
    "starts": [("session_id", UUIDType), ("started_at", DateType), ("country", AsciiType)],
    "start_of_session": [("started_at", DateType), ("country", AsciiType)],
    "end_of_session": [("ended_at", DateType)],
    "latest": [("latest", TupleType.apply_parameters([DateType, UUIDType, AsciiType]))],
}


class Node(LoopConnection):
    """A connection to a node that answers each query with the same rows."""

    def __init__(self, answers: dict[bytes, tuple[bytes, bytes]]) -> None:
        """`answers` has the bodies of RESULT frames, with metadata and without, by statement id."""
        super(LoopConnection, self).__init__(protocol_version=5)  # without a socket
        self.answers = answers
        self._enable_checksumming()

    def push(self, data: bytes) -> None:
        """Take a segment with one EXECUTE frame, and answer it in the next turn of the loop."""
        stream, query, flags = data[8:10], data[17:33], data[56]
        body = self.answers[query][bool(flags & _SKIP_METADATA)]
        frame = b"".join((b"\x85\0", stream, b"\x08", struct.pack(">i", len(body)), body))
        header = len(frame) | 1 << 17
        segment = (
            header.to_bytes(3, "little"),
            compute_crc24(header, 3).to_bytes(3, "little"),
            frame,
            zlib.crc32(frame, CRC32_INITIAL).to_bytes(4, "little"),
        )
        self.loop.call_soon(self._arrive, b"".join(segment))

    def _arrive(self, segment: bytes) -> None:
        self._iobuf.write(segment)
        self.process_io_buffer()


def prepared(name: str) -> PreparedStatement:
    """Return a query of a read as the driver prepares it."""
    bound = [ColumnMetadata(_KEYSPACE, name, "value", kind) for kind in QUERIES[name]]
    columns = [ColumnMetadata(_KEYSPACE, name, *column) for column in _columns(name)]
    statement = PreparedStatement(
        bound, name.encode().ljust(16), [0], name, _KEYSPACE, 5, columns, b"0123456789abcdef"
    )
    statement.is_idempotent = True
    statement.consistency_level = ConsistencyLevel.LOCAL_QUORUM
    return statement


def rows(sessions: int) -> dict[str, tuple[bytes, bytes]]:
    """Return the bodies of the answers for a player who has so many sessions, by query.

    A session that is asked for is the newest one.
    """
    now = now_ms()
    ids = [b"%015d0" % number for number in range(min(sessions, MAX_LIMIT + EXTRA_ENDS))]
    ends = [struct.pack(">iqi16s", 8, now - n * 1000, 16, one) for n, one in enumerate(ids)]
    starts = [
        struct.pack(">i16siqi2s", 16, one, 8, now - n * 1000 - 900_000, 2, b"FI")
        for n, one in enumerate(ids)
    ]
    # Without the session id, the first values of a row; a tuple's bytes are those of its values.
    start = struct.pack(">iqi2s", 8, now - 900_000, 2, b"FI")
    latest = struct.pack(">iiqi16si2s", 38, 8, now - 900_000, 16, ids[0] if ids else b"", 2, b"FI")
    found = {
        "first_ends": ends,
        "starts": starts,
        "start_of_session": [start][:sessions],
        "end_of_session": [end[:12] for end in ends[:1]],
        "latest": [latest][:sessions],
    }
    return {name: _bodies(name, each) for name, each in found.items()}


def _bodies(name: str, found: list[bytes]) -> tuple[bytes, bytes]:
    """Return the body of a RESULT frame with its metadata and without."""
    columns = _columns(name)
    table = [_text(_KEYSPACE), _text(name)]
    table += [_text(column) + _code(kind) for column, kind in columns]
    counted = struct.pack(">i", len(found)) + b"".join(found)
    with_metadata, without = (
        struct.pack(">iii", _ROWS, flags, len(columns)) for flags in (_ONE_TABLE, _NO_METADATA)
    )
    return with_metadata + b"".join(table) + counted, without + counted


def _columns(name: str) -> list[tuple[str, Any]]:
    return _COLUMNS.get(name, _OF_ENDS)


def _code(kind: Any) -> bytes:
    """Return a type as the description of a column has it."""
    if kind in _CODES:
        return _CODES[kind]
    return struct.pack(">HH", 0x31, len(kind.subtypes)) + b"".join(map(_code, kind.subtypes))


def _text(text: str) -> bytes:
    return struct.pack(">H", len(text)) + text.encode()


class _Pool(HostConnection):  # type: ignore[misc]
    def __init__(self, host: Host, session: _Session, connection: Node) -> None:
        super().__init__(host, HostDistance.IGNORED, session)  # opens no connection
        self._connection = connection


class _Session:
    """The part of the driver's session that ready frames use: its pools."""

    def __init__(self, host: Host, connection: Node) -> None:
        self._pools = {host: _Pool(host, self, connection)}


def connected(settings: Settings, sessions: int, loop: asyncio.AbstractEventLoop) -> Connected:
    """Return a store's connection to one node, where each player has so many sessions."""
    made = Connected.__new__(Connected)
    made.keyspace = _KEYSPACE
    made.statements = {name: prepared(name) for name in QUERIES}
    made.player_queries = PlayerQueries(made.statements)
    answers = {name.encode().ljust(16): bodies for name, bodies in rows(sessions).items()}
    connection = type("Node", (Node,), {"loop": loop})(answers)

    def connect(_: Settings, policy: Any, **__: Any) -> tuple[Cluster, Any]:
        cluster, host = _cluster(settings)
        policy.populate(cluster, [host])
        return cluster, _Session(host, connection)

    with mock.patch.object(requests, "connect", connect):
        made.client = requests.Client(settings, Budget(settings.extra_requests), loop)
    return made


def _cluster(settings: Settings) -> tuple[Cluster, Host]:
    """Return a driver that knows one node, which owns all tokens."""
    host = Host("127.0.0.1", SimpleConvictionPolicy)
    host.set_location_info(settings.cassandra_local_dc, "rack1")
    host.set_up()
    cluster = build_cluster(settings)
    cluster.metadata.add_or_return_host(host)
    cluster.metadata.keyspaces[_KEYSPACE] = KeyspaceMetadata(
        _KEYSPACE, True, "SimpleStrategy", {"replication_factor": 1}
    )
    cluster.metadata.rebuild_token_map("Murmur3Partitioner", {host: ["0"]})
    return cluster, host
