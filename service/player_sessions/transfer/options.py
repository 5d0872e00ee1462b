"""The options of the commands `import`, `export` and `erase`.

This module is cheap to import, unlike the work itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import click
import msgspec

from player_sessions.rules.events import to_ms
from player_sessions.rules.fields import Timestamp
from player_sessions.rules.players import InvalidPlayerId, player_uuid

EPILOG = (
    "Example: player-sessions import --rebase events.jsonl.gz; then, when it was"
    " interrupted: player-sessions import --rebase --resume events.jsonl.gz"
)
ERASE_EPILOG = (
    "Example: player-sessions erase 0a2d12a1a7e145de8bae44c0c6e06629; or, with one id a line:"
    " player-sessions erase --file players.txt"
)
EXPORT_EPILOG = (
    "Example: player-sessions export events.jsonl.zst; for one player: player-sessions export"
    " --player 0a2d12a1a7e145de8bae44c0c6e06629 player.jsonl"
)


def _read_time(_: click.Context, __: click.Parameter, value: str | None) -> int | None:
    """Return the time in milliseconds, by the rules for the time of an event."""
    try:
        return None if value is None else to_ms(msgspec.convert(value, Timestamp))
    except msgspec.ValidationError:
        raise click.BadParameter("must be a time such as 2016-12-02T05:36:16Z") from None


def _read_players(_: click.Context, __: click.Parameter, values: Sequence[str]) -> tuple[UUID, ...]:
    """Return the players as the store has them."""
    try:
        return tuple(map(player_uuid, values))
    except InvalidPlayerId as error:
        raise click.BadParameter(f"this id {error}") from None


def _not_stdin(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse the player "-", which would be erased where standard input was meant."""
    if "-" in values:
        raise click.UsageError("to read standard input, write --file -")
    return values


_PATIENCE = click.option(
    "--patience",
    type=click.FloatRange(0),
    default=120.0,
    show_default=True,
    help="How many seconds to retry while Cassandra is away.",
)
_OPTIONS = (
    click.argument("files", nargs=-1, metavar="[FILE]..."),
    click.option(
        "--rebase",
        is_flag=True,
        help="Shift the times of all events so that the newest is now. It stops where the newest"
        " lies more than a day after 99.9% of the events, as from a wrong clock, or where more than"
        " half of the events would be older than the retention.",
    ),
    click.option(
        "--rebase-to",
        metavar="TIME",
        callback=_read_time,
        help="Shift the times of all events so that TIME is now. Events that then lie too far in"
        " the future are rejected.",
    ),
    click.option(
        "--resume", is_flag=True, help="Go on where an interrupted import of FILE... stopped."
    ),
    click.option(
        "--state",
        "state_file",
        type=click.Path(path_type=Path),
        help="Where the state of the import is kept. Default: FILE.import-state.",
    ),
    click.option(
        "--rejects",
        type=click.Path(path_type=Path),
        default=Path("rejects.jsonl"),
        show_default=True,
        help="File for bad lines, each with its number and reason. Where it exists, the import"
        " writes rejects-2.jsonl, and so on.",
    ),
    click.option(
        "--in-flight",
        type=click.IntRange(1, 10_000),
        default=200,
        show_default=True,
        help="How many batches of 10 events to send at once.",
    ),
    _PATIENCE,
)
_EXPORT_OPTIONS = (
    click.argument("output", metavar="FILE"),
    click.option(
        "--player",
        "players",
        metavar="ID",
        multiple=True,
        callback=_read_players,
        help="Export only this player. Repeat the option for several players.",
    ),
    click.option(
        "--resume", is_flag=True, help="Go on where an interrupted export to FILE stopped."
    ),
    click.option(
        "--state",
        "state_file",
        type=click.Path(path_type=Path),
        help="Where the state of the export is kept. Default: FILE.export-state.",
    ),
    click.option(
        "--parallel",
        type=click.IntRange(1, 256),
        default=8,
        show_default=True,
        help="How many parts of the data to read at once.",
    ),
    _PATIENCE,
)


_ERASE_OPTIONS = (
    click.argument("players", nargs=-1, metavar="[PLAYER]...", callback=_not_stdin),
    click.option(
        "--file",
        metavar="FILE",
        help="Also erase the players of this file, one id a line; - is standard input.",
    ),
    _PATIENCE,
)


def import_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the argument and the options of `import` to a command."""
    return _with(_OPTIONS, function)


def export_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the argument and the options of `export` to a command."""
    return _with(_EXPORT_OPTIONS, function)


def erase_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the argument and the options of `erase` to a command."""
    return _with(_ERASE_OPTIONS, function)


def _with(
    options: Sequence[Callable[..., Callable[..., Any]]], function: Callable[..., Any]
) -> Callable[..., Any]:
    for option in reversed(options):
        function = option(function)
    return function
