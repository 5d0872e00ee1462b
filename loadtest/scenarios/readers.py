"""Readers: almost all requests are reads of few, active players, some far down the pages."""

from __future__ import annotations

from typing import Any

from loadtest.harness import Scenario, install
from loadtest.users import GameServer, clock


class ReaderServer(GameServer):
    """Writes something to read before it begins."""

    def on_start(self) -> None:
        for _ in range(self.options.prepare):
            if batch := self.run_data.source.next(round(clock() * 1000)):
                self.pool.spawn(self._write, batch, clock()).join()


class Readers(Scenario):
    name = "readers"
    defaults = {
        "reads": 0.95, "deeper": 0.3, "players": 200, "session_seconds": 0.2,
    }  # fmt: skip

    def add_options(self, add: Any) -> None:
        add("--prepare", type=int, default=300, help="batches of a user beforehand (%(default)s)")


install(Readers())
