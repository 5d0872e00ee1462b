"""The command `import`: its options, its summary and exit code."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import click
import uvloop

from player_sessions.rules.players import PLAYER_OF
from player_sessions.settings import Settings, format_duration
from player_sessions.store.store import now_ms
from player_sessions.telemetry import logs
from player_sessions.transfer.importer import Importer
from player_sessions.transfer.opening import STDIN, TransferStopped, is_stream, refuse_unreadable
from player_sessions.transfer.progress import Shown
from player_sessions.transfer.rebase import newest
from player_sessions.transfer.rejects import Rejects
from player_sessions.transfer.state import State, fingerprints, load_state, refuse_unusable

T = TypeVar("T")

STOPPED = 1
REJECTED = 3
DISCARDED = 4
INTERRUPTED = 130


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of the command, as transfer/options.py describes them."""

    rebase: bool
    rebase_to: int | None
    resume: bool
    state_file: Path | None
    rejects: Path
    in_flight: int
    patience: float


class _Job(NamedTuple):
    state: State
    state_file: Path | None
    rejects: Rejects


def run(settings: Settings, names: list[str], options: Options) -> int:
    """Import the files, or standard input when there are none; return the exit code."""
    logs.configure("ERROR", settings.log_format)
    names = names or [STDIN]
    begun = time.monotonic()
    end_at_signals()
    job = None
    try:
        job = _begin(names, options, settings)
        importer = _imported(settings, names, options, job)
    except TransferStopped as error:
        return _stopped(str(error), job, STOPPED)
    except OSError as error:
        return _stopped(f"cannot go on: {error}", job, STOPPED)
    except KeyboardInterrupt:
        return _stopped("interrupted", job, INTERRUPTED)
    click.echo("\n".join(importer.totals.lines(time.monotonic() - begun)))
    if job.state_file is not None:
        job.state_file.unlink(missing_ok=True)
    return _finished(settings, importer, job)


def end_at_signals() -> None:
    """Raise KeyboardInterrupt on Ctrl-C and SIGTERM, wherever the command is."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    _at_signals(interrupt)


def run_to_end(work: Coroutine[Any, Any, T]) -> T:
    """Return what `work` returns; Ctrl-C and SIGTERM cancel it and raise KeyboardInterrupt.

    uvloop swallows what is raised while it reads a connection, so a signal raises nothing there. It
    does while `work` itself runs, which may wait for a silent pipe, as asyncio's handler would.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        loop = runner.get_loop()
        task = loop.create_task(work)

        def interrupt(*_: object) -> None:
            if asyncio.current_task(loop) is task:
                raise KeyboardInterrupt
            task.cancel()

        _at_signals(interrupt)
        try:
            return loop.run_until_complete(task)
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None
        finally:
            end_at_signals()


def _at_signals(handler: Callable[..., None]) -> None:
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, handler)


def _begin(names: list[str], options: Options, settings: Settings) -> _Job:
    """Refuse what cannot work before anything is stored; raises TransferStopped."""
    path = _state_file(names, options)
    rebase = options.rebase or options.rebase_to is not None
    if options.resume and path is not None:
        state = load_state(path, names, rebase=rebase, rebase_to=options.rebase_to)
        kept = Path(state.rejects) if state.rejects else options.rejects
        job = _Job(state, path, Rejects.resume(kept, state.rejects_bytes))
        state.rejects = str(job.rejects.path)
        return job
    for name in names:
        refuse_unreadable(name)
    if path is not None:
        refuse_unusable(path)
    state = State(
        files={} if path is None else fingerprints(names),
        rebase=rebase,
        rebase_to=options.rebase_to,
    )
    job = _Job(state, path, Rejects.create(options.rejects))
    state.rejects = str(job.rejects.path)
    try:
        if rebase:
            state.shift_ms = now_ms() - _time_to_rebase(names, options, settings)
        if path is not None:
            state.save(path)
    except BaseException:
        job.rejects.close()
        raise
    return job


def _state_file(names: list[str], options: Options) -> Path | None:
    """Return where the state is kept: nowhere for a stream; raises TransferStopped."""
    stream = next((name for name in names if is_stream(name)), None)
    if stream is None:
        return options.state_file or Path(names[0] + ".import-state")
    searched = options.rebase and options.rebase_to is None
    if searched or options.resume or options.state_file is not None:
        shown = "standard input" if stream == STDIN else f"{stream} is a stream, which"
        raise TransferStopped(
            f"{shown} can be read only once, so --resume, --state and --rebase without"
            " --rebase-to need a file instead"
        )
    return None


def _time_to_rebase(names: list[str], options: Options, settings: Settings) -> int:
    if options.rebase_to is not None:
        return options.rebase_to
    with Shown("looking for the newest event") as progress:
        player_of = PLAYER_OF[settings.player_ids]
        return newest(names, progress, settings.retention_ms, player_of)


def _imported(settings: Settings, names: list[str], options: Options, job: _Job) -> Importer:
    """Run the import to its end."""
    try:
        with Shown("importing") as progress:
            importer = Importer(
                settings,
                names,
                job.state,
                state_file=job.state_file,
                rejects=job.rejects,
                in_flight=options.in_flight,
                patience=options.patience,
                progress=progress,
            )
            run_to_end(importer.run())
            return importer
    finally:
        job.rejects.close()


def _finished(settings: Settings, importer: Importer, job: _Job) -> int:
    """Say what was moved, discarded and rejected; return the exit code."""
    totals, shift = importer.totals, timedelta(seconds=abs(job.state.shift_ms) // 1000)
    if job.state.rebase:
        click.echo(f"all times were moved {shift} {'back' if job.state.shift_ms < 0 else 'on'}")
    if totals.discarded:
        retention = format_duration(settings.retention)
        click.echo(f"what was discarded is older than the retention of {retention}", err=True)
    if totals.rejected:
        click.echo(f"the rejected lines are in {job.rejects.path}", err=True)
        if importer.hint:
            click.echo(importer.hint, err=True)
        return REJECTED
    return DISCARDED if totals.discarded else 0


def _stopped(why: str, job: _Job | None, code: int) -> int:
    click.echo(f"player-sessions: {why}", err=True)
    if job is not None and job.state_file is not None and job.state_file.exists():
        click.echo("what is done is kept; run the same command with --resume to go on", err=True)
    elif job is not None:
        click.echo("what is done is kept; to import all of it again does no harm", err=True)
    return code
