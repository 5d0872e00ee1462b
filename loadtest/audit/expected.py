"""Collect from the journals the events that must be stored.

The events are kept in a temporary SQLite file, so that a million of them need no more memory than
its cache. They are read back in the order of players and sessions.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from loadtest.journal import Reading, Unreadable
from loadtest.play import Event, Model
from loadtest.replay_file import BadFile, blocks, fingerprint

KINDS = ("start", "end")
_OTHER_SIDE = str.maketrans("+-", "-+")
_SCHEMA = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -200000;
CREATE TABLE events (
    player BLOB, session BLOB, kind TEXT, at_ms INTEGER, country TEXT, acknowledged INTEGER,
    PRIMARY KEY (player, session, kind, at_ms, country)
) WITHOUT ROWID;
"""
_ADD = """
INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET acknowledged = max(acknowledged, excluded.acknowledged)
"""
# Sessions of which one side was acknowledged and the other was not: reads do not show those.
_HALF = """
SELECT player, session,
    max(CASE WHEN kind = 'start' AND acknowledged THEN at_ms END) AS began,
    max(CASE WHEN kind = 'end' AND acknowledged THEN at_ms END) AS ended
FROM events GROUP BY player, session HAVING (began IS NULL) <> (ended IS NULL)
"""


class Told(NamedTuple):
    """One event of a session; one that is not acknowledged may or may not be stored."""

    at_ms: int
    country: str
    acknowledged: bool


class Expected(NamedTuple):
    """A session as the journals tell it."""

    starts: list[Told]
    ends: list[Told]

    @property
    def certain(self) -> bool:
        """Return whether the session must be listed."""
        return all(any(t.acknowledged for t in told) for told in self)


def candidates(told: Iterable[Told]) -> list[Told]:
    """Return the events that may count: the newest acknowledged one, and newer uncertain ones."""
    told = list(told)
    least = max((each.at_ms for each in told if each.acknowledged), default=0)
    return [each for each in told if each.at_ms >= least]


class Store:
    """The events of all journals."""

    def __init__(self, file: Path) -> None:
        self._db = sqlite3.connect(file)
        self._db.executescript(_SCHEMA)

    def add(self, events: Iterable[tuple[Event, bool]]) -> None:
        """Add events, each with whether it was acknowledged; duplicates count once."""
        self._db.executemany(
            _ADD,
            (
                (e.player.bytes, e.session.bytes, e.kind, e.at_ms, e.country or "", acknowledged)
                for e, acknowledged in events
            ),
        )

    def count(self) -> tuple[int, int, int]:
        """Return the numbers of players, of acknowledged events and of events of unknown fate."""
        query = "SELECT count(DISTINCT player), total(acknowledged), count(*) FROM events"
        players, acknowledged, total = self._db.execute(query).fetchone()
        return players, int(acknowledged), total - int(acknowledged)

    def halves(self) -> list[Event]:
        """Yield the events that complete sessions of which only one side was acknowledged."""
        made = []
        for player, session, began, ended in self._db.execute(_HALF):
            ids = UUID(bytes=player), UUID(bytes=session)
            if ended is None:
                made.append(Event("end", *ids, began + 1, None))
            else:
                made.append(Event("start", *ids, ended - 1, "ZZ"))
        return made

    def players(self) -> Iterator[tuple[UUID, dict[UUID, Expected]]]:
        """Yield one player after another with all sessions."""
        rows = self._db.execute("SELECT * FROM events ORDER BY player, session")
        for player, theirs in groupby(rows, key=lambda row: row[0]):
            sessions: dict[UUID, Expected] = {}
            for _, session, kind, at_ms, country, acknowledged in theirs:
                expected = sessions.setdefault(UUID(bytes=session), Expected([], []))
                told = Told(at_ms, country, bool(acknowledged))
                expected[KINDS.index(kind)].append(told)
            yield UUID(bytes=player), sessions


def events_of(reading: Reading) -> Iterator[tuple[Event, bool]]:
    """Return a journal's events, made again from its seed or from the file that was replayed."""
    header = reading.header
    try:
        if header.mix is not None:
            yield from _played(reading, Model(header.seed, header.mix))
        else:
            yield from _replayed(reading, Path(header.file))
    except (ValueError, BadFile, OSError) as error:
        raise Unreadable(f"{reading.path}: {error}") from error


def _played(reading: Reading, model: Model) -> Iterator[tuple[Event, bool]]:
    origin_ms = reading.header.origin_ms
    for line in reading:
        for token in line.tokens:
            yield model.event(token, origin_ms), line.acknowledged
    if not reading.ended:  # the other side of any session may have been in flight
        for line in reading:
            for token in line.tokens:
                yield model.event(token.translate(_OTHER_SIDE), origin_ms), False


def _replayed(reading: Reading, file: Path) -> Iterator[tuple[Event, bool]]:
    if fingerprint(file) != reading.header.fingerprint:
        raise Unreadable(f"{reading.path}: {file} is no longer the file that was replayed")
    acknowledged: dict[str, bool] = {}
    for line in reading:
        for token in line.tokens:
            acknowledged[token] = acknowledged.get(token, False) or line.acknowledged
    for token, events in blocks(file, reading.header.origin_ms):
        if token in acknowledged:
            for event in events:
                yield event, acknowledged[token]
