"""Pairing: from the rows of a player's ends and starts to complete sessions, newest end first.

Pure: it says which rows to ask for next and what they amount to; the store does the asking. The
rules of an exact end (DESIGN: a session that got several different ends is listed once, at the
newest) live here and nowhere else.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterable
from typing import NamedTuple
from uuid import UUID

MAX_LIMIT = 20
_CURSOR = struct.Struct(">Bq16s")
_CURSOR_VERSION = 1
_LATEST = 253_402_300_799_999  # the last millisecond that a datetime can hold


class Position(NamedTuple):
    """A place in a player's ends: one row of `session_ends`, in ms and by id."""

    ended_at: int
    session_id: UUID


class Start(NamedTuple):
    started_at: int
    country: str


class Session(NamedTuple):
    """A complete session; times in ms since 1970 UTC, as the game sent them."""

    session_id: UUID
    country: str
    started_at: int
    ended_at: int

    @property
    def duration_seconds(self) -> float:
        """0 when broken clocks put the end before the start."""
        return max(0, self.ended_at - self.started_at) / 1000


class Page(NamedTuple):
    """Up to `limit` sessions, and where to go on, or None when nothing is left."""

    sessions: list[Session]
    next_position: Position | None


class InvalidCursor(ValueError):
    """The text is no cursor of ours."""


def encode_cursor(position: Position) -> str:
    raw = _CURSOR.pack(_CURSOR_VERSION, position.ended_at, position.session_id.bytes)
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def decode_cursor(text: str) -> Position:
    """The inverse of `encode_cursor`; raises InvalidCursor."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        version, ended_at, session_id = _CURSOR.unpack(raw)
    except (ValueError, struct.error) as error:
        raise InvalidCursor(text) from error
    if version != _CURSOR_VERSION or not 0 <= ended_at < 1 << 48:
        raise InvalidCursor(text)
    return Position(min(ended_at, _LATEST), UUID(bytes=session_id))


class Walk:
    """One request's way through a player's ends, newest first.

    Feed it the rows in the store's order with `add`; it keeps the first row of each session, which
    is its newest end, and drops the later ones.
    """

    def __init__(self, limit: int, oldest: int, after: Position | None) -> None:
        self.limit = limit
        self.oldest = oldest
        self.after = after
        self.position = after
        self.sessions: list[Session] = []
        self.incomplete = 0
        self._met: set[UUID] = set()
        self._at_cursor: set[UUID] = set()

    @property
    def full(self) -> bool:
        return len(self.sessions) >= self.limit

    def unmet(self, ends: Iterable[Position]) -> list[UUID]:
        """The ids among `ends` whose starts, and earlier ends, are worth asking for."""
        return list(dict.fromkeys(e.session_id for e in ends if e.session_id not in self._met))

    def add(
        self, ends: Iterable[Position], starts: dict[UUID, Start], newer: Iterable[Position]
    ) -> None:
        """Take the next rows; `newer` are ends of theirs at or above the cursor, if there is one.

        A row at the cursor's very time may stand on either side of it: it was passed only if this
        walk, which begins just below the cursor, has not met it.
        """
        ends = list(ends)
        if self.after is not None:
            cursor_at = self.after.ended_at
            self._at_cursor |= {e.session_id for e in ends if e.ended_at == cursor_at}
            self._met |= {
                e.session_id
                for e in newer
                if e.ended_at > cursor_at or e.session_id not in self._at_cursor
            }
        for end in ends:
            if self.full:
                return
            self.position = end
            if end.session_id not in self._met:
                self._met.add(end.session_id)
                self._list(end, starts.get(end.session_id))

    def _list(self, end: Position, start: Start | None) -> None:
        if start is None or start.started_at <= self.oldest:
            self.incomplete += 1
            return
        self.sessions.append(Session(end.session_id, start.country, start.started_at, end.ended_at))
