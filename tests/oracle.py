"""What the service must answer, by brute force, for tests of any layer to be held against."""

from __future__ import annotations

from uuid import UUID

from player_sessions.events import Event
from player_sessions.sessions import Session
from tests.support import DAY_MS

YEAR_MS = 365 * DAY_MS
# Equal ones, some apart, and both sides of the retention by more than a test takes.
AGES = (0, 0, 1, 999, 1000, 60_000, DAY_MS, YEAR_MS - 600_000, YEAR_MS + 1, YEAR_MS + 60_000)


class Oracle:
    """DESIGN's P2 and P3 and nothing else."""

    def __init__(self) -> None:
        self.starts: dict[tuple[UUID, UUID], tuple[int, str]] = {}
        self.ends: dict[tuple[UUID, UUID], int] = {}

    def add(self, event: Event, now: int) -> None:
        if event.at_ms <= now - YEAR_MS:
            return
        key = (event.player_id, event.session_id)
        if event.event == "start":
            self.starts[key] = max(
                self.starts.get(key, (0, "")), (event.at_ms, event.country or "")
            )
        else:
            self.ends[key] = max(self.ends.get(key, 0), event.at_ms)

    def sessions(self, player: UUID) -> list[Session]:
        found = [
            Session(key[1], self.starts[key][1], self.starts[key][0], ended_at)
            for key, ended_at in self.ends.items()
            if key[0] == player and key in self.starts
        ]
        return sorted(found, key=lambda s: (s.ended_at, s.session_id.bytes), reverse=True)
