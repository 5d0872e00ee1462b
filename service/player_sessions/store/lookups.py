"""Lookups in one player's partitions: what became of one session, and the player's latest session.

The ends of a player are ordered by time, not by session. So the end of one session is found by a
filter, which reads the player's ends from the newest down to the end that it looks for, or all of
them when there is none. An end may lie before its start (broken clocks), so the start is no bound.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import UUID

from player_sessions.rules.session_state import SessionState, session_state
from player_sessions.store.connector import Connected
from player_sessions.store.player_queries import Query
from player_sessions.store.requests import Rows

if TYPE_CHECKING:
    from player_sessions.telemetry.tracing import Tracing

# A player's newest ends, which are read together with the latest start: the end of the latest
# session is nearly always among them, and a player with fewer ends has no others.
NEWEST_ENDS = 10


class Lookup:
    """One lookup of one player, which ends by `until` (loop time).

    Events at `oldest` (ms) or before are as old as the retention.
    """

    def __init__(
        self,
        connected: Connected,
        player_id: UUID,
        oldest: int,
        until: float,
        tracing: Tracing | None,
    ) -> None:
        self._connected = connected
        self._queries = connected.player_queries
        self._player = player_id.bytes
        self._oldest = oldest
        self._until = until
        self._tracing = tracing
        self._loop = asyncio.get_running_loop()

    async def session(self, session_id: UUID) -> SessionState | None:
        """Return what became of a session, or None if neither event is there; raises StoreError."""
        session = session_id.bytes
        asked = self._fetch(self._queries.start_of_session(self._player, session))
        starts, ended_at = await asyncio.gather(asked, self._newest_end(session))
        start = next(((at, _text(country)) for at, country in starts if at is not None), None)
        return session_state(session_id, start, ended_at, self._oldest)

    async def latest(self) -> SessionState | None:
        """Return the session with the newest start, or None; raises StoreError."""
        queries = self._queries
        found, ends = await asyncio.gather(
            self._fetch(queries.latest(self._player)),
            self._fetch(queries.first_ends(self._player, self._oldest, NEWEST_ENDS)),
        )
        latest = next((row[0] for row in found), None)
        if latest is None:
            return None
        started_at, session, country = latest
        ended_at = next((at for at, ended in ends if ended == session), None)
        if ended_at is None and len(ends) == NEWEST_ENDS:
            ended_at = await self._newest_end(session)
        start = started_at, _text(country)
        return session_state(UUID(bytes=session), start, ended_at, self._oldest)

    async def _newest_end(self, session: bytes) -> int | None:
        query = self._queries.end_of_session(self._player, self._oldest, session)
        rows = await self._fetch(query)
        return next((ended_at for (ended_at,) in rows), None)

    async def _fetch(self, query: Query) -> Rows:
        """Return the rows of one query; raises StoreError."""
        left = max(0.0, self._until - self._loop.time())
        return await self._connected.fetch(query, query.table, left, self._tracing)


def _text(country: bytes | None) -> str | None:
    """Return a country as text. We write two letters, but an operator may write anything."""
    return None if country is None else country.decode()
