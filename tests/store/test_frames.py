"""Ready bytes make the very frame that the driver's own binding makes; batches fit their bound."""

from __future__ import annotations

import re
from typing import Any
from uuid import uuid4

import pytest
from cassandra import ConsistencyLevel
from cassandra.protocol import BatchMessage
from cassandra.query import BatchStatement, BatchType, BoundStatement

from player_sessions.events import Event, from_ms
from player_sessions.store import _CQL, row_of
from player_sessions.writer import ROW_BYTES, batch_of
from tests.store.conftest import RunningStore
from tests.support import DAY_MS, now_ms

YEAR_MS = 365 * DAY_MS


def frame(batch: BatchStatement) -> bytes:
    message = BatchMessage(
        batch.batch_type, batch._statements_and_parameters, ConsistencyLevel.LOCAL_QUORUM
    )
    body: list[bytes] = []

    class Body:
        write = body.append

    message.send_body(Body(), 5)
    return b"".join(body)


def driver_values(event: Event, now: int) -> tuple[Any, ...]:
    """The same row as plain Python values."""
    at = event.at_ms
    ttl = -(-(at + YEAR_MS) // 1000) - now // 1000
    if event.event == "end":
        return event.player_id, event.ts, event.session_id, ttl, at * 1000
    country = event.country or ""
    tie = (ord(country[0]) - 65) * 26 + ord(country[1]) - 65
    return event.player_id, event.session_id, event.ts, country, ttl, at * 1000 + tie


@pytest.mark.parametrize("kind", ["start", "end"])
def test_ready_bytes_make_the_frame_that_binding_makes(
    store: RunningStore, superuser: Any, keyspace: str, kind: str
) -> None:
    prepared = superuser.prepare(_CQL[kind].format(keyspace))
    now = now_ms()
    shared, rows, bound = BoundStatement(prepared), [], BatchStatement(BatchType.UNLOGGED)
    for age in (0, 1, 999, 86_400_123, YEAR_MS - 1):
        for country in ("AA", "FI", "ZZ"):
            event = Event(uuid4(), uuid4(), kind, from_ms(now - age), country)  # type: ignore[arg-type]
            values = row_of(event, YEAR_MS, now)
            assert values is not None
            rows.append((shared, values))
            bound.add(prepared, driver_values(event, now))
    ready = batch_of(rows, ConsistencyLevel.LOCAL_QUORUM)
    assert frame(ready) == frame(bound)
    assert (ready.routing_key, ready.keyspace) == (bound.routing_key, bound.keyspace)
    assert batch_of(rows[1:], ConsistencyLevel.LOCAL_QUORUM).routing_key == rows[1][1][0]


@pytest.mark.parametrize("kind", ["start", "end"])
def test_a_row_counts_at_most_its_bound_against_the_servers_batch_size(
    superuser: Any, keyspace: str, kind: str
) -> None:
    prepared = superuser.prepare(_CQL[kind].format(keyspace))
    now, count = now_ms(), 1500
    shared, rows = BoundStatement(prepared), []
    for _ in range(count):
        event = Event(uuid4(), uuid4(), kind, from_ms(now), "FI")  # type: ignore[arg-type]
        values = row_of(event, YEAR_MS, now)
        assert values is not None
        rows.append((shared, values))
    answer = superuser.execute_async(batch_of(rows, ConsistencyLevel.LOCAL_QUORUM))
    answer.result()
    (size,) = [int(m[1]) for w in answer.warnings if (m := re.search(r"is of size (\d+)", w))]
    assert ROW_BYTES / 2 < size / count <= ROW_BYTES
