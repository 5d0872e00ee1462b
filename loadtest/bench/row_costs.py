"""Measure what the rows of an event cost Cassandra, with and without those that other answers need.

The same events, starts and ends in turn, are written in three forms: one row for each; the same
with the player's latest start; and all rows that the service writes, so also those of the starts of
an hour. The batches are made beforehand, as the service packs them, and go straight through the
driver, four at a time. The forms take turns in a new order in each round, and are compared round by
round, so that the machine disturbs all of them alike.

The processor time of Cassandra is counted without its compaction and its compilers, which work when
it suits them and for all forms together; "all threads" is the mean with them.
"""

from __future__ import annotations

import argparse
import itertools
import random
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

from cassandra import DriverException
from cassandra.concurrent import execute_concurrent
from cassandra.query import BatchStatement

from dev.cluster import Cluster, NodeFailed
from dev.game_events import now_ms
from dev.toolchain import MissingTool
from loadtest import command_line
from loadtest.bench import plain_rows, processes, store
from loadtest.command_line import count
from loadtest.progress import Progress
from player_sessions.rules.events import End, Event, Start, from_ms
from player_sessions.settings import Settings
from player_sessions.store.packing import packed
from player_sessions.store.rows import Inserts, RowsProtocol

KEYSPACE = "row_costs"
SIZES = (100, 16)  # events of a group commit: of a busy service, and of single events
_IN_FLIGHT = 4
_WARM_UP = 5  # rounds in which Java compiles its hot code
_ALONE = (
    "INSERT INTO {}.session_starts (player_id, started_at, session_id, country)"
    " VALUES (?, ?, ?, ?) USING TTL ? AND TIMESTAMP ?"
)
_BACKGROUND = ("Compaction", "Compiler")  # parts of the names of threads

Batch = Callable[[Sequence[Event], int], BatchStatement]


class Cost(NamedTuple):
    """Processor time of Cassandra in µs per event."""

    foreground: float
    all_threads: float


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


def measure(session: Any, cassandra: int, events: int, size: int, batch: Batch) -> Cost:
    """Write so many new events, `size` at once, by a session with the protocol of packed rows."""
    now = now_ms()
    made = _events(events, now)
    some = iter(lambda: list(itertools.islice(made, size)), [])
    batches = [(batch(each, now), ()) for each in some]
    before = _thread_seconds(cassandra)
    execute_concurrent(session, batches, _IN_FLIGHT)  # raises the first error
    used = {"foreground": 0.0, "all": 0.0}
    for thread, (name, seconds) in _thread_seconds(cassandra).items():
        spent = seconds - before.get(thread, (name, 0.0))[1]
        used["all"] += spent
        if not any(part in name for part in _BACKGROUND):
            used["foreground"] += spent
    return Cost(*(1e6 * seconds / events for seconds in used.values()))


def _events(number: int, now: int) -> Iterator[Event]:
    """Yield starts and ends in turn, each of a player of its own."""
    at = from_ms(now)
    for n in range(number):
        player, session = uuid4(), uuid4()
        yield End(player, session, at) if n % 2 else Start(player, session, at, "FI")


def _thread_seconds(pid: int) -> dict[str, tuple[str, float]]:
    """Return the name and the processor time of each thread of a process, by its number."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):  # it has just ended
            name, times = (task / "comm").read_text(), (task / "schedstat").read_text()
            found[task.name] = name, int(times.split()[0]) / 1e9
    return found


def table(found: dict[tuple[int, str], list[Cost]]) -> str:
    """Return the costs by size and form; each is also compared with the size's first form."""
    lines = [
        "| events at once | rows | Cassandra µs/event | times the first | all threads |",
        "|---:|---|---:|---:|---:|",
    ]
    first: dict[int, list[Cost]] = {}
    for (size, form), costs in found.items():
        base = first.setdefault(size, costs)
        own = statistics.median(cost.foreground for cost in costs)
        ratios = [a.foreground / b.foreground for a, b in zip(costs, base, strict=True)]
        quarters = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
        total = statistics.mean(cost.all_threads for cost in costs)
        lines.append(
            f"| {size} | {form} | {own:.1f} | {quarters[1]:.2f} ({quarters[0]:.2f}-"
            f"{quarters[2]:.2f}) | {total:.1f} |"
        )
    return "\n".join(lines) + "\n"


def parser() -> argparse.ArgumentParser:
    made = command_line.parser(
        "bench.row_costs", __doc__, "--rounds 20", "0 everything was measured"
    )
    made.add_argument(
        "--rounds", type=count, default=60, help="how often all is measured (%(default)s)"
    )
    made.add_argument(
        "--events", type=count, default=10_000, help="events of each measurement (%(default)s)"
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
        found: dict[tuple[int, str], list[Cost]] = {}
        batches = forms(session, KEYSPACE)
        turns = [(size, form) for size in SIZES for form in batches]
        for number in range(-_WARM_UP, options.rounds):
            progress.step(f"round {number + 1}" if number >= 0 else "warming up")
            for size, form in random.sample(turns, len(turns)):
                cost = measure(session, cluster.pid(1), options.events, size, batches[form])
                if number >= 0:
                    found.setdefault((size, form), []).append(cost)
        print(table({turn: found[turn] for turn in turns}), end="")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    errors = (processes.NotReady, NodeFailed, MissingTool, DriverException)
    return command_line.run("row_costs", lambda: _main(options), *errors)


if __name__ == "__main__":
    sys.exit(main())
