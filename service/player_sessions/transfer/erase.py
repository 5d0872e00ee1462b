"""The command `erase`: erases players by their ids, and goes on after an error of one of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import click

from player_sessions.rules.players import PLAYER_OF, InvalidPlayerId
from player_sessions.settings import Settings
from player_sessions.store.store import Store, StoreError
from player_sessions.telemetry import logs
from player_sessions.transfer.command import INTERRUPTED, STOPPED, end_at_signals, run_to_end
from player_sessions.transfer.opening import (
    BOM,
    STDIN,
    TransferStopped,
    opened,
    refuse_unreadable,
)
from player_sessions.transfer.patience import connected_store
from player_sessions.transfer.progress import Progress, Shown
from player_sessions.transfer.rebase import shown as shown_time

NOT_ALL = 3
_IN_FLIGHT = 32
_LONGEST_LINE = 1024
_IN_BETWEEN = "which also erases what a player did in between"
_AGAIN = f"run the command again for the players that failed, {_IN_BETWEEN}"
_AGAIN_FOR_ALL = f"run the same command again, {_IN_BETWEEN}"


def run(settings: Settings, players: Sequence[str], file: str | None, patience: float) -> int:
    """Erase the players of the arguments and of the file; return the exit code."""
    logs.configure("ERROR", settings.log_format)
    end_at_signals()
    eraser, ids, code = None, list(players), 0
    try:
        if file is not None:
            ids += _read_ids(file)
        eraser = Eraser(settings, patience)
        with Shown("erasing", "players") as shown:
            run_to_end(eraser.run(ids, shown))
    except TransferStopped as error:
        code = STOPPED
        click.echo(f"player-sessions: {error}", err=True)
    except KeyboardInterrupt:
        code = INTERRUPTED
        click.echo(f"player-sessions: interrupted: {_AGAIN_FOR_ALL}", err=True)
    not_all = 0 if eraser is None else report(eraser, len(ids))
    return code or not_all


def report(eraser: Eraser, players: int) -> int:
    """Print how many of the players are erased and which are not; return the exit code."""
    click.echo(eraser.summary(players))
    not_erased = [*eraser.refused, *eraser.failed]
    for player, reason in not_erased:
        click.echo(f"player-sessions: not erased: {player}: {reason}", err=True)
    if eraser.failed:
        click.echo(f"player-sessions: {_AGAIN}", err=True)
    return NOT_ALL if not_erased else 0


def _read_ids(name: str) -> list[str]:
    """Return the ids of a file or of standard input, one a line; raises TransferStopped.

    All of them are read before the first player is erased, so a file that is no list erases none.
    """
    refuse_unreadable(name)
    ids = []
    shown = "standard input" if name == STDIN else name
    with opened(name) as (text, _):
        for number, line in enumerate(iter(lambda: text.readline(_LONGEST_LINE), b""), 1):
            if len(line) >= _LONGEST_LINE:
                raise TransferStopped(f"{shown}: line {number} is too long: write one id a line")
            try:
                found = line.removeprefix(BOM if number == 1 else b"").decode().rstrip("\r\n")
            except UnicodeDecodeError:
                raise TransferStopped(f"{shown}: line {number} is not UTF-8") from None
            if found.strip():
                ids.append(found)
    return ids


class Eraser:
    """Erases players, some at a time, and retries each for as long as the patience lasts."""

    def __init__(self, settings: Settings, patience: float) -> None:
        self._settings = settings
        self._patience = patience
        self._player_of = PLAYER_OF[settings.player_ids]
        self._succeeded = time.monotonic()
        self._through: list[int] = []
        self.refused: list[tuple[str, str]] = []  # what is no player id, and why
        self.failed: list[tuple[str, str]] = []  # players who may be erased later, and what failed

    async def run(self, ids: Sequence[str], progress: Progress) -> None:
        """Erase all players, and tell `progress` how many are done; raises TransferStopped."""
        async with connected_store(self._settings, self._patience) as store:
            self._succeeded = time.monotonic()
            for begin in range(0, len(ids), _IN_FLIGHT):
                some = ids[begin : begin + _IN_FLIGHT]
                await asyncio.gather(*(self._erase(store, text) for text in some))
                done = begin + len(some)
                progress.advance(done, done / len(ids))

    def summary(self, players: int) -> str:
        """Return how many of so many players are erased, and up to when at least."""
        text = f"erased {len(self._through)} of {players} players"
        if not self._through:
            return text
        return f"{text}: all their events up to {shown_time(min(self._through))} are gone"

    async def _erase(self, store: Store, text: str) -> None:
        """Erase one player, or note why that failed.

        Where no player could be erased for as long as the patience lasts, each gets one attempt.
        """
        try:
            player = self._player_of(text)
        except InvalidPlayerId as error:
            self.refused.append((text, f"this id {error}"))
            return
        begun, pause = time.monotonic(), 0.1
        while True:
            try:
                self._through.append(await store.erase(player))
                self._succeeded = time.monotonic()
                return
            except StoreError as error:
                if time.monotonic() > min(begun, self._succeeded) + self._patience:
                    self.failed.append((text, str(error)))
                    return
            await asyncio.sleep(pause)
            pause = min(5.0, pause * 2)
