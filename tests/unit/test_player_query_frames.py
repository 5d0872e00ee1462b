"""The queries of a player and their rows are what the driver itself would send and read."""

from __future__ import annotations

import struct
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from cassandra.protocol import ExecuteMessage, ProtocolHandler
from hypothesis import given
from hypothesis import strategies as st

from loadtest.bench import node
from loadtest.bench.node import prepared
from player_sessions.store import ready_frames
from player_sessions.store.player_queries import PlayerQueries, Query

PLAYER, ONE, OTHER = (UUID(int=number) for number in (1, 2, 1 << 100))
AT = 1_764_000_000_123
MOMENT = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=AT)
STATEMENTS = {name: prepared(name) for name in node.QUERIES}
QUERIES = PlayerQueries(STATEMENTS)
IDS = [ONE.bytes, OTHER.bytes]
# Each query, and the values that the driver would bind.
ASKED: dict[str, tuple[Query, tuple[Any, ...]]] = {
    "first_ends": (QUERIES.first_ends(PLAYER.bytes, AT, 24), (PLAYER, MOMENT, 24)),
    "next_ends": (
        QUERIES.next_ends(PLAYER.bytes, AT - 5, (AT, ONE.bytes), 7),
        (PLAYER, MOMENT - timedelta(milliseconds=5), MOMENT, ONE, 7),
    ),
    "starts": (QUERIES.starts(PLAYER.bytes, IDS), (PLAYER, [ONE, OTHER])),
    "newer_ends": (QUERIES.newer_ends(PLAYER.bytes, AT, IDS), (PLAYER, MOMENT, [ONE, OTHER])),
    "start_of_session": (QUERIES.start_of_session(PLAYER.bytes, OTHER.bytes), (PLAYER, OTHER)),
    "end_of_session": (
        QUERIES.end_of_session(PLAYER.bytes, AT, OTHER.bytes),
        (PLAYER, MOMENT, OTHER),
    ),
    "latest": (QUERIES.latest(PLAYER.bytes), (PLAYER,)),
}
SKIP_METADATA = 0x02


@pytest.mark.parametrize("name", ASKED)
def test_a_query_is_the_drivers_own_message_but_without_the_columns_description(name: str) -> None:
    query, values = ASKED[name]
    statement = STATEMENTS[name]
    bound = statement.bind(values)
    message = ExecuteMessage(
        statement.query_id, bound.values, statement.consistency_level, None, 5000,
        result_metadata_id=statement.result_metadata_id,
    )  # fmt: skip
    own = bytearray(ProtocolHandler.encode_message(message, 7, 5, None, False))
    flags = 9 + 2 + 16 + 2 + 16 + 2 + 3  # after the header, the two ids and the consistency
    own[flags] |= SKIP_METADATA
    assert ready_frames._encode(query, 7, 5, None) == own
    assert query.statement().values == bound.values
    assert (query.routing_key, query.keyspace) == (bound.routing_key, bound.keyspace)


def test_a_query_can_be_sent_to_a_node_that_does_not_know_its_statement() -> None:
    for query, values in ASKED.values():
        statement = query.statement()
        assert statement.is_idempotent
        assert statement.routing_key == PLAYER.bytes
        assert len(statement.values) == len(values)


def value(content: bytes | None) -> bytes:
    return struct.pack(">i", -1) if content is None else struct.pack(">i", len(content)) + content


ids = st.binary(min_size=16, max_size=16)
# The driver reads times by floating point, which after the year 2242 is off by milliseconds.
times = st.integers(0, 1000 * (1 << 33) - 1).map(lambda ms: struct.pack(">q", ms))
odd_times = times | st.none()
countries = st.sampled_from([b"FI", b"SE", b'"\n'])
odd_countries = st.sampled_from([b"FI", b"", b"F", b"FIN", b'"\\', None])


def tuples(*elements: st.SearchStrategy[bytes | None]) -> st.SearchStrategy[tuple[bytes]]:
    """Return rows of one column that has tuples of these elements."""
    return st.tuples(*elements).map(lambda found: (b"".join(map(value, found)),))


ROWS: dict[str, Any] = {
    "first_ends": st.tuples(times, ids),
    "starts": st.tuples(ids, times, countries),
    "start_of_session": st.tuples(times, countries),
    "end_of_session": st.tuples(times),
    "latest": tuples(times, ids, countries),
}
ODD_ROWS: dict[str, Any] = {
    "first_ends": st.tuples(odd_times, ids | st.none()),
    "starts": st.tuples(ids, odd_times, odd_countries),
    "start_of_session": st.tuples(odd_times, odd_countries),
    "end_of_session": st.tuples(odd_times),
    "latest": tuples(odd_times, ids | st.none(), odd_countries) | st.just((None,)),
}


def result(rows: list[tuple[bytes | None, ...]], columns: int, flags: int = 4) -> bytes:
    """Return the body of a RESULT with these rows; a paging state follows its flag."""
    state = value(b"state") if flags & 2 else b""
    head = struct.pack(">iii", 2, flags, columns) + state + struct.pack(">i", len(rows))
    return head + b"".join(value(content) for row in rows for content in row)


def read(query: Query, body: bytes, flags: int = 0) -> Any:
    return ready_frames._decoder(query)(5, {}, 7, flags, 8, body, None, query.columns)


def read_by_driver(query: Query, body: bytes, flags: int = 0) -> Any:
    message = ProtocolHandler.decode_message(5, {}, 7, flags, 8, body, None, query.columns)
    return query.plain(message.parsed_rows)


@given(st.data(), st.sampled_from(list(ROWS)))
def test_rows_are_read_as_the_driver_reads_them(data: Any, name: str) -> None:
    query, _ = ASKED[name]
    body = result(data.draw(st.lists(ROWS[name], max_size=30)), len(query.columns))
    found = read(query, body)
    assert found == read_by_driver(query, body)
    assert type(found) is list


@given(st.data(), st.sampled_from(list(ODD_ROWS)), st.sampled_from([4, 4 | 2]))
def test_an_odd_row_or_a_further_page_is_read_by_the_driver(
    data: Any, name: str, flags: int
) -> None:
    query, _ = ASKED[name]
    rows = data.draw(st.lists(ODD_ROWS[name], max_size=5))
    body = result(rows, len(query.columns), flags)
    found = read(query, body)
    if type(found) is not list:
        assert flags != 4 or rows
        found = query.plain(found.parsed_rows)
    assert found == read_by_driver(query, body)


@pytest.mark.parametrize(
    ("flags", "before"),
    [(0x08, struct.pack(">HH", 1, 4) + b"text"), (0x02, bytes(16)), (0x04, struct.pack(">H", 0))],
    ids=["warnings", "tracing", "payload"],
)
def test_an_answer_with_more_than_rows_is_read_by_the_driver(flags: int, before: bytes) -> None:
    query, _ = ASKED["first_ends"]
    body = before + result([(struct.pack(">q", AT), ONE.bytes)], 2)
    message = read(query, body, flags)
    assert query.plain(message.parsed_rows) == [(AT, ONE.bytes)]


def test_a_cut_frame_is_not_taken_for_rows() -> None:
    query, _ = ASKED["first_ends"]
    body = result([(struct.pack(">q", AT), ONE.bytes)] * 3, 2)
    assert query.rows(body) == [(AT, ONE.bytes)] * 3
    assert all(query.rows(body[:cut]) is None for cut in range(len(body)))
    assert query.rows(body + bytes(32)) is None
