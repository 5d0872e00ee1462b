"""Make data in the original data set's form: JSON Lines, one event per line, shuffled.

Players are 32 hexadecimal digits, times have whole seconds and no offset, ends have no country.
The same options make the same data, except for times that are relative to now.
"""

from __future__ import annotations

import argparse
import bz2
import gzip
import json
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import IO, Any
from uuid import UUID

from loadtest.play import country, session_seconds, zipf_rank

_MEDIAN_SECONDS, _SIGMA = 660.0, 1.0


def events(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the start and end of every session, in the order of the file."""
    draw = random.Random(options.seed)
    newest = datetime.fromisoformat(options.until).replace(tzinfo=None)
    players = [UUID(int=draw.getrandbits(128), version=4).hex for _ in range(options.players)]
    made: list[dict[str, Any]] = []
    for _ in range(options.sessions):
        common = {
            "player_id": players[zipf_rank(draw.random(), len(players), options.zipf)],
            "session_id": str(UUID(int=draw.getrandbits(128), version=4)),
        }
        ended = newest - timedelta(seconds=draw.randrange(options.days * 86_400))
        started = ended - timedelta(
            seconds=round(session_seconds(draw.random(), _MEDIAN_SECONDS, _SIGMA))
        )
        made.append(
            {
                "event": "start",
                "country": country(draw.random()),
                **common,
                "ts": started.isoformat(),
            }
        )
        if draw.random() >= options.unfinished:
            made.append({"event": "end", **common, "ts": ended.isoformat()})
    made += draw.choices(made, k=round(len(made) * options.duplicates))
    if options.sorted:
        made.sort(key=lambda event: str(event["ts"]))
    else:
        draw.shuffle(made)
    return made


def lines(made: list[dict[str, Any]], batch: int) -> Iterator[bytes]:
    """Yield one event per line, or with `batch` > 1 that many as `{"rows": […]}`."""
    if batch == 1:
        yield from (json.dumps(event).encode() + b"\n" for event in made)
        return
    rest = iter(made)
    while rows := list(islice(rest, batch)):
        yield json.dumps({"rows": rows}).encode() + b"\n"


@contextmanager
def opened(name: str) -> Iterator[IO[bytes]]:
    if name == "-":
        yield sys.stdout.buffer
    elif name.endswith(".gz"):
        # Leave the time out of gzip's header, so that the same options make the same bytes.
        with gzip.GzipFile(name, "wb", mtime=0) as file:
            yield file  # type: ignore[misc]
    elif name.endswith(".bz2"):
        with bz2.open(name, "wb") as file:
            yield file
    else:
        with Path(name).open("wb") as file:
            yield file


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        description=__doc__,
        epilog="Example: python -m loadtest.dataset --sessions 100000 -o events.jsonl.gz",
    )
    now = datetime.now(UTC).replace(tzinfo=None, microsecond=0).isoformat()
    add = made.add_argument
    add("--sessions", type=int, default=10_000, help="number of sessions (%(default)s)")
    add("--players", type=int, default=1000, help="number of players (%(default)s)")
    add(
        "--zipf",
        type=float,
        default=0.8,
        help="exponent of how unequally players play (%(default)s)",
    )
    add("--days", type=int, default=360, help="how many days back they reach (%(default)s)")
    add("--until", default=now, help="time of the newest end, ISO 8601 (now)")
    add("--duplicates", type=float, default=0.0, help="share of events sent twice (%(default)s)")
    add(
        "--unfinished",
        type=float,
        default=0.02,
        help="share of sessions without an end (%(default)s)",
    )
    add("--batch", type=int, default=1, choices=range(1, 11), help="events per line (%(default)s)")
    add("--sorted", action="store_true", help="sort by time instead of shuffling")
    add("--seed", type=int, default=1, help="another seed makes other data (%(default)s)")
    add("-o", "--output", default="-", help="a file, also .gz or .bz2 (standard output)")
    return made


def main() -> None:
    options = parser().parse_args()
    with opened(options.output) as file:
        file.writelines(lines(events(options), options.batch))


if __name__ == "__main__":
    main()
