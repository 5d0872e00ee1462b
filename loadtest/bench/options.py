"""The options of the bench."""

from __future__ import annotations

import argparse
from pathlib import Path

from loadtest import command_line
from loadtest.bench import cores
from loadtest.bench.contenders import CONTENDERS
from loadtest.bench.run import BATCHES
from loadtest.command_line import count, positive


def _sizes(text: str) -> list[int]:
    sizes = sorted({int(part) for part in text.split(",") if part})
    if sizes and sizes[0] < 1:
        raise argparse.ArgumentTypeError("must be numbers above 0, such as 20,1000, or none")
    return sizes


def _batches(text: str) -> list[int]:
    batches = [int(part) for part in text.split(",")]
    if not set(batches) <= set(BATCHES):
        raise argparse.ArgumentTypeError(f"must be of {BATCHES}")
    return batches


def _names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := set(names) - set(CONTENDERS):
        raise argparse.ArgumentTypeError(f"{unknown.pop()} is none of {', '.join(CONTENDERS)}")
    return names


def parser(about: str | None) -> argparse.ArgumentParser:
    """Return the parser; `about` begins its help."""
    made = command_line.parser(
        "bench",
        about,
        "--rounds 5 --seconds 5 --json bench.json --write",
        "0 the run is good, 1 an expectation does not hold and --strict is set",
    )
    _add_measurements(made)
    add = made.add_argument
    add("--plot", type=Path, metavar="FILE", help="draw the figures into this SVG file")
    command_line.add_outputs(made, "docs/performance.md and docs/performance.svg")
    add("--strict", action="store_true", help="exit with 1 when an expectation does not hold")
    return made


def _add_measurements(made: argparse.ArgumentParser) -> None:
    """Add the options that say what is measured and how."""
    add = made.add_argument
    add("--rounds", type=count, default=3, help="how often everything is measured (%(default)s)")
    add("--seconds", type=positive, default=1.2, help="length of each measurement (%(default)s)")
    add("--warm-up", type=positive, default=0.3, help="seconds of load before each (%(default)s)")
    add("--batches", type=_batches, default="10,5,1", help="events in a request (%(default)s)")
    add("--connections", type=count, default=32, help="connections that write (%(default)s)")
    add("--read-connections", type=count, default=4, help="connections that read (%(default)s)")
    add(
        "--read-sizes",
        type=_sizes,
        default="20,1000,20000",
        help="sessions of the players to read (%(default)s)",
    )
    add(
        "--contenders",
        type=_names,
        default=",".join(CONTENDERS),
        help="who is measured (%(default)s)",
    )
    add(
        "--against",
        type=Path,
        metavar="FOLDER",
        help="measure the service of another working copy as well",
    )
    add(
        "--pin",
        type=cores.parse,
        default="auto",
        metavar="SERVER/LOAD/CASSANDRA",
        help="cores such as 0,1/2/3, or none, or auto: separate with four or more (%(default)s)",
    )
    add(
        "--sampled",
        type=positive,
        default=1.0,
        metavar="PERCENT",
        help="how many of the requests to `traced` are traced (%(default)g)",
    )
