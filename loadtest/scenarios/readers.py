"""Readers: almost all requests read few, active players, some of them many pages deep.

Most reads are pages of sessions. The others ask whether a player is online, what became of one
session and, rarely, how many sessions began in each country.
"""

from __future__ import annotations

from collections import deque
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import gevent

from loadtest.harness import Scenario, install
from loadtest.play import Play, player_id
from loadtest.tally import READ
from loadtest.users import SESSIONS, GameServer, clock, problem

PLAYER = "/v1/players/{player_id}"
SESSION = "/v1/players/{player_id}/sessions/{session_id}"
STARTS = "/v1/countries/starts"
COUNTING = f"{STARTS} (still counting)"
_OPTIONS = {PLAYER: "presence", SESSION: "one_session", STARTS: "countries"}
_KEPT = 1000  # newest stored events of whose sessions one is asked for
_ABSENT = 0.1  # share of the questions for one session that are for a session nobody sent
_PERIODS = ("hours=1", "hours=24", "hours=24&by=hour")
_TRIES = 20  # most requests for starts per country until they are counted


class ReaderServer(GameServer):
    """A game server that writes something to read before it begins."""

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        self._tokens: deque[str] = deque(maxlen=_KEPT)
        weights = {route: getattr(self.options, name) for route, name in _OPTIONS.items()}
        self._weights = {**weights, SESSIONS: max(0.0, 1 - sum(weights.values()))}

    def on_start(self) -> None:
        for _ in range(self.options.prepare):
            if batch := self.run_data.source.next(round(clock() * 1000)):
                self.pool.spawn(self._write, batch, clock()).join()

    def stored(self, tokens: list[str]) -> None:
        self._tokens.extend(tokens)

    def read_route(self) -> str:
        return self.draw.choices([*self._weights], [*self._weights.values()])[0]

    def read(self, route: str, due: float) -> None:
        if route == STARTS:
            self._read_starts(due)
        elif route == SESSION:
            self._read_session(due)
        elif route == PLAYER:
            player = quote(self.run_data.source.reader(), safe="")
            self._get(PLAYER, PLAYER.format(player_id=player), due)
        else:
            super().read(route, due)

    def _read_session(self, due: float) -> None:
        """Ask for a session that is stored, or for one that must not be found."""
        play = self.run_data.source
        if isinstance(play, Play) and self._tokens and self.draw.random() >= _ABSENT:
            event = play.model.event(self.draw.choice(self._tokens), play.origin_ms)
            player, session, expected = player_id(event.player), event.session, 200
        else:
            player, session, expected = play.reader(), uuid4(), 404
        path = SESSION.format(player_id=quote(player, safe=""), session_id=session)
        self._get(SESSION, path, due, expected)

    def _read_starts(self, due: float) -> None:
        """Ask until the starts are counted; the latency is that of the whole question."""
        path, begun = f"{STARTS}?{self.draw.choice(_PERIODS)}", clock()
        for left in reversed(range(_TRIES)):
            with self.client.get(path, name=STARTS, catch_response=True) as answer:
                if not (left and _still_counting(answer)):
                    self._settle(answer, READ, due, begun, 0)
                    return
                answer.request_meta["name"] = COUNTING
                answer.success()
            gevent.sleep(float(answer.headers.get("retry-after") or 1))


def _still_counting(answer: Any) -> bool:
    return answer.status_code == 503 and problem(answer).endswith(":still-counting")


class Readers(Scenario):
    name = "readers"
    defaults = {
        "reads": 0.95, "deeper": 0.3, "players": 200, "session_seconds": 0.2,
    }  # fmt: skip

    def add_options(self, add: Any) -> None:
        add(
            "--prepare",
            type=int,
            default=300,
            help="batches that a user writes first (%(default)s)",
        )
        for flag, share, text in (
            ("--presence", 0.2, "share of reads that ask whether a player is online"),
            ("--one-session", 0.1, "share of reads that ask for one session"),
            ("--countries", 0.01, "share of reads that ask for starts per country"),
        ):
            add(flag, type=float, default=share, help=f"{text} (%(default)s)")

    def check(self, options: Any) -> None:
        shares = [getattr(options, name) for name in _OPTIONS.values()]
        if min(shares) < 0 or round(sum(shares), 9) > 1:
            raise ValueError(
                "--presence, --one-session and --countries are shares: at most 1 in all"
            )


install(Readers())
