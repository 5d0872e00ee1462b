"""`player-sessions import`: files of JSON Lines into the store, restartable and accounted for.

A line is one event or one batch (`{"events": […]}`, `{"rows": […]}` or a list). Each line keeps the
rules of the interface: a line with a wrong event stores nothing and goes to the rejects file.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import msgspec

from player_sessions.driver import StoreError
from player_sessions.events import MAX_MS, BatchRefused, Event
from player_sessions.importer.input import (
    ImportStopped,
    Line,
    Position,
    State,
    batch_of,
    events_of,
    lines_of,
)
from player_sessions.settings import Settings
from player_sessions.store import Store, now_ms

_CHUNK = 10  # events written by one call to the store
_SAVE_SECONDS = 1.0
_SHOWN = 1000  # characters of a bad line that the rejects file keeps


class Progress:
    """What the command line shows; does nothing here."""

    def advance(self, events: int, position: float) -> None:
        """So many events more; `position` is the part of all input that has been read, 0-1."""


@dataclass
class Totals:
    """In events; a line that is no batch at all counts as one."""

    read: int = 0
    stored: int = 0
    discarded: int = 0
    rejected: Counter[str] = field(default_factory=Counter)

    def lines(self, seconds: float) -> list[str]:
        """The closing summary, which adds up: read = stored + discarded + rejected."""
        rejected = self.rejected.total()
        reasons = "".join(f"\n  {reason}: {n}" for reason, n in sorted(self.rejected.items()))
        return [
            f"read {self.read} = stored {self.stored} + discarded {self.discarded}"
            f" + rejected {rejected}{reasons}",
            f"{seconds:.1f} s, {self.read / max(seconds, 1e-9):.0f} events/s",
        ]


def newest(names: list[str], progress: Progress) -> int:
    """The latest time of all events that could be stored, in ms; raises ImportStopped."""
    found, count, position = -1, 0, Position(names)
    for name in names:
        for line in lines_of(name):
            try:
                events = events_of(line.text, MAX_MS, 0)
            except BatchRefused:
                continue
            found = max(found, *(event.at_ms for event in events))
            count += len(events)
            if line.number % 1000 == 0:
                progress.advance(count, position.part(name, line))
    if not count:
        raise ImportStopped("no event that could be stored was found, so nothing can be rebased")
    return found


class Importer:
    """One run over the files, from what `state` says to the end."""

    def __init__(
        self,
        settings: Settings,
        names: list[str],
        state: State,
        *,
        state_file: Path | None,
        rejects: Path,
        in_flight: int,
        patience: float,
        progress: Progress,
    ) -> None:
        self._settings = settings
        self._names = names
        self._state = state
        self._state_file = state_file
        self._rejects_path = rejects
        self._rejects: IO[bytes] | None = None
        self._in_flight = in_flight
        self._patience = patience
        self._progress = progress
        self._saved = time.monotonic()
        self.totals = Totals(state.read, state.stored, state.discarded, Counter(state.rejected))

    async def run(self) -> None:
        """Raises ImportStopped when Cassandra stays away for longer than the patience."""
        store = Store(self._settings)
        running = asyncio.create_task(store.run())
        try:
            await self._connected(store)
            for name in self._names:
                await self._file(store, name)
            self._save()
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await store.close(self._settings.deadline)
            if self._rejects is not None:
                self._rejects.close()

    async def _connected(self, store: Store) -> None:
        until = time.monotonic() + self._patience
        while store.reason is not None:
            if time.monotonic() > until:
                raise ImportStopped(f"Cassandra cannot be used: {store.reason}")
            await asyncio.sleep(0.05)

    async def _file(self, store: Store, name: str) -> None:
        position = Position(self._names)
        window: list[Line] = []
        for line in lines_of(name, self._state.lines.get(name, 0)):
            window.append(line)
            if len(window) >= self._in_flight * _CHUNK:
                await self._window(store, name, window)
                self._progress.advance(self.totals.read, position.part(name, line))
                window = []
        if window:
            await self._window(store, name, window)
            self._progress.advance(self.totals.read, position.part(name, window[-1]))

    async def _window(self, store: Store, name: str, window: list[Line]) -> None:
        """Write some lines, many batches at once; then all of them are accounted for."""
        latest = now_ms() + round(self._settings.future_tolerance * 1000)
        events: list[Event] = []
        for line in window:
            try:
                events += events_of(line.text, latest, self._state.shift_ms)
            except BatchRefused as error:
                self._reject(name, line, error)
        self.totals.read += len(events)
        chunks = (events[i : i + _CHUNK] for i in range(0, len(events), _CHUNK))
        results = await asyncio.gather(*(self._write(store, chunk) for chunk in chunks))
        self.totals.stored += sum(stored for stored, _ in results)
        self.totals.discarded += sum(discarded for _, discarded in results)
        self._state.lines[name] = window[-1].number
        if time.monotonic() - self._saved >= _SAVE_SECONDS:
            self._save()
        await asyncio.sleep(0)  # a signal may end us here

    async def _write(self, store: Store, events: list[Event]) -> tuple[int, int]:
        """Sends again for as long as the patience lasts, which is always safe."""
        until, pause = time.monotonic() + self._patience, 0.1
        while True:
            try:
                return await store.write(events)
            except StoreError as error:
                if time.monotonic() > until:
                    raise ImportStopped(f"Cassandra stayed away: {error}") from error
            await asyncio.sleep(pause)
            pause = min(5.0, pause * 2)

    def _reject(self, name: str, line: Line, error: BatchRefused) -> None:
        count = 1
        if error.errors:
            count = len(batch_of(line.text))
        self.totals.read += count
        self.totals.rejected[error.reason] += count
        if self._rejects is None:
            # A resumed run goes on behind what the state vouches for: no line stands there twice.
            self._rejects = self._rejects_path.open("r+b" if self._state.rejects_bytes else "wb")
            self._rejects.truncate(self._state.rejects_bytes)
            self._rejects.seek(0, os.SEEK_END)
        document = {
            "file": name,
            "line": line.number,
            "reason": error.reason,
            "detail": error.detail,
            "errors": [msgspec.to_builtins(e) for e in error.errors],
            "text": line.text[:_SHOWN].decode(errors="replace").rstrip("\n"),
        }
        self._rejects.write(json.dumps(document).encode() + b"\n")

    def _save(self) -> None:
        self._saved = time.monotonic()
        if self._rejects is not None:
            self._rejects.flush()
            os.fsync(self._rejects.fileno())
            self._state.rejects_bytes = self._rejects.tell()
        if self._state_file is not None:
            self._state.read = self.totals.read
            self._state.stored = self.totals.stored
            self._state.discarded = self.totals.discarded
            self._state.rejected = dict(self.totals.rejected)
            self._state.save(self._state_file)
