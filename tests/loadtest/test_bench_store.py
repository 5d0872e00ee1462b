"""The bench notices a contender that acknowledges events and does not store all of their rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from dev import cql
from dev.cluster import Cluster
from dev.game_events import now_ms
from dev.service import variables
from loadtest.bench import plain_rows, store
from player_sessions.rules.events import End, Start, from_ms


@pytest.fixture
def session(cassandra: Cluster, keyspace: str) -> Iterator[Any]:
    with cql.connected(variables(cassandra, keyspace), keyspace) as session:
        yield session


def write(session: Any, event: Start | End, *leave_out: str) -> str:
    """Write the rows of an event, but for those of the named statements; return its player."""
    statements = plain_rows.prepare(session, session.keyspace)
    for row in plain_rows.rows(event, now_ms()):
        if row.statement not in leave_out:
            session.execute(statements[row.statement], row.values)
    return event.player_id.hex


def a_start() -> Start:
    return Start(uuid4(), uuid4(), from_ms(now_ms()), "FI")


def test_events_with_all_their_rows_pass(session: Any) -> None:
    players = [write(session, a_start()) for _ in range(3)]
    players.append(write(session, End(uuid4(), uuid4(), from_ms(now_ms()))))
    assert store.check_stored(session, "peer", players, all_rows=True) == 4


@pytest.mark.parametrize("absent", ["start", "starts_of_hour"])
def test_a_start_that_lacks_a_row_is_noticed(session: Any, absent: str) -> None:
    players = [write(session, a_start()), write(session, a_start(), absent)]
    with pytest.raises(store.NotStored, match=f"peer .* 1 of the 2 looked up.* {players[1]}"):
        store.check_stored(session, "peer", players, all_rows=True)


def test_a_start_that_is_not_the_latest_one_is_noticed(session: Any) -> None:
    start = a_start()
    player = write(session, start)
    session.execute("DELETE latest FROM session_starts WHERE player_id = %s", (start.player_id,))
    with pytest.raises(store.NotStored):
        store.check_stored(session, "peer", [player], all_rows=True)
    assert store.check_stored(session, "baseline", [player], all_rows=False) == 1
