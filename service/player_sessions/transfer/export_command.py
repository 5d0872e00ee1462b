"""The command `export`: its options, its summary and exit code."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

import click

from player_sessions.settings import Settings
from player_sessions.telemetry import logs
from player_sessions.transfer.command import INTERRUPTED, STOPPED, end_at_signals, run_to_end
from player_sessions.transfer.exporter import Exporter, ExportState
from player_sessions.transfer.opening import TransferStopped, is_stream
from player_sessions.transfer.output import STDOUT, Output, refuse_unwritable
from player_sessions.transfer.progress import Shown
from player_sessions.transfer.state import read_saved, refuse_unusable


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of the command, as transfer/options.py describes them."""

    players: tuple[UUID, ...]
    resume: bool
    state_file: Path | None
    parallel: int
    patience: float


class _Job(NamedTuple):
    state: ExportState
    state_file: Path | None
    output: Output


def run(settings: Settings, name: str, options: Options) -> int:
    """Export to the file `name`, or to standard output; return the exit code."""
    logs.configure("ERROR", settings.log_format)
    begun = time.monotonic()
    end_at_signals()
    job = None
    try:
        job = _begin(settings, name, options)
        before = job.state.events
        _export(settings, options, job)
    except TransferStopped as error:
        return _stopped(str(error), job, STOPPED)
    except KeyboardInterrupt:
        return _stopped("interrupted", job, INTERRUPTED)
    if job.state_file is not None:
        job.state_file.unlink(missing_ok=True)
    seconds, events = time.monotonic() - begun, job.state.events
    rate = (events - before) / max(seconds, 1e-9)
    click.echo(f"exported {events} events\n{seconds:.1f} s, {rate:.0f} events/s", err=True)
    return 0


def _begin(settings: Settings, name: str, options: Options) -> _Job:
    """Refuse what cannot work before anything is read; raises TransferStopped."""
    path = _state_file(name, options)
    wanted = ExportState(settings.keyspace, list(dict.fromkeys(options.players)))
    if options.resume and path is not None:
        state = read_saved(path, ExportState)
        if (state.keyspace, state.players) != (wanted.keyspace, wanted.players):
            raise TransferStopped(f"{path} was begun with another keyspace or other players")
        return _Job(state, path, Output.resume(name, state.size))
    if path is None or not path.exists():
        refuse_unwritable(name)
    if path is not None:
        refuse_unusable(path, "export")
    job = _Job(wanted, path, Output.create(name))
    if path is not None:
        wanted.save(path)
    return job


def _state_file(name: str, options: Options) -> Path | None:
    """Return where the state is kept: nowhere for a stream; raises TransferStopped."""
    if not is_stream(name):
        return options.state_file or Path(name + ".export-state")
    if options.resume or options.state_file is not None:
        shown = "standard output" if name == STDOUT else f"{name} is a stream, which"
        raise TransferStopped(f"{shown} cannot be cut, so --resume and --state need a file instead")
    return None


def _export(settings: Settings, options: Options, job: _Job) -> None:
    """Run the export to its end."""
    try:
        with Shown("exporting") as progress:
            exporter = Exporter(
                settings,
                job.state,
                job.output,
                state_file=job.state_file,
                parallel=options.parallel,
                patience=options.patience,
                progress=progress,
            )
            run_to_end(exporter.run())
    finally:
        job.output.close()


def _stopped(why: str, job: _Job | None, code: int) -> int:
    click.echo(f"player-sessions: {why}", err=True)
    if job is not None and job.state_file is not None:
        click.echo("what is done is kept; run the same command with --resume to go on", err=True)
    elif job is not None:
        click.echo("the export is not complete; run the same command again for all of it", err=True)
    return code
