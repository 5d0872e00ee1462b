"""Compute the right answers by brute force, to compare the service's answers with them."""

from __future__ import annotations

from typing import NamedTuple, Protocol
from uuid import UUID

from dev.game_events import DAY_MS

YEAR_MS = 365 * DAY_MS
# Equal times, times close together, and times on both sides of the retention; the last ones
# differ from the retention by more than a test takes.
AGES = (0, 0, 1, 999, 1000, 60_000, DAY_MS, YEAR_MS - 600_000, YEAR_MS + 1, YEAR_MS + 60_000)


class Event(Protocol):
    """The part of an event that the oracle needs."""

    @property
    def player_id(self) -> UUID: ...
    @property
    def session_id(self) -> UUID: ...
    @property
    def kind(self) -> str: ...
    @property
    def at_ms(self) -> int: ...
    @property
    def country(self) -> str | None: ...


class Session(NamedTuple):
    """A complete session; times in milliseconds since 1970 UTC."""

    session_id: UUID
    country: str
    started_at: int
    ended_at: int


class SessionState(NamedTuple):
    """A session of which an event is kept; what is missing is None."""

    session_id: UUID
    country: str | None
    started_at: int | None
    ended_at: int | None

    @property
    def status(self) -> str:
        if self.started_at is None:
            return "unstarted"
        return "open" if self.ended_at is None else "complete"


class Oracle:
    """The promises P2 (resending is safe) and P3 (one year is kept), and nothing else."""

    def __init__(self) -> None:
        self.starts: dict[tuple[UUID, UUID], tuple[int, str]] = {}
        self.ends: dict[tuple[UUID, UUID], int] = {}

    def add(self, event: Event, now: int) -> None:
        """Take an event that arrived at `now`."""
        if event.at_ms <= now - YEAR_MS:
            return
        key = (event.player_id, event.session_id)
        if event.kind == "start":
            self.starts[key] = max(
                self.starts.get(key, (0, "")), (event.at_ms, event.country or "")
            )
        else:
            self.ends[key] = max(self.ends.get(key, 0), event.at_ms)

    def sessions(self, player: UUID) -> list[Session]:
        """Return the player's complete sessions, newest end first."""
        found = [
            Session(key[1], self.starts[key][1], self.starts[key][0], ended_at)
            for key, ended_at in self.ends.items()
            if key[0] == player and key in self.starts
        ]
        return sorted(found, key=lambda s: (s.ended_at, s.session_id.bytes), reverse=True)

    def state(self, player: UUID, session: UUID) -> SessionState | None:
        """Return what became of a session, or None when none of its events is kept."""
        key = (player, session)
        if key not in self.starts and key not in self.ends:
            return None
        started_at, country = self.starts.get(key, (None, None))
        return SessionState(session, country, started_at, self.ends.get(key))

    def latest(self, player: UUID) -> list[SessionState | None]:
        """Return the session with the newest start; several if they tie, or [None] if none is."""
        starts = {key: start for key, start in self.starts.items() if key[0] == player}
        newest = max(starts.values(), default=None)
        tied = [self.state(*key) for key, start in starts.items() if start == newest]
        return tied or [None]
