"""Pairing: from the rows of a player's ends and starts to complete sessions, newest end first.

`Walk` says which rows to ask for next and which sessions the rows make; the store does the asking.
The rule for a session with several different ends stands here and nowhere else: the session is
listed once, at its newest end.

Ids are bytes and times milliseconds, as the store has them: making a UUID and a datetime of each
would cost more than the pairing.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

MAX_LIMIT = 20
_CURSOR = struct.Struct(">Bq16s")
_CURSOR_VERSION = 1
_NO_START = (None, None)
_LATEST = 253_402_300_799_999  # the last millisecond that a datetime can hold


EndRow = tuple[int, bytes]  # the time (ms) and session id of a row of `session_ends`
StartRow = tuple[bytes, int | None, bytes | None]  # session id, time and country of a start


class Position(NamedTuple):
    """A place among a player's ends: the time (ms) and session id of an `EndRow`."""

    ended_at: int
    session_id: bytes


class Session(msgspec.Struct, frozen=True, gc=False):  # made in a fifth of a NamedTuple's time
    """A complete session. Its times are in ms since 1970 UTC, as the game sent them."""

    session_id: bytes
    country: bytes | None
    started_at: int
    ended_at: int


class Page(NamedTuple):
    """Some sessions, and the position at which the next page begins, or None at the end."""

    sessions: list[Session]
    next_position: Position | None


def duration_seconds(started_at: int, ended_at: int) -> float:
    """Return a session's length; 0 when broken clocks put the end before the start."""
    return max(0, ended_at - started_at) / 1000


class InvalidCursor(ValueError):
    """The text is not a cursor that this service made."""


def encode_cursor(position: Position) -> str:
    """Return the cursor of a position: its version, time and id in URL-safe Base64."""
    raw = _CURSOR.pack(_CURSOR_VERSION, position.ended_at, position.session_id)
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def decode_cursor(text: str) -> Position:
    """Return the position of a cursor; raises InvalidCursor."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        version, ended_at, session_id = _CURSOR.unpack(raw)
    except (ValueError, struct.error) as error:
        raise InvalidCursor(text) from error
    if version != _CURSOR_VERSION or not 0 <= ended_at < 1 << 48:
        raise InvalidCursor(text)
    return Position(min(ended_at, _LATEST), session_id)


class Walk:
    """One request's walk over a player's ends, newest first.

    `add` takes the rows in the store's order. The first row of a session is its newest end, so the
    walk keeps that row and drops the session's later rows. `oldest` (ms) is the bound of the
    retention, and `after` the position at which the page before ended.
    """

    def __init__(self, limit: int, oldest: int, after: Position | None) -> None:
        self.limit = limit
        self.oldest = oldest
        self.after = after
        self.position = after
        self.sessions: list[Session] = []
        self.incomplete = 0  # ends without a start
        self.negative = 0  # sessions whose end lies before their start
        self._met: set[bytes] = set()
        self._at_cursor: set[bytes] = set()

    @property
    def full(self) -> bool:
        """Whether the page has as many sessions as its limit."""
        return len(self.sessions) >= self.limit

    def unmet(self, ends: Iterable[EndRow]) -> list[bytes]:
        """Return the ids of the sessions among `ends` that this walk has not met yet."""
        met = self._met
        return list(dict.fromkeys([session_id for _, session_id in ends if session_id not in met]))

    def add(
        self, ends: Sequence[EndRow], starts: Iterable[StartRow], newer: Iterable[EndRow]
    ) -> None:
        """Take the next ends, with the starts of their sessions.

        `newer` are other ends of these sessions, at the time of the cursor or later: a session that
        has one was listed on an earlier page. A row at exactly the cursor's time may lie on either
        side of the cursor. It lies before the cursor only if this walk, which begins just after the
        cursor, has not met it.
        """
        if self.after is not None:
            cursor_at = self.after.ended_at
            self._at_cursor |= {
                session_id for ended_at, session_id in ends if ended_at == cursor_at
            }
            self._met |= {
                session_id
                for ended_at, session_id in newer
                if ended_at > cursor_at or session_id not in self._at_cursor
            }
        found = {session_id: (at, country) for session_id, at, country in starts}
        met, sessions = self._met, self.sessions
        last: EndRow | None = self.position
        for end in ends:
            if len(sessions) == self.limit:
                break
            last = ended_at, session_id = end
            if session_id in met:
                continue
            met.add(session_id)
            started_at, country = found.get(session_id, _NO_START)
            if started_at is None or started_at <= self.oldest:
                self.incomplete += 1
                continue
            self.negative += ended_at < started_at
            sessions.append(Session(session_id, country, started_at, ended_at))
        self.position = last and Position(*last)
