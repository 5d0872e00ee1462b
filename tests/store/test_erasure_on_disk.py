"""An erasure on disk: its bytes leave the SSTables, and Cassandra does not forget the deletion."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from dev.cluster import Cluster
from dev.game_events import now_ms
from dev.service import new_keyspace
from player_sessions.rules.events import End, Event, Start, from_ms
from tests.store.conftest import RunningStore
from tests.support import apply_schema, settings_of

TABLES = ("session_starts", "session_ends")
LATEST = (
    "UPDATE {}.session_starts USING TIMESTAMP %s SET latest = (%s, %s, 'FI') WHERE player_id = %s"
)


@pytest.fixture(scope="module")
def plain(cassandra: Cluster, superuser: Any) -> str:
    """Share a keyspace whose SSTables are not compressed, and forget deletions after a second."""
    name = new_keyspace()
    apply_schema(cassandra, name)
    for table in TABLES:
        options = "compression = {'enabled': false} AND gc_grace_seconds = 1"
        superuser.execute(f"ALTER TABLE {name}.{table} WITH {options}")
    return name


@pytest.fixture(scope="module")
def plain_store(cassandra: Cluster, plain: str) -> Iterator[RunningStore]:
    with RunningStore(settings_of(cassandra, plain)) as running:
        yield running.connected()


def whole(player: UUID, session: UUID, at: int) -> list[Event]:
    return [Start(player, session, from_ms(at - 1000), "FI"), End(player, session, from_ms(at))]


def files_with(cluster: Cluster, keyspace: str, wanted: bytes) -> set[str]:
    """Return the tables of which a file on disk has these bytes."""
    folder: Path = cluster.folder / "node1" / "data" / keyspace
    return {
        path.relative_to(folder).parts[0].partition("-")[0]
        for path in folder.rglob("*")
        if path.is_file() and wanted in path.read_bytes()
    }


def test_after_garbagecollect_no_sstable_has_the_session_id(
    cassandra: Cluster, plain: str, plain_store: RunningStore, superuser: Any
) -> None:
    player, other, session, kept, now = uuid4(), uuid4(), uuid4(), uuid4(), now_ms()
    for events in (whole(player, session, now), whole(other, kept, now)):
        plain_store.write(*events)
    superuser.execute(LATEST.format(plain), (now * 1000, from_ms(now), session, player))
    cassandra.nodetool("flush", plain)
    assert files_with(cassandra, plain, session.bytes) == set(TABLES)

    plain_store.call(plain_store.store.erase(player))
    plain_store.write(*whole(player, session, now))  # sent again
    query = f"SELECT latest, session_id FROM {plain}.session_starts WHERE player_id = %s"
    assert list(superuser.execute(query, (player,))) == []
    cassandra.nodetool("flush", plain)
    assert files_with(cassandra, plain, session.bytes) == set(TABLES)  # hidden, but on disk
    cassandra.nodetool("garbagecollect", plain, *TABLES)
    assert files_with(cassandra, plain, session.bytes) == set()
    assert files_with(cassandra, plain, kept.bytes) == set(TABLES)
    assert len(plain_store.read(other).sessions) == 1


def test_a_deletion_outlives_the_grace_period_so_that_nothing_comes_back(
    cassandra: Cluster, plain: str, plain_store: RunningStore, superuser: Any
) -> None:
    """The other player shows what would happen without `now_in_seconds`."""
    erased, other, now = uuid4(), uuid4(), now_ms()
    batches = [whole(player, uuid4(), now) for player in (erased, other)]
    plain_store.write_all(batches)
    plain_store.call(plain_store.store.erase(erased))
    for table in TABLES:
        superuser.execute(
            f"DELETE FROM {plain}.{table} USING TIMESTAMP %s WHERE player_id = %s",
            ((now + 300_000) * 1000, other),
        )
    for player in (erased, other):
        assert plain_store.read(player).sessions == []
    cassandra.nodetool("flush", plain)
    time.sleep(2.5)  # longer than gc_grace_seconds, in whole seconds
    cassandra.nodetool("compact", plain, *TABLES)
    plain_store.write_all(batches)
    assert len(plain_store.read(other).sessions) == 1
    assert plain_store.read(erased).sessions == []
