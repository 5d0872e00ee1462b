"""Measure what the rows of an event cost Cassandra, with and without those that other answers need.

The same events, starts and ends in turn, are written in three forms: one row for each; the same
with the player's latest start; and all rows that the service writes, so also those of the starts of
an hour. The batches are made beforehand, as the service packs them, and go straight through the
driver, four at a time. The forms take turns in a new order in each round, so that the machine
disturbs all of them alike.

A measurement lasts from the first batch until everything is flushed to disk, and counts all
processor time of Cassandra. Only compaction is off: it would do the work of one measurement during
another one. The interval holds 95 % of the ratios that other rounds like these would give (a
bootstrap: rounds are drawn again, with repeats).
"""

from __future__ import annotations

import argparse
import itertools
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any
from uuid import uuid4

from cassandra import DriverException
from cassandra.concurrent import execute_concurrent
from cassandra.query import BatchStatement

from dev.cluster import Cluster, NodeFailed
from dev.game_events import now_ms
from dev.toolchain import MissingTool
from loadtest import command_line
from loadtest.bench import plain_rows, processes, store
from loadtest.bench.generator import cpu_seconds
from loadtest.command_line import count
from loadtest.progress import Progress
from player_sessions.rules.events import End, Event, Start, from_ms
from player_sessions.settings import Settings
from player_sessions.store.packing import packed
from player_sessions.store.rows import Inserts, RowsProtocol

KEYSPACE = "row_costs"
SIZES = (100, 16)  # events of a group commit: of a busy service, and of single events
_IN_FLIGHT = 4
_WARM_UP = 2  # rounds in which Java compiles its hot code
_ALONE = (
    "INSERT INTO {}.session_starts (player_id, started_at, session_id, country)"
    " VALUES (?, ?, ?, ?) USING TTL ? AND TIMESTAMP ?"
)
_DRAWS = 2000

Batch = Callable[[Sequence[Event], int], BatchStatement]


def forms(session: Any, keyspace: str) -> dict[str, Batch]:
    """Return how each form makes the group commit of some events at a time (ms)."""
    statements = plain_rows.prepare(session, keyspace)
    alone = session.prepare(_ALONE.format(keyspace))
    latest, whole = Inserts(statements, Settings(country_hours=0)), Inserts(statements, Settings())

    def only_events(events: Sequence[Event], now: int) -> BatchStatement:
        bound = []
        for event in events:
            name, values = plain_rows.rows(event, now)[0]
            if name == "start":
                bound.append(alone.bind((*values[:4], *values[5:])))
            else:
                bound.append(statements[name].bind(values))
        return whole.batch([packed(each) for each in bound], events[0].player_id.bytes)

    return {
        "one row for each event": only_events,
        "with the latest start": partial(plain_rows.packed_batch, latest),
        "all rows of the service": partial(plain_rows.packed_batch, whole),
    }


def measure(session: Any, cluster: Cluster, events: int, size: int, batch: Batch) -> float:
    """Write so many new events, `size` at once, and return Cassandra's processor time in µs each.

    The session has the protocol of packed rows.
    """
    now = now_ms()
    made = _events(events, now)
    some = iter(lambda: list(itertools.islice(made, size)), [])
    batches = [(batch(each, now), ()) for each in some]
    before = cpu_seconds(cluster.pid(1))
    execute_concurrent(session, batches, _IN_FLIGHT)  # raises the first error
    cluster.nodetool("flush", session.keyspace)
    return 1e6 * (cpu_seconds(cluster.pid(1)) - before) / events


def _events(number: int, now: int) -> Iterator[Event]:
    """Yield starts and ends in turn, each of a player of its own."""
    at = from_ms(now)
    for n in range(number):
        player, session = uuid4(), uuid4()
        yield End(player, session, at) if n % 2 else Start(player, session, at, "FI")


def table(found: dict[tuple[int, str], list[float]]) -> str:
    """Return the mean costs by size and form; each is also compared with the size's first form."""
    lines = [
        "| events at once | rows | Cassandra µs/event | times the first |",
        "|---:|---|---:|---:|",
    ]
    first: dict[int, list[float]] = {}
    for (size, form), costs in found.items():
        base = first.setdefault(size, costs)
        times, (low, high) = sum(costs) / sum(base), interval(costs, base)
        lines.append(
            f"| {size} | {form} | {fmean(costs):.1f} | {times:.2f} ({low:.2f}-{high:.2f}) |"
        )
    return "\n".join(lines) + "\n"


def interval(costs: Sequence[float], base: Sequence[float]) -> tuple[float, float]:
    """Return between what the ratio of two costs lies, with 95 % certainty; both by round."""
    rounds, ratios = list(zip(costs, base, strict=True)), []
    for _ in range(_DRAWS):
        drawn, of = zip(*random.choices(rounds, k=len(rounds)), strict=True)
        ratios.append(sum(drawn) / sum(of))
    ratios.sort()
    return ratios[int(0.025 * _DRAWS)], ratios[int(0.975 * _DRAWS)]


def parser() -> argparse.ArgumentParser:
    made = command_line.parser(
        "bench.row_costs", __doc__, "--rounds 4", "0 everything was measured"
    )
    made.add_argument(
        "--rounds", type=count, default=12, help="how often all is measured (%(default)s)"
    )
    made.add_argument(
        "--events", type=count, default=100_000, help="events of each measurement (%(default)s)"
    )
    return made


def _main(options: argparse.Namespace) -> int:
    with (
        tempfile.TemporaryDirectory(prefix="row-costs-") as name,
        Cluster(Path(name) / "node", relaxed=True) as cluster,
        store.opened(processes.variables(cluster, KEYSPACE)) as session,
        Progress(options.rounds + _WARM_UP) as progress,
    ):
        session.client_protocol_handler = RowsProtocol
        cluster.nodetool("disableautocompaction", KEYSPACE)
        found: dict[tuple[int, str], list[float]] = {}
        batches = forms(session, KEYSPACE)
        turns = [(size, form) for size in SIZES for form in batches]
        for number in range(-_WARM_UP, options.rounds):
            progress.step(f"round {number + 1}" if number >= 0 else "warming up")
            for size, form in random.sample(turns, len(turns)):
                cost = measure(session, cluster, options.events, size, batches[form])
                if number >= 0:
                    found.setdefault((size, form), []).append(cost)
        print(table({turn: found[turn] for turn in turns}), end="")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    errors = (
        processes.NotReady, NodeFailed, MissingTool, DriverException, subprocess.CalledProcessError,
    )  # fmt: skip
    return command_line.run("row_costs", lambda: _main(options), *errors)


if __name__ == "__main__":
    sys.exit(main())
