"""A file in the original data set's form as a source of batches: JSON Lines, also .gz and .bz2.

Each line is an event or `{"rows": […]}`. A player id that is not a UUID is replayed as the UUID
under which the service stores that player. With n processes, each sends every n-th batch.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import random
from collections import deque
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any
from uuid import UUID, uuid4

import msgspec

from loadtest.play import Batch, Event

_MOST = 10  # events in a batch
_OPENERS: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open}
_decode = msgspec.json.Decoder().decode


class BadFile(Exception):
    """The file cannot be replayed; the message says which line."""


def lines(path: Path, shift_ms: int = 0) -> Iterator[tuple[int, list[Event]]]:
    """Yield the line number (from 1) and its events, shifted in time; raise BadFile."""
    number = 0
    try:
        opened: IO[bytes] = _OPENERS.get(path.suffix, open)(path, "rb")
        with closing(opened):
            for number, line in enumerate(opened, 1):
                if line.strip():
                    content = _decode(line)
                    rows = content.get("rows", content.get("events", [content]))
                    yield number, [_event(row, shift_ms) for row in rows]
    except (OSError, EOFError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise BadFile(f"{path}, line {number}: {error!r}") from error


def _event(row: dict[str, Any], shift_ms: int) -> Event:
    at = datetime.fromisoformat(row["ts"])
    at_ms = round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)
    return Event(
        row["event"],
        _player(row["player_id"]),
        UUID(row["session_id"]),
        at_ms + shift_ms,
        row.get("country"),
    )


def _player(text: str) -> UUID:
    """Return the UUID under which the service stores a player (docs/api.md, "Player ids")."""
    try:
        return UUID(text)
    except ValueError:
        digest = bytearray(hashlib.blake2b(text.encode(), digest_size=16).digest())
        digest[6], digest[8] = digest[6] & 15 | 128, digest[8] & 63 | 128
        return UUID(bytes=bytes(digest))


def blocks(path: Path, shift_ms: int) -> Iterator[tuple[str, list[Event]]]:
    """Yield the batches: a token (first-last line) and up to 10 events, the same each time."""
    first = last = 0
    gathered: list[Event] = []
    for number, events in lines(path, shift_ms):
        if gathered and len(gathered) + len(events) > _MOST:
            yield f"{first}-{last}", gathered
            gathered = []
        if not gathered:
            first = number
        gathered = gathered + events
        last = number
    if gathered:
        yield f"{first}-{last}", gathered


def newest_ms(path: Path) -> int:
    """Return the time of the newest event; raise BadFile."""
    return max((each.at_ms for _, events in lines(path) for each in events), default=0)


def fingerprint(path: Path) -> str:
    """Return what tells whether a file is the one that was replayed; raise OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Replay:
    """The batches of one of several processes."""

    def __init__(self, path: Path, shift_ms: int, process: int, processes: int) -> None:
        self._blocks = (
            block
            for number, block in enumerate(blocks(path, shift_ms))
            if number % processes == process
        )
        self._again: deque[Batch] = deque()
        self._players: deque[str] = deque([uuid4().hex], maxlen=1000)

    def next(self, now_ms: int) -> Batch | None:
        """Return what must be sent again, then the file; None at its end."""
        del now_ms
        if self._again:
            return self._again.popleft()
        token, events = next(self._blocks, ("", []))
        if not events:
            return None
        self._players.append(events[0].player.hex)
        body = ",".join(event.json() for event in events)
        return Batch([token], f'{{"events":[{body}]}}', len(events))

    def again(self, batch: Batch, at_ms: int) -> None:
        """Send a batch again without a pause, since arrivals have pauses of their own."""
        del at_ms
        self._again.append(batch)

    def reader(self) -> str:
        """Return one of the players seen last."""
        return random.choice(self._players)
