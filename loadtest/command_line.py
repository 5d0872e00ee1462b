"""The parts that all commands share: reading options, failing, and writing figures.

It imports nothing outside `loadtest`, since some commands run in the load generator's image.
"""

from __future__ import annotations

import argparse
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec


def parser(program: str, about: str | None, example: str, verdict: str) -> argparse.ArgumentParser:
    """Return a parser whose help ends with an example and with what the exit codes mean.

    `verdict` explains the exit codes 0 and 1, such as "0 every bar holds, 1 one does not".
    """
    return argparse.ArgumentParser(
        prog=f"python -m loadtest.{program}",
        description=about,
        epilog=f"Example: python -m loadtest.{program} {example}. Exit code: {verdict}, 2 the run"
        " failed.",
    )


def add_outputs(made: argparse.ArgumentParser, page: str) -> None:
    """Add the options `--json` and `--write`; `page` names the file that `--write` changes."""
    made.add_argument("--json", type=Path, metavar="FILE", help="write all figures to this file")
    made.add_argument("--write", action="store_true", help=f"write the tables into {page}")


def positive(text: str) -> float:
    """Read the value of an option that must be above 0."""
    value = float(text)
    if value <= 0:
        raise argparse.ArgumentTypeError("must be above 0")
    return value


def count(text: str) -> int:
    """Read the value of an option that must be a whole number above 0."""
    return int(positive(str(int(text))))


def run(program: str, work: Callable[[], int], *expected: type[Exception]) -> int:
    """Return the exit code of `work`: 2 after an error that can happen, 130 when stopped.

    SIGTERM stops the program as Ctrl-C does, so that everything it started ends with it.
    """
    errors: tuple[type[Exception], ...] = (OSError, *expected)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return work()
    except KeyboardInterrupt:
        say(f"{program}: stopped")
        return 130
    except errors as error:
        say(f"{program}: {error}")
        return 2


def say(text: str) -> None:
    """Print a message for people to standard error, apart from the tables."""
    print(text, file=sys.stderr, flush=True)


def free_port() -> int:
    """Return a port that nothing on this machine listens at now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def save_json(file: Path | None, figures: Any) -> None:
    """Write the figures as indented JSON if a file is given."""
    if file is not None:
        file.write_bytes(msgspec.json.format(msgspec.json.encode(figures)) + b"\n")
