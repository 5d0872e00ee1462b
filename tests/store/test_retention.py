"""Retention on a real Cassandra: rows expire by the event's own time, on disk too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from dev.cluster import Cluster
from dev.game_events import now_ms
from dev.service import new_keyspace, wait_for
from player_sessions.rules.countries import COUNTRIES, HOUR_MS
from player_sessions.rules.events import End, Event, Start, from_ms
from player_sessions.store.hour_rows import start_key, unpacked_keys
from player_sessions.store.statements import CQL
from tests.store.conftest import RunningStore
from tests.support import apply_schema, settings_of

RETENTION_MS = 20_000


@pytest.fixture(scope="module")
def brief(cassandra: Cluster) -> str:
    """Share a keyspace with a retention of 20 s."""
    name = new_keyspace()
    apply_schema(cassandra, name, RETENTION="20s")
    return name


@pytest.fixture(scope="module")
def brief_store(cassandra: Cluster, brief: str) -> Iterator[RunningStore]:
    with RunningStore(settings_of(cassandra, brief, RETENTION="20s")) as running:
        yield running.connected()


def whole(player: UUID, session: UUID, at: int) -> list[Event]:
    return [
        Start(player, session, from_ms(at - 1), "FI"),
        End(player, session, from_ms(at)),
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
    wait_for(lambda: not brief_store.read(player).sessions, what="the session is no longer listed")
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


def test_the_latest_start_and_the_start_of_its_hour_expire_by_the_starts_own_time(
    store: RunningStore, keyspace: str, superuser: Any
) -> None:
    day, year, week = 86_400, 365 * 86_400, 7 * 86_400
    for age in (0, 6 * day, 8 * day, 200 * day):
        player, session, at = uuid4(), uuid4(), now_ms() - age * 1000
        store.write(Start(player, session, from_ms(at), "FI"))
        latest, ttl = superuser.execute(
            f"SELECT latest, TTL(latest) FROM {keyspace}.session_starts WHERE player_id = %s",
            (player,),
        ).one()
        assert latest[1:] == (session, "FI")
        assert abs(ttl - (year - age)) <= 2
        key = start_key(player.bytes, session.bytes, COUNTRIES.index("FI"))
        found = [
            each
            for shard in range(8)
            for (keys,) in superuser.execute(
                f"SELECT start_keys FROM {keyspace}.starts_by_hour WHERE hour = %s AND shard = %s",
                (from_ms(at - at % HOUR_MS), shard),
            )
            for each in unpacked_keys(keys)
        ]
        assert found.count(key) == (age < week)


def test_a_row_delivered_twice_expires_by_the_events_own_time(
    brief_store: RunningStore, brief: str, superuser: Any
) -> None:
    player, session, now = uuid4(), uuid4(), now_ms()
    events = whole(player, session, now - 15_000)
    brief_store.write(*events)
    wait_for(lambda: now_ms() > now + 3000, what="3 s have passed")
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
    for table in ("session_starts", "session_ends", "starts_by_hour"):
        rows = [
            row
            for file in data_files(cassandra, keyspace, table)
            for partition in json.loads(cassandra.sstabledump(file))
            for row in partition["rows"]
        ]
        static = [row["cells"] for row in rows if row["type"] == "static_block"]
        infos = [row["liveness_info"] for row in rows if row["type"] != "static_block"]
        assert infos
        assert bool(static) == (table == "session_starts")
        assert all(info["ttl"] > 0 for info in infos)
        # The latest start of another test may have expired: Cassandra then writes its deletion.
        assert all("deletion_info" in cell or cell["ttl"] > 0 for cells in static for cell in cells)


def data_files(cassandra: Cluster, keyspace: str, table: str) -> list[Path]:
    folder = cassandra.folder / "node1" / "data" / keyspace
    return sorted(folder.glob(f"{table}-*/*-Data.db"))


def test_a_read_beside_5000_expired_ends_costs_as_much_as_without_them(
    brief_store: RunningStore, brief: str, superuser: Any
) -> None:
    player, now = uuid4(), now_ms()
    due = now + 12_000
    brief_store.write_all(
        [
            [
                End(player, uuid4(), from_ms(due - RETENTION_MS - n // 10))
                for n in range(begin, begin + 10)
            ]
            for begin in range(0, 5000, 10)
        ]
    )
    brief_store.write(*whole(player, uuid4(), now_ms()))
    ends = f"SELECT count(*) FROM {brief}.session_ends WHERE player_id = %s"
    wait_for(lambda: superuser.execute(ends, (player,)).one()[0] == 1, what="the other rows expire")
    statement = superuser.prepare(CQL["first_ends"].format(brief))
    bound = from_ms(now_ms() - RETENTION_MS)
    assert scanned(superuser, statement.bind((player, bound, 24))) == (1, 0)
    # Without the lower bound Cassandra reads them all, so the measurement can tell the difference.
    assert scanned(superuser, statement.bind((player, from_ms(0), 24)))[1] > 1000
    assert len(brief_store.read(player).sessions) == 1


def scanned(session: Any, statement: Any) -> tuple[int, int]:
    """Return how many live rows and tombstones Cassandra read, by its own trace."""
    trace = session.execute(statement, trace=True).get_query_trace()
    (line,) = [e.description for e in trace.events if "tombstone cells" in e.description]
    words = line.split()
    return int(words[1]), int(words[words.index("tombstone") - 1])


def test_an_expired_sstable_is_dropped_whole(cassandra: Cluster) -> None:
    # The retention is longer than two windows of a minute, so the old events share their window
    # with no other file, and only a drop can remove the file, never a compaction.
    keyspace, retention = new_keyspace(), 150_000
    apply_schema(cassandra, keyspace, RETENTION="150s")
    with RunningStore(settings_of(cassandra, keyspace, RETENTION="150s")) as store:
        store.connected()
        now = now_ms()
        old = from_ms(now - retention + 8000)
        store.write(*(End(uuid4(), uuid4(), old) for _ in range(10)))
        cassandra.nodetool("flush", keyspace, "session_ends")
        (expired,) = data_files(cassandra, keyspace, "session_ends")

        def dropped() -> bool:
            # A flush makes Cassandra look for files to drop; otherwise it looks once a minute.
            store.write(End(uuid4(), uuid4(), from_ms(now_ms())))
            cassandra.nodetool("flush", keyspace, "session_ends")
            return not expired.exists()

        wait_for(dropped, seconds=60, what="the SSTable is dropped")
        assert now_ms() >= now + 8000
