"""The import on a terminal: options to a run, its progress, its summary and exit code."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path
from typing import Any

import click
import uvloop
from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from player_sessions.importer import Importer, Progress, newest
from player_sessions.importer.input import STDIN, ImportStopped, State, fingerprint, load_state
from player_sessions.settings import Settings
from player_sessions.store import now_ms
from player_sessions.telemetry import logs

REJECTED = 3
INTERRUPTED = 130
_LINE_SECONDS = 5.0


class _Shown(Progress):
    """A bar on a terminal, else a line now and then."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._console = Console(stderr=True)
        self._begun = self._said = time.monotonic()
        self._first: int | None = None
        self._bar = Bar(
            TextColumn(title),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[events]} events, {task.fields[rate]}/s, left"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task(title, total=1.0, events=0, rate=0)

    def __enter__(self) -> _Shown:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def advance(self, events: int, position: float) -> None:
        now = time.monotonic()
        if self._first is None:  # a resumed import has some already
            self._first = events
        rate = round((events - self._first) / max(now - self._begun, 1e-9))
        # Without a known size (standard input) the bar only moves.
        fields: dict[str, Any] = {
            "events": events,
            "rate": rate,
            "total": 1.0 if position else None,
        }
        self._bar.update(self._task, completed=position, **fields)
        if not self._console.is_terminal and now - self._said >= _LINE_SECONDS:
            self._said = now
            click.echo(f"{self._title}: {events} events, {rate}/s, {position:.0%}", err=True)


def run(
    settings: Settings,
    names: list[str],
    *,
    rebase: bool,
    resume: bool,
    state_file: Path | None,
    rejects: Path,
    in_flight: int,
    patience: float,
) -> int:
    """The exit code."""
    logs.configure("ERROR", settings.log_format)
    names = names or [STDIN]
    begun = time.monotonic()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        path, state = _begin(names, state_file, rebase=rebase, resume=resume)
        with _Shown("importing") as progress:
            importer = Importer(
                settings,
                names,
                state,
                state_file=path,
                rejects=rejects,
                in_flight=in_flight,
                patience=patience,
                progress=progress,
            )
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(importer.run())
    except ImportStopped as error:
        return _stopped(str(error), names, 1)
    except KeyboardInterrupt:
        return _stopped("interrupted", names, INTERRUPTED)
    click.echo("\n".join(importer.totals.lines(time.monotonic() - begun)))
    if path is not None:
        path.unlink(missing_ok=True)
    if importer.totals.rejected:
        click.echo(f"the rejected lines are in {rejects}", err=True)
        return REJECTED
    return 0


def _begin(
    names: list[str], state_file: Path | None, *, rebase: bool, resume: bool
) -> tuple[Path | None, State]:
    """Where the state is kept, and what the import begins with; raises ImportStopped."""
    if STDIN in names:
        if rebase or resume or len(names) > 1:
            raise ImportStopped("standard input can be read once only: give a file instead")
        return None, State(files={})
    path = state_file or Path(names[0] + ".import-state")
    if resume:
        return path, load_state(path, names, rebase=rebase)
    if path.exists():
        raise ImportStopped(f"{path} is of an interrupted import: add --resume, or remove it")
    try:
        state = State(files={name: fingerprint(name) for name in names}, rebase=rebase)
    except OSError as error:
        raise ImportStopped(f"cannot read {error.filename}: {error.strerror}") from error
    if rebase:
        with _Shown("looking for the newest event") as progress:
            state.shift_ms = now_ms() - newest(names, progress)
    state.save(path)
    return path, state


def _stopped(why: str, names: list[str], code: int) -> int:
    click.echo(f"player-sessions: {why}", err=True)
    if STDIN not in names and Path(names[0] + ".import-state").exists() and "--resume" not in why:
        click.echo("what is done is kept: the same command with --resume goes on", err=True)
    return code
