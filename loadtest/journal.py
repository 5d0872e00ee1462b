"""The journal of what was acknowledged: one append-only file per process, one line per batch.

The first line is a header in JSON. Each further line begins with `+` (acknowledged) or `?` (sent,
but not answered with a plain 200, so it may or may not be stored) and describes the batch: sessions
of the seeded play by number and time (see `play.Model.event`), or lines of a replayed file. The
last line, `.`, says that nothing more was in flight. Each line is one write to the kernel, so that
none is lost when the process is killed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, Self

import msgspec

from loadtest.play import Mix

ACKNOWLEDGED, UNKNOWN, END = "+", "?", "."
SUFFIX = ".journal"


class Header(msgspec.Struct, kw_only=True):
    """`mix` of the seeded play, or `file` and its shift in ms of a replay."""

    seed: str
    origin_ms: int
    mix: Mix | None = None
    file: str = ""
    fingerprint: str = ""
    version: int = 1


class Line(NamedTuple):
    acknowledged: bool
    tokens: list[str]


class Unreadable(Exception):
    """The file is no journal, or cannot be used; the message says why."""


class Journal:
    """Writes a journal."""

    def __init__(self, path: Path, header: Header) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        self._write(msgspec.json.encode(header).decode())

    def add(self, sign: str, tokens: Iterable[str]) -> None:
        self._write(f"{sign} {' '.join(tokens)}")

    def close(self, *, ended: bool = True) -> None:
        """Close the file; `ended` says that nothing is in flight."""
        if ended:
            self._write(END)
        os.close(self._file)

    def _write(self, line: str) -> None:
        os.write(self._file, line.encode() + b"\n")


class Reading:
    """Reads a journal from its beginning; `ended` is known when all lines are read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ended = False
        try:
            with path.open() as file:
                self.header = msgspec.json.decode(file.readline(), type=Header)
        except (OSError, ValueError, msgspec.DecodeError) as error:
            raise Unreadable(f"{path} is not a journal: {error}") from None

    @classmethod
    def all(cls, paths: Iterable[Path]) -> list[Self]:
        """Return the journals in files and in folders; raise Unreadable."""
        found = [
            each
            for path in paths
            for each in (sorted(path.rglob(f"*{SUFFIX}")) if path.is_dir() else [path])
        ]
        if not found:
            raise Unreadable(f"no *{SUFFIX} in {', '.join(map(str, paths))}")
        return [cls(path) for path in found]

    def __iter__(self) -> Iterator[Line]:
        with self.path.open() as file:
            file.readline()
            for number, line in enumerate(file, 2):
                if not line.endswith("\n"):
                    return  # the machine went down in the middle of this line
                sign, *tokens = line.split()
                if sign == END:
                    self.ended = True
                elif sign in (ACKNOWLEDGED, UNKNOWN):
                    yield Line(sign == ACKNOWLEDGED, tokens)
                else:
                    raise Unreadable(f"{self.path}, line {number}: unknown sign {sign!r}")
