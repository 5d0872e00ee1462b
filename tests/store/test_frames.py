"""Packed rows make the very frame that the driver's own binding makes; batches fit their bound."""

from __future__ import annotations

import re
from typing import Any
from uuid import uuid4

import pytest
from cassandra import ConsistencyLevel
from cassandra.protocol import BatchMessage, ProtocolHandler
from cassandra.query import BatchStatement, BatchType

from player_sessions.events import Event, from_ms
from player_sessions.rows import Inserts, RowsProtocol
from player_sessions.store import CQL
from player_sessions.writer import ROW_BYTES
from tests.store.conftest import RunningStore
from tests.support import DAY_MS, now_ms

YEAR_MS = 365 * DAY_MS


def frame(batch: BatchStatement, protocol: type[ProtocolHandler]) -> bytes:
    message = BatchMessage(
        batch.batch_type,
        batch._statements_and_parameters,
        ConsistencyLevel.LOCAL_QUORUM,
        ConsistencyLevel.LOCAL_SERIAL,
        keyspace=batch.keyspace,
    )
    message.tracing = False
    message.update_custom_payload(None)
    made: bytes = protocol.encode_message(message, 7, 5, None, False)
    assert made == protocol.encode_message(message, 7, 5, None, False)  # it can be sent again
    return made


def driver_values(event: Event, now: int) -> tuple[Any, ...]:
    """The same row as plain Python values."""
    at = event.at_ms
    ttl = -(-(at + YEAR_MS) // 1000) - now // 1000
    if event.event == "end":
        return event.player_id, event.ts, event.session_id, ttl, at * 1000
    country = event.country or ""
    tie = (ord(country[0]) - 65) * 26 + ord(country[1]) - 65
    return event.player_id, event.session_id, event.ts, country, ttl, at * 1000 + tie


def test_packed_rows_make_the_frame_that_binding_makes(
    store: RunningStore, superuser: Any, keyspace: str
) -> None:
    start, end = (superuser.prepare(CQL[kind].format(keyspace)) for kind in ("start", "end"))
    inserts = Inserts(start, end, YEAR_MS, ConsistencyLevel.LOCAL_QUORUM)
    now = now_ms()
    rows, bound = [], BatchStatement(BatchType.UNLOGGED)
    for age in (-1000, 0, 1, 999, 86_400_123, YEAR_MS - 1):
        for kind, country in (("start", "AA"), ("start", "FI"), ("end", None), ("start", "ZZ")):
            event = Event(uuid4(), uuid4(), kind, from_ms(now - age), country)  # type: ignore[arg-type]
            row = inserts.row(event, event.at_ms, now)
            assert row is not None
            rows.append(row)
            bound.add(start if kind == "start" else end, driver_values(event, now))
    ready = inserts.batch(rows, bound.routing_key)
    assert frame(ready, RowsProtocol) == frame(bound, ProtocolHandler)
    assert (ready.routing_key, ready.keyspace) == (bound.routing_key, bound.keyspace)
    assert ready.is_idempotent
    assert ready.consistency_level == ConsistencyLevel.LOCAL_QUORUM


@pytest.mark.parametrize("kind", ["start", "end"])
def test_a_row_counts_at_most_its_bound_against_the_servers_batch_size(
    superuser: Any, keyspace: str, kind: str
) -> None:
    prepared = superuser.prepare(CQL[kind].format(keyspace))
    now, count = now_ms(), 1500
    batch = BatchStatement(BatchType.UNLOGGED)
    for _ in range(count):
        event = Event(uuid4(), uuid4(), kind, from_ms(now), "FI")  # type: ignore[arg-type]
        batch.add(prepared, driver_values(event, now))
    answer = superuser.execute_async(batch)
    answer.result()
    (size,) = [int(m[1]) for w in answer.warnings if (m := re.search(r"is of size (\d+)", w))]
    assert ROW_BYTES / 2 < size / count <= ROW_BYTES
