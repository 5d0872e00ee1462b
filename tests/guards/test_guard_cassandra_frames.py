"""Guard the undocumented parts of the driver by which ready frames leave and arrive.

When a new version of the driver makes one of these tests fail, its message names the file of ours
to look at.
"""

from __future__ import annotations

import inspect
import io
import struct
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from cassandra import ConsistencyLevel
from cassandra.cluster import Session
from cassandra.connection import Connection
from cassandra.pool import HostConnection, NoConnectionsAvailable
from cassandra.protocol import (
    BatchMessage,
    ErrorMessage,
    OverloadedErrorMessage,
    PreparedQueryNotFound,
    ProtocolHandler,
    UnavailableErrorMessage,
)
from cassandra.query import BoundStatement
from cassandra.segment import CrcException, SegmentCodec

from loadtest.bench.node import prepared
from player_sessions.rules.events import End, Event, Start, from_ms
from player_sessions.store import ready_frames
from player_sessions.store.rows import RowsProtocol
from player_sessions.store.segments import Segments
from tests.support import inserts

FRAMES = "service/player_sessions/store/ready_frames.py relies on this"
BATCH = "service/player_sessions/store/ready_batch.py relies on this"
NOW = 1_764_000_000_000
SEGMENTS = "service/player_sessions/store/segments.py relies on this"
CONNECTION = "service/player_sessions/store/loop_connection.py relies on this"
QUERIES = "service/player_sessions/store/player_queries.py relies on this"


def parameters(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters)


class Pushing(Connection):  # type: ignore[misc]
    """A connection without a socket, which keeps what it should send."""

    def __init__(self) -> None:
        super().__init__(protocol_version=5)
        self.pushed: list[bytes] = []

    def push(self, data: bytes) -> None:
        self.pushed.append(data)


def pool_of(connection: Any) -> Any:
    pool = HostConnection.__new__(HostConnection)
    HostConnection.__init__(pool, SimpleNamespace(endpoint=None), -1, Session.__new__(Session))
    pool._connection = connection
    return pool


def test_a_session_has_a_pool_for_each_host() -> None:
    session = Session.__new__(Session)
    session._pools = {"host": pool_of(None)}
    assert list(session.get_pool_state()) == ["host"], FRAMES


def test_a_pool_lends_a_connection_with_a_stream_and_takes_it_back() -> None:
    connection = Pushing()
    pool = pool_of(connection)
    assert pool.is_shutdown is False, FRAMES
    lent, stream = pool.borrow_connection(timeout=0)
    assert (lent, connection.in_flight) == (connection, 1), FRAMES
    assert stream not in connection.request_ids, FRAMES
    pool.return_connection(connection)
    assert connection.in_flight == 0, FRAMES
    with connection.lock:
        connection.request_ids.append(stream)


def test_a_pool_without_a_free_stream_says_so_at_once() -> None:
    connection = Pushing()
    connection.in_flight = connection.max_request_id
    with pytest.raises(NoConnectionsAvailable):
        pool_of(connection).borrow_connection(timeout=0)


def test_a_connection_sends_what_the_encoder_makes_and_hands_over_what_the_decoder_makes() -> None:
    connection = Pushing()
    got: list[Any] = []

    def encoder(*values: Any, **named: Any) -> bytes:
        assert values == ("message", 7, 5), FRAMES
        assert named == {"compressor": None, "allow_beta_protocol_version": False}, FRAMES
        return b"frame"

    def decoder(*values: Any) -> Any:
        version, _, stream, flags, opcode, body, _, columns = values
        assert (version, stream, flags, opcode) == (5, 7, 0, 8), FRAMES
        assert (body, columns) == (b"body", "columns"), FRAMES
        return ["rows"]

    connection.send_msg("message", 7, got.append, encoder, decoder, "columns")
    assert connection.pushed == [b"frame"], FRAMES
    connection.process_msg(SimpleNamespace(version=5, stream=7, flags=0, opcode=8), b"body")
    assert got == [["rows"]], FRAMES
    assert connection.request_ids[-1] == 7, FRAMES


def test_a_decoder_has_the_parameters_of_the_drivers() -> None:
    assert parameters(ProtocolHandler.decode_message) == [
        "protocol_version", "user_type_map", "stream_id", "flags", "opcode", "body",
        "decompressor", "result_metadata",
    ], FRAMES  # fmt: skip


@pytest.mark.parametrize(
    ("code", "more", "kind"),
    [
        (0x1001, b"", OverloadedErrorMessage),
        (0x1000, struct.pack(">HII", 6, 2, 1), UnavailableErrorMessage),
        (0x2500, struct.pack(">H2s", 2, b"id"), PreparedQueryNotFound),
    ],
)
def test_an_error_is_a_message_that_tells_its_exception(code: int, more: bytes, kind: type) -> None:
    body = struct.pack(">iH4s", code, 4, b"text") + more
    message = ProtocolHandler.decode_message(5, {}, 7, 0, 0, body, None, None)
    assert isinstance(message, kind), FRAMES
    assert isinstance(message, ErrorMessage), FRAMES
    assert isinstance(message.to_exception(), Exception), FRAMES


def test_a_prepared_statement_has_its_ids_and_its_columns_and_a_bound_one_its_values() -> None:
    statement = prepared("starts")
    assert (statement.query_id, statement.result_metadata_id) == (
        b"starts".ljust(16),
        b"0123456789abcdef",
    ), QUERIES
    assert statement.result_metadata[0].name == "session_id", QUERIES
    bound = BoundStatement(statement)
    bound.values = [b"player", b"list"]
    assert bound.routing_key == b"player", QUERIES


def test_a_connection_takes_its_codec_from_the_start_of_checksums() -> None:
    connection = Pushing()
    assert connection.compressor is None, CONNECTION
    connection._enable_checksumming()
    assert type(connection._segment_codec) is SegmentCodec, CONNECTION
    connection.send_msg("message", 7, None, lambda *_, **__: b"frame", None, None)
    (segment,) = connection.pushed
    buffer = io.BytesIO()
    Segments().encode(buffer, b"frame")
    assert segment == buffer.getvalue(), CONNECTION


@pytest.mark.parametrize("size", [0, 1, 255, 4096, 131_071, 131_072, 300_000])
def test_segments_are_the_drivers_own(size: int) -> None:
    for _ in range(2):  # made, then remembered
        own, ours = io.BytesIO(), io.BytesIO()
        SegmentCodec().encode(own, bytes(size))
        Segments().encode(ours, bytes(size))
        assert ours.getvalue() == own.getvalue(), SEGMENTS
        own.seek(0)
        ours.seek(0)
        while own.tell() < len(own.getvalue()):
            theirs, header = (
                codec.decode_header(buffer)
                for codec, buffer in ((SegmentCodec(), own), (Segments(), ours))
            )
            assert vars(header) == vars(theirs), SEGMENTS
            assert header.segment_length == theirs.segment_length, SEGMENTS
            payload = Segments().decode(ours, header).payload
            assert payload == SegmentCodec().decode(own, theirs).payload, SEGMENTS


def test_a_header_with_a_wrong_checksum_is_refused_each_time() -> None:
    buffer = io.BytesIO()
    SegmentCodec().encode(buffer, b"frame")
    bad = bytearray(buffer.getvalue())
    bad[4] ^= 1
    for _ in range(2):
        with pytest.raises(CrcException):
            Segments().decode_header(io.BytesIO(bad))


def test_a_ready_batch_is_the_drivers_own_without_what_our_rows_have_themselves() -> None:
    packed = inserts()
    session = UUID(int=2)
    events: list[Event] = [
        Start(UUID(int=1), session, from_ms(NOW), "FI"),
        End(UUID(int=1), session, from_ms(NOW + 1)),
    ]
    rows = [row for event in events for row in packed.rows(event, event.at_ms, NOW)]
    ready = packed.frame(packed.joined(rows, NOW), b"player")
    statement = ready.statement()
    message = BatchMessage(
        statement.batch_type, statement._statements_and_parameters, ConsistencyLevel.LOCAL_QUORUM
    )
    own = RowsProtocol.encode_message(message, 7, 5, None, False)
    assert ready_frames._encode(ready, 7, 5, None) == own, BATCH
    assert ready.rows(struct.pack(">i", 1)) == [], BATCH
    assert ready.rows(struct.pack(">i", 2)) is None, BATCH
    assert (ready.routing_key, ready.keyspace) == (statement.routing_key, statement.keyspace)
