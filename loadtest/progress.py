"""Show what the run is doing: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import Progress as Bar
from rich.progress import TaskID, TimeRemainingColumn


class Progress:
    def __init__(self, steps: int) -> None:
        console = Console(file=sys.stderr)
        self._steps = steps
        self._done = 0
        self._bar: Bar | None = None
        if console.is_terminal:
            self._bar = Bar(*Bar.get_default_columns()[:-1], TimeRemainingColumn(), console=console)
            self._task: TaskID = self._bar.add_task("", total=steps)

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar:
            self._bar.stop()

    def step(self, text: str) -> None:
        """Say that a step begins."""
        self._done += 1
        if self._bar:
            self._bar.update(self._task, description=text, completed=self._done)
        else:
            print(f"[{self._done}/{self._steps}] {text}", file=sys.stderr, flush=True)
