"""Writes the lines of files into the store, and accounts for every event.

A line is one event or one batch (`{"events": […]}`, `{"rows": […]}` or a list). The rules of the
interface hold for each line: a line with a wrong event stores nothing and goes to the rejects file.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from player_sessions.rules.events import BatchRefused, Event
from player_sessions.rules.players import PLAYER_OF
from player_sessions.settings import Settings
from player_sessions.store.store import Store, now_ms
from player_sessions.transfer.input import (
    Line,
    Position,
    batch_of,
    events_in,
    lines_of,
    pretty_hint,
)
from player_sessions.transfer.patience import connected_store, retried
from player_sessions.transfer.progress import Progress
from player_sessions.transfer.rejects import Rejects
from player_sessions.transfer.state import State

_CHUNK = 10  # events written by one call to the store
_SAVE_SECONDS = 1.0
_SHOWN = 1000  # characters of a bad line that the rejects file keeps


@dataclass
class Totals:
    """Counts of events; a line that is not a batch at all counts as one."""

    read: int = 0
    stored: int = 0
    discarded: int = 0
    rejected: Counter[str] = field(default_factory=Counter)

    def lines(self, seconds: float) -> list[str]:
        """Return the summary, in which read = stored + discarded + rejected."""
        rejected = self.rejected.total()
        reasons = "".join(f"\n  {reason}: {n}" for reason, n in sorted(self.rejected.items()))
        return [
            f"read {self.read} = stored {self.stored} + discarded {self.discarded}"
            f" + rejected {rejected}{reasons}",
            f"{seconds:.1f} s, {self.read / max(seconds, 1e-9):.0f} events/s",
        ]


class Importer:
    """One run over the files, from where `state` says to the end."""

    def __init__(
        self,
        settings: Settings,
        names: list[str],
        state: State,
        *,
        state_file: Path | None,
        rejects: Rejects,
        in_flight: int,
        patience: float,
        progress: Progress,
    ) -> None:
        self._settings = settings
        self._player_of = PLAYER_OF[settings.player_ids]
        self._names = names
        self._state = state
        self._state_file = state_file
        self._rejects = rejects
        self._in_flight = in_flight
        self._patience = patience
        self._progress = progress
        self._saved = time.monotonic()
        self.hint = ""  # what to do about a file that is one document over many lines
        self.totals = Totals(state.read, state.stored, state.discarded, Counter(state.rejected))

    async def run(self) -> None:
        """Import everything; raises TransferStopped when Cassandra stays away too long."""
        async with connected_store(self._settings, self._patience) as store:
            for name in self._names:
                await self._file(store, name)
            self._save()

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
        """Write some lines, many batches at once, and account for all of them."""
        latest = now_ms() + round(self._settings.future_tolerance * 1000)
        events: list[Event] = []
        for line in window:
            try:
                events += events_in(line, latest, self._state.shift_ms, self._player_of)
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
        await asyncio.sleep(0)  # a signal ends the import here

    async def _write(self, store: Store, events: list[Event]) -> tuple[int, int]:
        """Write events, and retry for as long as the patience lasts, which is always safe."""
        return await retried(lambda: store.write(events), self._patience)

    def _reject(self, name: str, line: Line, error: BatchRefused) -> None:
        count = len(batch_of(line.text)) if error.errors else max(1, line.too_long)
        self.totals.read += count
        self.totals.rejected[error.reason.name] += count
        if not line.too_long:
            self.hint = self.hint or pretty_hint(line.text)
        document = {
            "file": name,
            "line": line.number,
            "reason": error.reason.name,
            "detail": error.detail,
            "errors": [msgspec.to_builtins(e) for e in error.errors],
            "text": line.text[:_SHOWN].decode(errors="replace").rstrip("\n"),
        }
        self._rejects.write(json.dumps(document).encode())

    def _save(self) -> None:
        self._saved = time.monotonic()
        self._state.rejects_bytes = self._rejects.sync()
        if self._state_file is not None:
            self._state.read = self.totals.read
            self._state.stored = self.totals.stored
            self._state.discarded = self.totals.discarded
            self._state.rejected = dict(self.totals.rejected)
            self._state.save(self._state_file)
