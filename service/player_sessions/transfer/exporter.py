"""Writes the events of the store into a file, as lines that the import reads."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import msgspec

from player_sessions.rules.events import Event, Start
from player_sessions.settings import Settings
from player_sessions.store.scan import (
    Page,
    Part,
    PositionRefused,
    Scan,
    parts_of_all,
    parts_of_players,
)
from player_sessions.store.store import now_ms
from player_sessions.transfer.opening import TransferStopped
from player_sessions.transfer.output import Output
from player_sessions.transfer.patience import connected, retried
from player_sessions.transfer.progress import Progress
from player_sessions.transfer.state import Saved

RANGES = 256  # of tokens; the progress counts the finished ones
_SAVE_SECONDS = 1.0


class ExportState(Saved):
    """How far an export is: the file's first `size` bytes hold everything before `positions`."""

    keyspace: str
    players: list[UUID]  # none means all
    ranges: int = RANGES
    begun: int = 0  # how many parts have been begun
    # of the begun parts that are not finished
    positions: dict[int, bytes | None] = msgspec.field(default_factory=dict)
    events: int = 0
    size: int = 0

    def parts(self) -> list[Part]:
        """Return all parts of the export, in their order."""
        return parts_of_players(self.players) if self.players else parts_of_all(self.ranges)


def line(event: Event) -> str:
    """Return an event as the import reads it; the time comes first, so that lines can be sorted."""
    country = f',"country":"{event.country}"' if isinstance(event, Start) else ""
    return (
        f'{{"ts":"{event.ts.isoformat(timespec="milliseconds")}Z","event":"{event.kind}"'
        f',"player_id":"{event.player_id.hex}","session_id":"{event.session_id}"{country}}}\n'
    )


class Exporter:
    """One run over the store, from where `state` says to the end."""

    def __init__(
        self,
        settings: Settings,
        state: ExportState,
        output: Output,
        *,
        state_file: Path | None,
        parallel: int,
        patience: float,
        progress: Progress,
    ) -> None:
        self._settings = settings
        self._state = state
        self._output = output
        self._state_file = state_file
        self._parallel = parallel
        self._patience = patience
        self._progress = progress
        self._parts = state.parts()
        self._saved = time.monotonic()
        self._in_step = False

    async def run(self) -> None:
        """Export everything; raises TransferStopped when Cassandra stays away too long."""
        scan = Scan(self._settings)
        tasks = [asyncio.create_task(scan.run())]
        try:
            await connected(scan, self._patience)
            left = self._left()
            workers = [asyncio.create_task(self._work(scan, left)) for _ in range(self._parallel)]
            tasks += workers
            await asyncio.gather(*workers)
            self._output.finish()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await scan.close()

    def _left(self) -> Iterator[int]:
        """Yield the parts that are not finished; a part counts as begun once it was yielded."""
        yield from sorted(self._state.positions)
        while self._state.begun < len(self._parts):
            number = self._state.begun
            self._state.begun += 1
            self._state.positions[number] = None
            yield number

    async def _work(self, scan: Scan, left: Iterator[int]) -> None:
        """Export one part after the other, while other workers export others."""
        for number in left:
            while number in self._state.positions:
                self._keep(number, await self._page(scan, number))
                await asyncio.sleep(0)  # a signal ends the export here

    async def _page(self, scan: Scan, number: int) -> Page:
        part, position = self._parts[number], self._state.positions[number]
        try:
            return await retried(lambda: scan.page(part, position, now_ms()), self._patience)
        except PositionRefused as error:
            raise TransferStopped(
                f"Cassandra cannot go on from where this export stopped ({error}): remove the"
                " output and its state file, and start without --resume"
            ) from error

    def _keep(self, number: int, page: Page) -> None:
        """Write a page and note its position in one step, so that every saved state is exact.

        When an error breaks off the step, the file may hold lines that fit no position.
        The other workers then write and save nothing more.
        """
        if self._in_step:
            raise asyncio.CancelledError
        self._in_step = True
        self._output.write("".join(map(line, page.events)).encode())
        self._state.events += len(page.events)
        if page.next is None:
            del self._state.positions[number]
        else:
            self._state.positions[number] = page.next
        finished = self._state.begun - len(self._state.positions)
        self._progress.advance(self._state.events, finished / len(self._parts))
        if time.monotonic() - self._saved >= _SAVE_SECONDS:
            self.save()
        self._in_step = False

    def save(self) -> None:
        """Make what is done durable, so that the export can go on from here."""
        self._state.size = self._output.checkpoint()
        if self._state_file is not None:
            self._state.save(self._state_file)
        self._saved = time.monotonic()
