"""Prepare the data for the load, and count afterwards what was stored."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import chain, product
from typing import Any
from uuid import UUID, uuid4

from cassandra.concurrent import execute_concurrent_with_args
from cassandra.query import BatchStatement, BatchType

from dev import cql
from dev.cluster import Cluster
from dev.game_events import now_ms
from dev.service import PREFIX, apply_schema_with
from dev.toolchain import MissingTool
from loadtest.bench import plain_rows
from player_sessions.rules.events import End, Start
from player_sessions.store.hour_rows import unpacked_keys

_DAYS = 300  # a player's sessions are spread over so many days
_LENGTH = timedelta(minutes=20)
_PER_BATCH = 25
_STARTS = (
    "SELECT player_id, session_id, started_at, country, latest FROM session_starts"
    " WHERE player_id = ?"
)
_KEYS_OF_SHARD = "SELECT start_keys FROM starts_by_hour WHERE hour = ? AND shard = ?"


class NotStored(Exception):
    """A contender acknowledged events that are not in the store."""


@contextmanager
def opened(environ: Mapping[str, str]) -> Iterator[Any]:
    """Apply the service's schema and open a driver's session in its keyspace."""
    apply_schema_with(environ)
    with cql.connected(environ, environ[f"{PREFIX}KEYSPACE"]) as session:
        yield session


def write_player(session: Any, sessions: int) -> str:
    """Write a new player with so many complete sessions directly, and return its id."""
    player, now = uuid4(), now_ms()
    statements = plain_rows.prepare(session, session.keyspace)
    step = timedelta(days=_DAYS) / sessions
    newest = datetime.now(UTC)
    for first in range(0, sessions, _PER_BATCH):
        batch = BatchStatement(BatchType.UNLOGGED)
        for number in range(first, min(first + _PER_BATCH, sessions)):
            one, at = uuid4(), newest - number * step
            start, end = Start(player, one, at - _LENGTH, "FI"), End(player, one, at)
            for name, values in (*plain_rows.rows(start, now), *plain_rows.rows(end, now)):
                batch.add(statements[name], values)
        session.execute(batch)
    return player.hex


def flush(cluster: Cluster) -> bool:
    """Flush the players to disk, where old sessions lie; return False if nodetool is missing."""
    try:
        cluster.nodetool("flush")
    except MissingTool:
        return False
    except subprocess.CalledProcessError as error:
        raise MissingTool(f"nodetool flush failed: {error.stderr}") from error
    time.sleep(1)
    return True


def check_stored(session: Any, name: str, players: Sequence[str], *, all_rows: bool) -> int:
    """Return how many players were looked up; raise NotStored if one lacks its event.

    Each of them has one acknowledged event. `all_rows`: a start must also be the player's latest
    one and stand among the starts of its hour.
    """
    keys = [(UUID(player),) for player in players]
    ends = _rows(session, "SELECT session_id FROM session_ends WHERE player_id = ?", keys)
    starts = _rows(session, _STARTS, keys)
    missing = [
        key
        for key, ended, begun in zip(keys, ends, starts, strict=True)
        if len(ended) + len(begun) != 1
    ]
    if all_rows:
        missing += _incomplete(session, [row for found in starts for row in found])
    if missing:
        raise NotStored(
            f"{name} acknowledged events that are not stored: {len(missing)} of the"
            f" {len(players)} looked up, such as those of player {missing[0][0].hex}"
        )
    return len(players)


def _incomplete(session: Any, starts: Sequence[Any]) -> list[tuple[UUID]]:
    """Return the players whose start is not their latest, or not among the starts of its hour."""
    keys = [plain_rows.hour_key(Start(row[0], row[1], row[2], row[3])) for row in starts]
    shards = product({hour for hour, _ in keys}, range(plain_rows.SHARDS))
    rows = chain.from_iterable(_rows(session, _KEYS_OF_SHARD, list(shards)))
    of_hours = set(chain.from_iterable(unpacked_keys(row[0]) for row in rows))
    return [
        (player,)
        for (player, one, at, country, latest), (_, key) in zip(starts, keys, strict=True)
        if latest != (at, one, country) or key not in of_hours
    ]


def _rows(session: Any, query: str, keys: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    """Return the rows that a query finds for each key."""
    prepared = session.prepare(query)
    answers = execute_concurrent_with_args(session, prepared, keys, concurrency=50)
    return [rows.all() for _, rows in answers]
