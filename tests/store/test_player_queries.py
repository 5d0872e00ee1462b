"""The queries of a player on a real Cassandra, which answers them as it answers the driver."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest

from dev.cluster import Cluster
from dev.game_events import now_ms
from dev.service import new_keyspace
from loadtest.bench.node import QUERIES
from player_sessions.rules.events import End, Event, Start, from_ms
from player_sessions.store.player_queries import PlayerQueries, Query
from player_sessions.store.statements import CQL
from tests.store.conftest import RunningStore
from tests.support import apply_schema, settings_of


def whole(player: UUID, session: UUID, at: int) -> list[Event]:
    return [Start(player, session, from_ms(at - 1500), "FI"), End(player, session, from_ms(at))]


def fetch(store: RunningStore, query: Query) -> Any:
    connected = store.store._connector.ready()
    return store.call(connected.client.fetch(query, 10))


@pytest.mark.parametrize("sessions", [0, 1, 30])
def test_every_query_returns_what_the_driver_reads(
    store: RunningStore, superuser: Any, keyspace: str, sessions: int
) -> None:
    player, now = uuid4(), now_ms()
    ids = [uuid4() for _ in range(sessions)]
    for number, session in enumerate(ids):
        store.write(*whole(player, session, now - number))
    statements = {name: superuser.prepare(CQL[name].format(keyspace)) for name in QUERIES}
    for statement in statements.values():
        statement.consistency_level = 6
    queries = PlayerQueries(statements)
    wanted = [session.bytes for session in ids] or [bytes(16)]
    for query, rows in (
        (queries.first_ends(player.bytes, 0, 24), min(sessions, 24)),
        (
            queries.next_ends(player.bytes, 0, (now - 3, b"\xff" * 16), 24),
            min(24, max(0, sessions - 3)),
        ),
        (queries.starts(player.bytes, wanted), sessions),
        (queries.newer_ends(player.bytes, now - 9, wanted), min(sessions, 10)),
        (queries.start_of_session(player.bytes, wanted[0]), min(sessions, 1)),
        (queries.end_of_session(player.bytes, 0, wanted[0]), min(sessions, 1)),
        (queries.latest(player.bytes), min(sessions, 1)),
    ):
        found = list(fetch(store, query))
        assert len(found) == rows
        assert found == query.plain(superuser.execute(query.statement()))


@pytest.mark.parametrize("country", [None, "", "F", "FIN", '"\\'])
def test_a_start_that_only_others_could_have_written_is_listed_with_what_it_has(
    store: RunningStore, superuser: Any, keyspace: str, country: str | None
) -> None:
    player, session, odd, now = uuid4(), uuid4(), uuid4(), now_ms()
    store.write(*whole(player, session, now), *whole(player, odd, now - 1)[1:])
    superuser.execute(
        f"INSERT INTO {keyspace}.session_starts (player_id, session_id, started_at, country)"
        " VALUES (%s, %s, %s, %s)",
        (player, odd, now - 5000, country),
    )
    listed = {each.session_id: each for each in store.read(player).sessions}
    assert listed[session.bytes].country == b"FI"
    found = listed[odd.bytes]
    assert found.country == (None if country is None else country.encode())
    assert (found.started_at, found.ended_at) == (now - 5000, now - 1)


def test_a_start_without_a_time_is_no_start(
    store: RunningStore, superuser: Any, keyspace: str
) -> None:
    player, session, odd, now = uuid4(), uuid4(), uuid4(), now_ms()
    store.write(*whole(player, session, now), *whole(player, odd, now - 1)[1:])
    superuser.execute(
        f"INSERT INTO {keyspace}.session_starts (player_id, session_id, country)"
        " VALUES (%s, %s, 'FI')",
        (player, odd),
    )
    assert [each.session_id for each in store.read(player).sessions] == [session.bytes]


def test_a_node_that_forgot_the_statements_is_told_them_again(
    cassandra: Cluster, superuser: Any
) -> None:
    keyspace = new_keyspace()
    apply_schema(cassandra, keyspace)
    with RunningStore(settings_of(cassandra, keyspace)) as store:
        store.connected()
        player, session, now = uuid4(), uuid4(), now_ms()
        store.write(*whole(player, session, now))
        for table in ("session_starts", "session_ends"):
            # Cassandra forgets all statements on a table when its columns change.
            superuser.execute(f"ALTER TABLE {keyspace}.{table} ADD note text")
        assert [each.session_id for each in store.read(player).sessions] == [session.bytes]
        store.write(*whole(player, uuid4(), now - 1))
        assert len(store.read(player).sessions) == 2
