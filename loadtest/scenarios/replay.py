"""Replay: `replay FILE` sends a file in the original data set's form, each event once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from locust import LoadTestShape

from loadtest import replay_file
from loadtest.harness import Options, Scenario, install
from loadtest.journal import Header
from loadtest.users import GameServer, Source, clock


class ReplayServer(GameServer):
    """The default game server."""


class Replay(Scenario):
    name = "replay"
    defaults = {"reads": 0.0, "warm_up": 0.0}

    def add_options(self, add: Any) -> None:
        add("--file", required=True, help="file of JSON Lines, also .gz or .bz2")
        add("--rebase", action="store_true", help="shift all events so that the newest is now")

    def check(self, options: Options) -> None:
        path = Path(options.file).absolute()
        options.file = str(path)
        options.fingerprint = replay_file.fingerprint(path)
        options.shift_ms = 0
        if options.rebase:
            options.shift_ms = round(clock() * 1000) - replay_file.newest_ms(path)

    def source(self, options: Options, seed: str, process: int) -> tuple[Source, Header]:
        made = replay_file.Replay(
            Path(options.file), options.shift_ms, process, options.processes_total
        )
        return made, Header(
            seed=seed,
            origin_ms=options.shift_ms,
            file=options.file,
            fingerprint=options.fingerprint,
        )


class UntilTheEnd(LoadTestShape):
    """Ends when every user has reached the end of the file."""

    use_common_options = True
    _begun = False

    def tick(self) -> tuple[int, float] | None:
        assert self.runner is not None
        self._begun = self._begun or self.runner.user_count > 0
        if self._begun and self.runner.user_count == 0:
            return None
        return HARNESS.options.num_users or 1, 1000.0


HARNESS = install(Replay())
