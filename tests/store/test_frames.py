"""Packed rows make the same frame as the driver's own binding, and batches fit their bound."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from cassandra import ConsistencyLevel
from cassandra.protocol import BatchMessage, ProtocolHandler
from cassandra.query import BatchStatement, BatchType

from dev.game_events import DAY_MS, now_ms
from loadtest.bench import plain_rows
from player_sessions.rules.events import End, Event, Start, from_ms
from player_sessions.settings import Settings
from player_sessions.store.erasure import Deletes
from player_sessions.store.hour_rows import start_key
from player_sessions.store.packing import packed
from player_sessions.store.rows import ROW_BYTES, Inserts, RowsProtocol
from player_sessions.store.statements import CQL
from tests.store.conftest import RunningStore

YEAR_MS = 365 * DAY_MS
WEEK_MS = 7 * DAY_MS
SHARDS = 7
GROUP_COMMIT = uuid4()
INSERTS = ("start", "starts_of_hour", "end")


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
    assert made == protocol.encode_message(message, 7, 5, None, False)  # a batch can be sent again
    return made


def make(kind: str, at: datetime, country: str | None) -> Event:
    if kind == "end":
        return End(uuid4(), uuid4(), at, country)
    assert country is not None
    return Start(uuid4(), uuid4(), at, country)


def driver_rows(
    event: Event, now: int, group_commit: UUID = GROUP_COMMIT
) -> dict[str, tuple[Any, ...]]:
    """Return the same rows as plain Python values, by the names of their statements."""
    at, player, session = event.at_ms, event.player_id, event.session_id
    ttl = -(-(at + YEAR_MS) // 1000) - now // 1000
    if isinstance(event, End):
        return {"end": (player, event.ts, session, ttl, at * 1000)}
    country = event.country
    stamp = at * 1000 + (ord(country[0]) - 65) * 26 + ord(country[1]) - 65
    latest = (event.ts, session, country)
    rows: dict[str, tuple[Any, ...]] = {
        "start": (player, event.ts, session, country, latest, ttl, stamp)
    }
    ttl = -(-(at + WEEK_MS) // 1000) - now // 1000
    if ttl > 0:
        key = start_key(player.bytes, session.bytes, stamp % 1000)
        hour = from_ms(at // 3_600_000 * 3_600_000)
        place = hour, int.from_bytes(group_commit.bytes[:4]) % SHARDS
        rows["starts_of_hour"] = (*place, group_commit, plain_rows.packed_keys([key]), ttl)
    return rows


@pytest.fixture(autouse=True)
def group_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each group commit the same id."""
    for module in ("player_sessions.store.hour_rows", "loadtest.bench.plain_rows"):
        monkeypatch.setattr(f"{module}.urandom", lambda _: GROUP_COMMIT.bytes)


def test_packed_rows_make_the_frame_that_binding_makes(
    store: RunningStore, superuser: Any, keyspace: str
) -> None:
    statements = {name: superuser.prepare(CQL[name].format(keyspace)) for name in INSERTS}
    inserts = Inserts(statements, Settings(country_shards=SHARDS))
    now = now_ms()
    rows: list[bytes] = []
    bound = BatchStatement(BatchType.UNLOGGED)
    for age in (-1000, 0, 1, 999, 86_400_123, YEAR_MS - 1):
        for kind, country in (("start", "AA"), ("start", "FI"), ("end", None), ("start", "ZZ")):
            event = make(kind, from_ms(now - age), country)
            made = inserts.joined(inserts.rows(event, event.at_ms, now), now)
            values = driver_rows(event, now)
            assert len(made) == len(values)
            rows += made
            for name in values:
                bound.add(statements[name], values[name])
    assert len(rows) == 6 * 4 + 5 * 3  # all starts but the oldest three have a row of their hour
    ready = inserts.batch(rows, bound.routing_key)
    assert frame(ready, RowsProtocol) == frame(bound, ProtocolHandler)
    assert (ready.routing_key, ready.keyspace) == (bound.routing_key, bound.keyspace)
    assert ready.is_idempotent
    assert ready.consistency_level == ConsistencyLevel.LOCAL_QUORUM


def test_the_bench_binds_the_rows_that_are_packed(
    store: RunningStore, superuser: Any, keyspace: str
) -> None:
    statements = plain_rows.prepare(superuser, keyspace)
    inserts, now, made = Inserts(statements, Settings()), now_ms(), 0
    for age in (-1000, 0, 999, WEEK_MS - 1, WEEK_MS, YEAR_MS - 1, YEAR_MS):
        for kind, country in (("start", "AA"), ("start", "ZZ"), ("end", None)):
            event = make(kind, from_ms(now - age), country)
            bound = [statements[name].bind(v) for name, v in plain_rows.rows(event, now)]
            rows = inserts.rows(event, event.at_ms, now)
            assert [packed(each) for each in bound] == inserts.joined(rows, now)
            made += len(bound)
    assert made == 6 * 3 + 4 * 2  # all but the oldest, and a row of its hour for a week


def test_packed_deletions_make_the_frame_that_binding_makes(
    store: RunningStore, superuser: Any, keyspace: str
) -> None:
    names = ("start", "starts_of_hour", "end", "erase_starts", "erase_ends")
    prepared = {name: superuser.prepare(CQL[name].format(keyspace)) for name in names}
    inserts = Inserts(prepared, Settings())
    player, through = uuid4(), now_ms()
    bound = BatchStatement(BatchType.UNLOGGED)
    for name in ("erase_starts", "erase_ends"):
        bound.add(prepared[name], (through * 1000 + 999, player))
    ready = Deletes(prepared, inserts, YEAR_MS).batch(player.bytes, through)
    assert frame(ready, RowsProtocol) == frame(bound, ProtocolHandler)  # both without a payload
    assert (ready.routing_key, ready.keyspace) == (bound.routing_key, bound.keyspace)
    assert ready.is_idempotent
    assert ready.consistency_level == ConsistencyLevel.LOCAL_QUORUM


def test_packed_counts_make_the_frame_that_binding_makes(
    store: RunningStore, superuser: Any, keyspace: str
) -> None:
    prepared = superuser.prepare(CQL["keep_count"].format(keyspace))
    statements = {name: superuser.prepare(CQL[name].format(keyspace)) for name in INSERTS}
    bound = BatchStatement(BatchType.UNLOGGED)
    rows, now = [], from_ms(now_ms())
    for country, starts in (("", 0), ("FI", 1), ("SE", 2**40)):
        values = prepared.bind((now, country, starts, now, 60, 2**50))
        bound.add(values)
        rows.append(packed(values))
    ready = Inserts(statements, Settings()).batch(rows, bound.routing_key)
    assert frame(ready, RowsProtocol) == frame(bound, ProtocolHandler)


def test_the_largest_row_counts_at_most_its_bound_against_the_servers_batch_size(
    superuser: Any, keyspace: str
) -> None:
    now = now_ms()

    def size(name: str, count: int) -> float:
        prepared = superuser.prepare(CQL[name].format(keyspace))
        kind = "end" if name == "end" else "start"
        batch = BatchStatement(BatchType.UNLOGGED)
        for _ in range(count):
            batch.add(prepared, driver_rows(make(kind, from_ms(now), "FI"), now, uuid4())[name])
        answer = superuser.execute_async(batch)
        answer.result()
        (size,) = [int(m[1]) for w in answer.warnings if (m := re.search(r"is of size (\d+)", w))]
        return size / count

    sizes = size("start", 400), size("end", 800), size("starts_of_hour", 3000)
    assert ROW_BYTES / 2 < max(sizes) <= ROW_BYTES
