"""A read: walk over a player's ends, newest first, and fetch the starts that belong to them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import UUID

from player_sessions.rules.sessions import Page, Walk
from player_sessions.store.connector import Connected
from player_sessions.store.player_queries import Query
from player_sessions.store.requests import Rows

if TYPE_CHECKING:
    from player_sessions.telemetry.tracing import Tracing

EXTRA_ENDS = 4  # the first query asks for so many rows beyond the limit, for ends without a start
NEXT_ENDS = 100
MAX_ENDS = 500  # a read walks over at most so many rows, then answers with a cursor


class Read:
    """One read of one player, which ends by `until` (loop time)."""

    def __init__(
        self, connected: Connected, player_id: UUID, until: float, tracing: Tracing | None
    ) -> None:
        self._connected = connected
        self._queries = connected.player_queries
        self._player = player_id.bytes
        self._until = until
        self._tracing = tracing
        self._loop = asyncio.get_running_loop()

    async def page(self, walk: Walk) -> Page:
        """Return the page that `walk` finds; raises StoreError.

        A page that is shorter than its limit and has a position means that the read reached
        MAX_ENDS: the next page goes on from there.
        """
        walked, count = 0, walk.limit + EXTRA_ENDS
        while True:
            ends = await self._fetch(self._ends(walk, count))
            await self._pair(walk, ends)
            walked += len(ends)
            at_end = len(ends) < count and (not ends or walk.position == ends[-1])
            if at_end:
                return Page(walk.sessions, None)
            if walk.full or walked >= MAX_ENDS:
                return Page(walk.sessions, walk.position)
            count = min(NEXT_ENDS, MAX_ENDS - walked)

    def _ends(self, walk: Walk, count: int) -> Query:
        """Return the query of up to `count` ends below the walk's position."""
        if walk.position is None:
            return self._queries.first_ends(self._player, walk.oldest, count)
        return self._queries.next_ends(self._player, walk.oldest, walk.position, count)

    async def _pair(self, walk: Walk, ends: Rows) -> None:
        """Fetch the starts of `ends`, and let the walk pair them."""
        wanted = walk.unmet(ends)
        starts: Rows = ()
        newer: Rows = ()
        if wanted:
            asked = self._fetch(self._queries.starts(self._player, wanted))
            if walk.after is None:
                starts = await asked
            else:
                since = walk.after.ended_at
                again = self._fetch(self._queries.newer_ends(self._player, since, wanted))
                starts, newer = await asyncio.gather(asked, again)
        walk.add(ends, starts, newer)

    async def _fetch(self, query: Query) -> Rows:
        """Return the rows of one query; raises StoreError."""
        left = max(0.0, self._until - self._loop.time())
        return await self._connected.fetch(query, query.table, left, self._tracing)
