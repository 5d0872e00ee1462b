"""What became of one session, and whether its player is online: from the rows of start and end."""

from __future__ import annotations

from typing import Literal, NamedTuple
from uuid import UUID

from player_sessions.rules.sessions import duration_seconds

Status = Literal["complete", "open", "unstarted"]


class SessionState(NamedTuple):
    """One session of which the start, the end or both are kept.

    Its times are in ms since 1970 UTC, as the game sent them; an event that is missing is None.
    """

    session_id: UUID
    country: str | None
    started_at: int | None
    ended_at: int | None

    @property
    def status(self) -> Status:
        """Whether both events are there, or only the start, or only the end."""
        if self.started_at is None:
            return "unstarted"
        return "open" if self.ended_at is None else "complete"

    @property
    def duration_seconds(self) -> float | None:
        """The session's length, if it is complete; 0 when its end lies before its start."""
        if self.started_at is None or self.ended_at is None:
            return None
        return duration_seconds(self.started_at, self.ended_at)


class Presence(NamedTuple):
    """Whether a player is online, and the session with the newest start, if there is one."""

    online: bool
    latest: SessionState | None


def session_state(
    session_id: UUID, start: tuple[int, str | None] | None, ended_at: int | None, oldest: int
) -> SessionState | None:
    """Return what became of a session, or None when neither of its events is there.

    `start` is the time (ms) and country of its start, and `ended_at` the time of its newest end. An
    event at `oldest` (ms) or before is as old as the retention, and counts as gone.
    """
    if start is not None and start[0] <= oldest:
        start = None
    if ended_at is not None and ended_at <= oldest:
        ended_at = None
    if start is None and ended_at is None:
        return None
    started_at, country = start or (None, None)
    return SessionState(session_id, country, started_at, ended_at)


def presence(latest: SessionState | None, online_since: int) -> Presence:
    """Return a player's presence: online if `latest` is open and began after `online_since` (ms).

    Nobody is online for ever, since the end of a session may never arrive.
    """
    online = (
        latest is not None
        and latest.status == "open"
        and latest.started_at is not None
        and latest.started_at > online_since
    )
    return Presence(online, latest)
