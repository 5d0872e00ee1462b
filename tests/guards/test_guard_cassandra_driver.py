"""Guard the undocumented parts of the driver's sessions, batches and errors on which we rely.

When a new version of the driver makes one of these tests fail, its message names the file of ours
to look at. `test_guard_cassandra_connection.py` does the same for the driver's connections.
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
from cassandra.cluster import Cluster, ResponseFuture, Session
from cassandra.connection import Connection
from cassandra.murmur3 import murmur3
from cassandra.pool import HostConnection
from cassandra.protocol import (
    BatchMessage,
    IsBootstrappingErrorMessage,
    OverloadedErrorMessage,
    ProtocolHandler,
    ServerError,
    TruncateError,
)
from cassandra.query import BatchType, PreparedStatement

from player_sessions.rules.events import End, Event, Start, from_ms
from player_sessions.settings import load
from player_sessions.store.cluster import build_cluster
from player_sessions.store.erasure import Deletes
from player_sessions.store.hour_rows import start_key
from player_sessions.store.loop_connection import LoopConnection
from player_sessions.store.rows import NOW_IN_SECONDS, RowsProtocol
from tests.support import inserts

ROWS = "service/player_sessions/store/rows.py relies on this"
DRIVER = "service/player_sessions/store/cluster.py and requests.py rely on this"
APPLY = "service/player_sessions/store/schema/apply.py relies on this"
NOW = 1_764_000_000_000


def parameters(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters)


def test_without_a_connection_class_the_driver_chooses_a_reactor_of_its_own() -> None:
    chosen = build_cluster(load({})).connection_class
    assert chosen is Cluster.connection_class, DRIVER
    assert issubclass(chosen, Connection), DRIVER
    assert not issubclass(chosen, LoopConnection), DRIVER


class Sent:
    """A session whose only connection keeps the frames that it is given to send."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.host = object()
        self.is_shutdown = False
        self.session = session = Session.__new__(Session)
        session.cluster = build_cluster(load({}))
        session._pools = {self.host: self}
        session._metrics, session._protocol_version = None, 5
        session._request_init_callbacks = []
        session.client_protocol_handler = RowsProtocol

    def borrow_connection(self, timeout: float) -> tuple[Any, int]:  # noqa: ARG002
        return self, 7

    def send_msg(self, msg: Any, request_id: int, *, encoder: Any, **_: Any) -> int:
        self.frames.append(encoder(msg, request_id, 5, None, False))
        return len(self.frames[-1])


def test_a_packed_batch_leaves_a_session_as_the_drivers_own_frame_of_the_same_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Compare with what `BatchStatement.add`, `BatchMessage` and `encode_message` make."""
    player, session, packed = (
        UUID(int=1),
        UUID(int=2),
        inserts(retention=1000 * 86_400, country_hours=24),
    )
    events: list[Event] = [
        Start(player, session, from_ms(NOW), "FI"),
        End(player, session, from_ms(NOW + 1)),
    ]
    rows = [row for event in events for row in packed.rows(event, event.at_ms, NOW)]
    monkeypatch.setattr("player_sessions.store.hour_rows.urandom", bytes)  # of a group commit
    batch = packed.batch(packed.joined(rows, NOW), player.bytes)
    batch.keyspace = "games"
    sent = Sent()
    sent.session.execute_async(batch, timeout=None, host=sent.host)

    ttl, tie = 86_400_000, (ord("F") - 65) * 26 + ord("I") - 65
    at, stamp, ttl_bytes = struct.pack(">q", NOW), NOW * 1000, struct.pack(">i", ttl)
    query = b"0123456789abcdef"
    latest = b"".join(len(v).to_bytes(4) + v for v in (at, session.bytes, b"FI"))
    stamp_bytes = struct.pack(">q", stamp + tie)
    start = [player.bytes, at, session.bytes, b"FI", latest, ttl_bytes, stamp_bytes]
    key = start_key(player.bytes, session.bytes, tie)
    of_hour = [
        struct.pack(">q", NOW // 3_600_000 * 3_600_000), bytes(2),
        bytes(16), key.to_bytes(8), struct.pack(">i", 86_400),
    ]  # fmt: skip
    end_at, end_stamp = struct.pack(">q", NOW + 1), struct.pack(">q", stamp + 1000)
    end = [player.bytes, end_at, session.bytes, struct.pack(">i", ttl + 1), end_stamp]
    (frame,) = sent.frames
    own = BatchMessage(
        BatchType.UNLOGGED, [(True, query, values) for values in (start, end, of_hour)],
        ConsistencyLevel.LOCAL_QUORUM, ConsistencyLevel.LOCAL_SERIAL, 1, "games",
    )  # fmt: skip
    expected = ProtocolHandler.encode_message(own, 7, 5, None, False)
    # Compare all but the client's timestamp (8 bytes before the keyspace), which the driver sets.
    keyspace = len(struct.pack(">H", 5) + b"games")
    assert frame[: -keyspace - 8] == expected[: -keyspace - 8], ROWS
    assert (frame[-keyspace:], len(frame)) == (expected[-keyspace:], len(expected)), ROWS


def test_the_time_of_a_deletion_is_the_last_field_of_its_batch() -> None:
    """Compare with the same batch without it: a flag and 4 bytes more, and no custom payload."""
    prepared = PreparedStatement([], b"0123456789abcdef", [], "DELETE", "games", 5, [], None)
    player, sent = UUID(int=1), Sent()
    both = dict.fromkeys(("erase_starts", "erase_ends"), prepared)
    batch = Deletes(both, inserts(), 1000).batch(player.bytes, NOW)
    batch.keyspace = "games"
    for payload in (batch.custom_payload, batch.custom_payload, None):  # it can be sent again
        batch.custom_payload = payload
        sent.session.execute_async(batch, timeout=None, host=sent.host)
    timed, again, plain = sent.frames
    head = 9  # version, flags, stream, opcode, length
    assert timed[:5] == again[:5] == plain[:5], ROWS
    assert len(timed) == len(again) == len(plain) + 4, ROWS
    assert timed[-4:] == (NOW // 1000 + 1).to_bytes(4, "big"), ROWS
    # Behind the rows: consistency (2), flags (4), serial consistency (2), timestamp (8), keyspace.
    flags = len(plain) - len(struct.pack(">H", 5) + b"games") - 8 - 2 - 4
    with_flag = (int.from_bytes(plain[flags : flags + 4], "big") | 0x100).to_bytes(4, "big")
    stamp = slice(flags + 6, flags + 14)  # of the client, different in each
    expected = bytearray(plain[head:flags] + with_flag + plain[flags + 4 :])
    expected[stamp.start - head : stamp.stop - head] = timed[stamp]
    assert timed[head:-4] == bytes(expected), ROWS
    assert NOW_IN_SECONDS.encode() not in timed, ROWS


def test_a_batch_message_has_the_parts_that_ours_is_made_of() -> None:
    names = ["batch_type", "queries", "consistency_level", "serial_consistency_level"]
    assert parameters(BatchMessage) == [*names, "timestamp", "keyspace"], ROWS
    message = BatchMessage(BatchType.UNLOGGED, (), 6, 9, 1, "games")
    assert [getattr(message, name) for name in names] == [BatchType.UNLOGGED, (), 6, 9], ROWS
    assert (message.timestamp, message.keyspace) == (1, "games"), ROWS
    assert (message.opcode, message.tracing, message.custom_payload) == (0x0D, False, None), ROWS
    body = io.BytesIO()
    message.send_body(body, 5)
    assert body.getvalue()[:3] == bytes([BatchType.UNLOGGED.value, 0, 0]), ROWS


def test_a_protocol_handler_asks_a_message_for_four_things_only() -> None:
    class Asked:
        def __init__(self) -> None:
            self.names: set[str] = set()

        def __getattr__(self, name: str) -> Any:
            self.names.add(name)
            values = {"opcode": 0x0D, "custom_payload": None, "tracing": False}
            return values.get(name, lambda body, _: body.write(b"body"))

    message = Asked()
    frame = ProtocolHandler.encode_message(message, 7, 5, None, False)
    assert frame.endswith(b"body"), ROWS
    assert message.names == {"opcode", "custom_payload", "tracing", "send_body"}, ROWS
    order = ["msg", "stream_id", "protocol_version", "compressor", "allow_beta_protocol_version"]
    assert parameters(ProtocolHandler.encode_message) == order, ROWS


def test_a_prepared_statement_has_its_id() -> None:
    prepared = PreparedStatement([], b"id", [], "INSERT", "games", 5, [], None)
    assert prepared.query_id == b"id", ROWS


def test_the_drivers_murmur3_is_the_hash_of_cassandras_partitioner() -> None:
    assert murmur3(b"123") == -7468325962851647638, ROWS
    assert murmur3(b"\x00\xff\x10\xfa\x99" * 10) == 5837342703291459765, ROWS


def test_a_sessions_pools_count_their_open_connections() -> None:
    def pool(connection: Any) -> HostConnection:
        made = HostConnection.__new__(HostConnection)
        made._connection, made.is_shutdown = connection, False
        return made

    open_one = SimpleNamespace(
        is_closed=False, is_defunct=False, in_flight=0, orphaned_request_ids=set()
    )
    session = Session.__new__(Session)
    session._pools = {"one": pool(open_one), "two": pool(None)}
    counts = {host: state["open_count"] for host, state in session.get_pool_state().items()}
    assert counts == {"one": 1, "two": 0}, DRIVER


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (0x0000, ServerError),
        (0x1001, OverloadedErrorMessage),
        (0x1002, IsBootstrappingErrorMessage),
        (0x1003, TruncateError),
    ],
)
def test_an_error_frame_is_the_exception_that_we_translate(code: int, kind: type) -> None:
    body = struct.pack(">iH", code, 4) + b"text"
    message = ProtocolHandler.decode_message(5, {}, 7, 0, 0, body, None, None)
    assert isinstance(message, kind), DRIVER
    assert isinstance(message, Exception), DRIVER


def test_a_response_says_whether_the_nodes_agreed_on_the_schema() -> None:
    assert ResponseFuture.is_schema_agreed is True, APPLY
