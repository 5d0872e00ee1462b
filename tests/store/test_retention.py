"""Retention for real: rows vanish when their own time says, on disk too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from dev.cluster import Cluster
from player_sessions.events import Event, from_ms
from player_sessions.store import CQL
from tests.store.conftest import RunningStore
from tests.support import apply_schema, new_keyspace, now_ms, settings_of, wait_for

RETENTION_MS = 20_000


@pytest.fixture(scope="module")
def brief(cassandra: Cluster) -> str:
    """A keyspace with a retention of 20 s."""
    name = new_keyspace()
    apply_schema(cassandra, name, RETENTION="20s")
    return name


@pytest.fixture(scope="module")
def brief_store(cassandra: Cluster, brief: str) -> Iterator[RunningStore]:
    with RunningStore(settings_of(cassandra, brief, RETENTION="20s")) as running:
        yield running.connected()


def whole(player: UUID, session: UUID, at: int) -> list[Event]:
    return [
        Event(player, session, "start", from_ms(at - 1), "FI"),
        Event(player, session, "end", from_ms(at), None),
    ]


def test_an_event_of_retention_less_5_s_lives_5_s_though_just_received(
    brief_store: RunningStore, brief: str, superuser: Any
) -> None:
    player, now = uuid4(), now_ms()
    due = now + 5000
    brief_store.write(*whole(player, uuid4(), due - RETENTION_MS))
    assert len(brief_store.read(player).sessions) == 1

    def rows() -> int:
        return sum(
            superuser.execute(
                f"SELECT count(*) FROM {brief}.{table} WHERE player_id = %s", (player,)
            ).one()[0]
            for table in ("session_starts", "session_ends")
        )

    assert rows() == 2
    wait_for(lambda: not brief_store.read(player).sessions, what="no longer listed")
    assert due <= now_ms() < due + 2000
    wait_for(lambda: rows() == 0, what="the rows are gone from Cassandra as well")
    assert due <= now_ms() < due + 4000


def test_ttls_match_the_events_age_within_2_s(
    store: RunningStore, keyspace: str, superuser: Any
) -> None:
    year = 365 * 86_400
    for age in (0, 1, 86_400, 200 * 86_400, year - 100):
        player, session = uuid4(), uuid4()
        store.write(*whole(player, session, now_ms() - age * 1000))
        ttls = superuser.execute(
            f"SELECT TTL(started_at), TTL(country) FROM {keyspace}.session_starts"
            " WHERE player_id = %s",
            (player,),
        ).one()
        assert all(abs(ttl - (year - age)) <= 2 for ttl in ttls)


def test_of_two_deliveries_the_row_lives_as_its_own_time_says(
    brief_store: RunningStore, brief: str, superuser: Any
) -> None:
    player, session, now = uuid4(), uuid4(), now_ms()
    events = whole(player, session, now - 15_000)
    brief_store.write(*events)
    wait_for(lambda: now_ms() > now + 3000, what="3 s later")
    brief_store.write(*events)
    (ttl,) = superuser.execute(
        f"SELECT TTL(country) FROM {brief}.session_starts WHERE player_id = %s", (player,)
    ).one()
    assert abs(ttl - 2) <= 1


def test_no_row_on_disk_is_without_a_ttl(
    store: RunningStore, cassandra: Cluster, keyspace: str
) -> None:
    store.write(*whole(uuid4(), uuid4(), now_ms()))
    cassandra.nodetool("flush", keyspace)
    for table in ("session_starts", "session_ends"):
        rows = [
            row
            for file in data_files(cassandra, keyspace, table)
            for partition in json.loads(cassandra.sstabledump(file))
            for row in partition["rows"]
        ]
        assert rows
        assert all(row["liveness_info"]["ttl"] > 0 for row in rows)


def data_files(cassandra: Cluster, keyspace: str, table: str) -> list[Path]:
    folder = cassandra.folder / "node1" / "data" / keyspace
    return sorted(folder.glob(f"{table}-*/*-Data.db"))


def test_a_read_beside_5000_expired_ends_costs_what_it_costs_without_them(
    brief_store: RunningStore, brief: str, superuser: Any
) -> None:
    player, now = uuid4(), now_ms()
    due = now + 12_000
    brief_store.write_all(
        [
            [
                Event(player, uuid4(), "end", from_ms(due - RETENTION_MS - n // 10), None)
                for n in range(begin, begin + 10)
            ]
            for begin in range(0, 5000, 10)
        ]
    )
    brief_store.write(*whole(player, uuid4(), now_ms()))
    ends = f"SELECT count(*) FROM {brief}.session_ends WHERE player_id = %s"
    wait_for(lambda: superuser.execute(ends, (player,)).one()[0] == 1, what="the others expire")
    statement = superuser.prepare(CQL["first_ends"].format(brief))
    bound = from_ms(now_ms() - RETENTION_MS)
    assert scanned(superuser, statement.bind((player, bound, 24))) == (1, 0)
    # Without the lower bound they would all be walked over: the measure can tell.
    assert scanned(superuser, statement.bind((player, from_ms(0), 24)))[1] > 1000
    assert len(brief_store.read(player).sessions) == 1


def scanned(session: Any, statement: Any) -> tuple[int, int]:
    """(live rows, tombstones) that Cassandra walked over, by its own trace."""
    trace = session.execute(statement, trace=True).get_query_trace()
    (line,) = [e.description for e in trace.events if "tombstone cells" in e.description]
    words = line.split()
    return int(words[1]), int(words[words.index("tombstone") - 1])


def test_an_expired_sstable_is_dropped_whole(cassandra: Cluster) -> None:
    # The retention is longer than two windows of a minute: the old events share theirs with no
    # other file, so that what ends the file can only be the drop, never a compaction.
    keyspace, retention = new_keyspace(), 150_000
    apply_schema(cassandra, keyspace, RETENTION="150s")
    with RunningStore(settings_of(cassandra, keyspace, RETENTION="150s")) as store:
        store.connected()
        now = now_ms()
        old = from_ms(now - retention + 8000)
        store.write(*(Event(uuid4(), uuid4(), "end", old, None) for _ in range(10)))
        cassandra.nodetool("flush", keyspace, "session_ends")
        (expired,) = data_files(cassandra, keyspace, "session_ends")

        def dropped() -> bool:
            # A flush makes Cassandra look for what it may drop; else it looks once a minute.
            store.write(Event(uuid4(), uuid4(), "end", from_ms(now_ms()), None))
            cassandra.nodetool("flush", keyspace, "session_ends")
            return not expired.exists()

        wait_for(dropped, seconds=60, what="the SSTable is dropped")
        assert now_ms() >= now + 8000
