"""Measure the questions about one player and about countries, each beside a single-row query.

One request is under way at a time, and all questions about players of all sizes take turns, so that
the machine disturbs all of them alike. The single-row query is a SELECT by its whole key, straight
through the driver. HTTP alone is an answer of the service that asks nothing of Cassandra. Presence
and one session are compared with the query, and with both together. Then a number of starts is
stored in the last 24 hours and counted: until the first answer, and again.
"""

from __future__ import annotations

import argparse
import json
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from uuid import UUID, uuid4

from cassandra import DriverException
from cassandra.concurrent import execute_concurrent

from dev.cluster import Cluster, NodeFailed
from dev.game_events import now_ms
from dev.toolchain import MissingTool
from loadtest import command_line
from loadtest.bench import plain_rows, processes, store
from loadtest.bench.contenders import SERVICE
from loadtest.command_line import count
from loadtest.progress import Progress
from player_sessions.rules.countries import HOUR_MS
from player_sessions.rules.events import Start, from_ms
from player_sessions.settings import Settings
from player_sessions.store.rows import Inserts, RowsProtocol
from player_sessions.store.statements import CQL

KEYSPACE = "lookups"
SIZES = (20, 1000, 20_000)
_WARM_UP = 300
_COUNTRIES = ("FI", "SE", "NO", "DK", "DE", "FR", "US", "BR", "JP", "CN")
_HOURS = 24
_PER_BATCH = 50
_ROUNDS_OF_A_STEP = 100
_STARTS_OF_A_STEP = 100_000
_ROUNDS_OF_STARTS = 300

Ask = Callable[[], Any]
Name = TypeVar("Name")


class WrongAnswer(Exception):
    """The service did not answer as it should; the message says what it said."""


class Counted(NamedTuple):
    """How starts were counted: seconds and requests to the first answer, then ms of each answer."""

    starts: int
    seconds: float
    requests: int
    again: list[float]


class Client:
    """A connection to the service, which costs less than `http.client` would."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def get(self, path: str) -> tuple[int, bytes]:
        """Return status and body."""
        self._socket.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        head, end, body = b"", b"", b""
        while not end:
            head, end, body = (head + self._socket.recv(1 << 16)).partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(None, 1)[0])
        while len(body) < length:
            body += self._socket.recv(1 << 16)
        return int(head.split(None, 2)[1]), body

    def ok(self, path: str) -> bytes:
        """Return the body of a 200; raise WrongAnswer."""
        status, body = self.get(path)
        if status != 200:
            raise WrongAnswer(f"{path}: {status} {body.decode(errors='replace')}")
        return body


def measure_players(
    session: Any, client: Client, rounds: int, progress: Progress
) -> dict[int, dict[str, float]]:
    """Return the p50 in ms of each question, for players of each size."""
    row = session.prepare(CQL["start_of_session"].format(KEYSPACE))
    players = {size: store.write_player(session, size) for size in SIZES}
    asks = {
        (size, name): ask
        for size, player in players.items()
        for name, ask in _questions(session, row, client, player).items()
    }
    found: dict[int, dict[str, float]] = {size: {} for size in SIZES}
    for (size, name), latencies in _taking_turns(asks, rounds, progress).items():
        found[size][name] = statistics.median(latencies)
    return found


def _questions(session: Any, row: Any, client: Client, player: str) -> dict[str, Ask]:
    """Return the questions about a player and their newest session."""
    page = json.loads(client.ok(f"/v1/players/{player}/sessions?limit=1"))
    one = page["sessions"][0]["session_id"]
    key = UUID(player), UUID(one)
    return {
        "single-row query": lambda: session.execute(row, key).one(),
        "HTTP alone": lambda: client.ok("/health/live"),
        "presence": lambda: client.ok(f"/v1/players/{player}"),
        "one session": lambda: client.ok(f"/v1/players/{player}/sessions/{one}"),
    }


def _taking_turns(
    asks: Mapping[Name, Ask], rounds: int, progress: Progress
) -> dict[Name, list[float]]:
    """Return the latencies in ms of each question, after a warm-up."""
    latencies: dict[Name, list[float]] = {name: [] for name in asks}
    for number in range(_WARM_UP + rounds):
        if number % _ROUNDS_OF_A_STEP == 0:
            progress.step(f"asking, round {number - _WARM_UP}")
        for name, ask in asks.items():
            begun = time.perf_counter()
            answer = ask()
            if answer is None:
                raise WrongAnswer(f"{name}: no row")
            if number >= _WARM_UP:
                latencies[name].append(1000 * (time.perf_counter() - begun))
    return latencies


def store_starts(session: Any, starts: int, progress: Progress) -> None:
    """Store so many starts of the last 24 hours, in the group commits of a busy service."""
    inserts, now = Inserts(plain_rows.prepare(session, KEYSPACE), Settings()), now_ms()
    oldest = now - now % HOUR_MS - (_HOURS - 1) * HOUR_MS

    def batches() -> Any:
        for first in range(0, starts, _PER_BATCH):
            if first % _STARTS_OF_A_STEP == 0:
                progress.step(f"storing {starts:,} starts")
            some = []
            for number in range(first, min(first + _PER_BATCH, starts)):
                at = oldest + (now - oldest) * number // starts
                country = _COUNTRIES[number % len(_COUNTRIES)]
                some.append(Start(uuid4(), uuid4(), from_ms(at), country))
            yield plain_rows.packed_batch(inserts, some, now), ()

    plain, session.client_protocol_handler = session.client_protocol_handler, RowsProtocol
    try:
        for done, _ in execute_concurrent(session, batches(), 8, results_generator=True):
            if not done:
                raise WrongAnswer("starts could not be stored")
    finally:
        session.client_protocol_handler = plain


def measure_starts(client: Client, starts: int, rounds: int, progress: Progress) -> Counted:
    """Count the starts of 24 hours until there is an answer, and then again and again."""
    path, begun, requests = f"/v1/countries/starts?hours={_HOURS}", time.monotonic(), 1
    while (answer := client.get(path))[0] == 503:
        requests += 1
    seconds, total = time.monotonic() - begun, json.loads(client.ok(path))["total"]
    if answer[0] != 200 or total < starts:
        raise WrongAnswer(f"{path}: {answer[0]}, {total} of {starts} starts")
    latencies = _taking_turns({"starts": lambda: client.ok(path)}, rounds, progress)
    return Counted(starts, seconds, requests, latencies["starts"])


def tables(players: dict[int, dict[str, float]], counted: Counted | None) -> str:
    """Return what was measured as tables."""
    lines = [
        "| sessions | query, p50 ms | HTTP alone | presence (times query; both) | one session |",
        "|---:|---:|---:|---:|---:|",
    ]
    for size, p50s in players.items():
        row, alone, *lookups = p50s.values()
        shown = (f"{p50:.2f} ({p50 / row:.2f}; {p50 / (row + alone):.2f})" for p50 in lookups)
        lines.append(f"| {size:,} | {row:.2f} | {alone:.2f} | {' | '.join(shown)} |")
    if counted is not None:
        p50, p99 = (statistics.quantiles(counted.again, n=100)[at] for at in (49, 98))
        lines += [
            "",
            "| starts in 24 hours | first answer, s | requests until then | then p50 ms | p99 ms |",
            "|---:|---:|---:|---:|---:|",
            f"| {counted.starts:,} | {counted.seconds:.1f} | {counted.requests} | {p50:.1f}"
            f" | {p99:.1f} |",
        ]
    return "\n".join(lines) + "\n"


def parser() -> argparse.ArgumentParser:
    made = command_line.parser(
        "bench.lookups", __doc__, "--starts 100000", "0 everything was measured"
    )
    made.add_argument(
        "--rounds", type=count, default=1000, help="requests of each kind that count (%(default)s)"
    )
    made.add_argument(
        "--starts", type=int, default=1_000_000, help="starts to count, or 0 (%(default)s)"
    )
    return made


def _main(options: argparse.Namespace) -> int:
    rounds, starts, again = options.rounds, options.starts, min(options.rounds, _ROUNDS_OF_STARTS)
    steps = _steps(_WARM_UP + rounds, _ROUNDS_OF_A_STEP)
    if starts:
        steps += _steps(starts, _STARTS_OF_A_STEP) + _steps(_WARM_UP + again, _ROUNDS_OF_A_STEP)
    with (
        tempfile.TemporaryDirectory(prefix="lookups-") as name,
        Cluster(Path(name) / "node", relaxed=True) as cluster,
        ExitStack() as stack,
        Progress(steps) as progress,
    ):
        environ = processes.variables(cluster, KEYSPACE)
        session = stack.enter_context(store.opened(environ))
        service = stack.enter_context(processes.running(SERVICE, environ, Path(name)))
        client = Client(service.port)
        players, counted = measure_players(session, client, rounds, progress), None
        if starts:
            store_starts(session, starts, progress)
            counted = measure_starts(client, starts, again, progress)
        print(tables(players, counted), end="")
    return 0


def _steps(work: int, of_a_step: int) -> int:
    return -(-work // of_a_step)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    errors = (processes.NotReady, WrongAnswer, NodeFailed, MissingTool, DriverException)
    return command_line.run("lookups", lambda: _main(options), *errors)


if __name__ == "__main__":
    sys.exit(main())
