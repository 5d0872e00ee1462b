"""Shows how far a transfer is: a bar on a terminal, and elsewhere a line every few seconds."""

from __future__ import annotations

import time
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

_LINE_SECONDS = 5.0


class Progress:
    """Gets told how far a transfer is. This one shows nothing."""

    def advance(self, done: int, position: float) -> None:
        """Show that `done` events or players are done, and `position` (0-1) of the whole."""


class Shown(Progress):
    """Shows the progress on standard error; `unit` says of what."""

    def __init__(self, title: str, unit: str = "events") -> None:
        self._unit = unit
        self._title = title
        self._console = Console(stderr=True)
        self._begun = self._said = time.monotonic()
        self._first: int | None = None
        self._bar = Bar(
            TextColumn(title),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn(f"{{task.fields[done]}} {unit}, {{task.fields[rate]}}/s, left"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task(title, total=1.0, done=0, rate=0)

    def __enter__(self) -> Shown:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def advance(self, done: int, position: float) -> None:
        now = time.monotonic()
        if self._first is None:  # a resumed transfer begins with some
            self._first = done
        rate = round((done - self._first) / max(now - self._begun, 1e-9))
        # The size of standard input is not known, so the bar only moves.
        fields: dict[str, Any] = {
            "done": done,
            "rate": rate,
            "total": 1.0 if position else None,
        }
        self._bar.update(self._task, completed=position, **fields)
        if not self._console.is_terminal and now - self._said >= _LINE_SECONDS:
            self._said = now
            click.echo(f"{self._title}: {done} {self._unit}, {rate}/s, {position:.0%}", err=True)
