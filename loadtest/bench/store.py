"""The data beside the load: the schema, the players to read, and the count of what was stored."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from cassandra.concurrent import execute_concurrent_with_args
from cassandra.query import BatchStatement, BatchType

from dev.cluster import Cluster
from dev.toolchain import MissingTool
from player_sessions.driver import build_cluster
from player_sessions.schema import apply as schema_apply
from player_sessions.settings import Settings

_START = (
    "INSERT INTO session_starts (player_id, session_id, started_at, country) VALUES (?, ?, ?, ?)"
)
_END = "INSERT INTO session_ends (player_id, ended_at, session_id) VALUES (?, ?, ?)"
_DAYS = 300  # the sessions of a player to read lie over these
_PER_BATCH = 25


class NotStored(Exception):
    """A contender acknowledged events that are not in the store."""


@contextmanager
def opened(settings: Settings) -> Iterator[Any]:
    """A driver's session in the keyspace, with the service's schema applied."""

    def silent(_: str) -> None:
        pass

    with schema_apply.session(settings, schema_apply.Patience(60, 0), silent) as session:
        schema_apply.apply(settings, session, silent)
    cluster = build_cluster(settings)
    try:
        yield cluster.connect(settings.keyspace)
    finally:
        cluster.shutdown()


def write_player(session: Any, sessions: int) -> str:
    """A new player with so many complete sessions, written in directly; its id."""
    player = uuid4()
    start, end = session.prepare(_START), session.prepare(_END)
    step = timedelta(days=_DAYS) / sessions
    now = datetime.now(UTC)
    for first in range(0, sessions, _PER_BATCH):
        batch = BatchStatement(BatchType.UNLOGGED)
        for number in range(first, min(first + _PER_BATCH, sessions)):
            one, at = uuid4(), now - number * step
            batch.add(start, (player, one, at - timedelta(minutes=20), "FI"))
            batch.add(end, (player, at, one))
        session.execute(batch)
    return player.hex


def flush(cluster: Cluster) -> bool:
    """Write the players to disk, where old sessions lie; False where this Java has no nodetool."""
    try:
        cluster.nodetool("flush")
    except MissingTool:
        return False
    except subprocess.CalledProcessError as error:
        raise MissingTool(f"nodetool flush failed: {error.stderr}") from error
    time.sleep(1)
    return True


def check_stored(session: Any, name: str, players: Sequence[str]) -> int:
    """How many were looked up, each of whom has one acknowledged event; raises NotStored."""
    keys = [(UUID(player),) for player in players]
    found = dict.fromkeys(players, 0)
    for table in ("session_starts", "session_ends"):
        query = session.prepare(f"SELECT session_id FROM {table} WHERE player_id = ?")
        answers = execute_concurrent_with_args(session, query, keys, concurrency=50)
        for player, (_, rows) in zip(players, answers, strict=True):
            found[player] += len(rows.all())
    missing = [player for player, rows in found.items() if rows != 1]
    if missing:
        raise NotStored(
            f"{name} acknowledged events that are not stored: {len(missing)} of the"
            f" {len(players)} looked up, such as those of player {missing[0]}"
        )
    return len(players)
