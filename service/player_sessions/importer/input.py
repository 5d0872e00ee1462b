"""What an import reads and remembers: files, lines, the rules each line must keep, its state."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import msgspec

from player_sessions.events import (
    INVALID_BATCH,
    INVALID_JSON,
    MAX_MS,
    BatchRefused,
    Event,
    check,
    explain_event,
    from_ms,
)

STDIN = "-"
MAX_LINE = 1 << 20
_decode = msgspec.json.Decoder().decode
_decode_event = msgspec.json.Decoder(Event).decode


class ImportStopped(Exception):
    """The import cannot go on; the message says why and what to do."""


class Line(NamedTuple):
    number: int
    text: bytes
    position: int  # bytes of the (compressed) file read so far


def batch_of(text: bytes) -> list[Any]:
    """The events of a line, not yet checked; raises BatchRefused."""
    try:
        document = _decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BatchRefused(INVALID_JSON, f"the line is not JSON: {error}") from None
    if isinstance(document, dict):
        document = document.get("events", document.get("rows", [document]))
    if not isinstance(document, list) or not document:
        raise BatchRefused(INVALID_BATCH, "the line is neither an event nor a batch of events")
    return document


def events_of(text: bytes, latest_ms: int, shift_ms: int) -> list[Event]:
    """The events of a line, later by `shift_ms`; raises BatchRefused, naming the wrong ones."""
    try:
        events = [_decode_event(text)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        items = batch_of(text)
        errors = [e for i, item in enumerate(items) for e in explain_event(i, item, MAX_MS)]
        if errors:
            raise BatchRefused(errors[0].reason, errors[0].detail, tuple(errors)) from None
        events = msgspec.convert(items, list[Event])
    if shift_ms:
        events = [
            msgspec.structs.replace(event, ts=from_ms(event.at_ms + shift_ms)) for event in events
        ]
    return check(events, latest_ms)


@contextmanager
def opened(name: str) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """(the text, the raw file whose position tells how far it is) of a file or standard input."""
    if name == STDIN:
        yield sys.stdin.buffer, io.BytesIO()
        return
    with open(name, "rb") as raw:
        text: Any = raw
        if name.endswith(".gz"):
            text = io.BufferedReader(gzip.GzipFile(fileobj=raw))
        elif name.endswith(".bz2"):
            text = bz2.BZ2File(raw)
        yield text, raw


def lines_of(name: str, after: int = 0) -> Iterator[Line]:
    """The lines beyond number `after`; an over-long one comes cut, so that it is refused.

    Raises ImportStopped where the file cannot be read.
    """
    try:
        with opened(name) as (text, raw):
            number = 0
            while line := text.readline(MAX_LINE):
                number += 1
                rest = line
                while len(rest) == MAX_LINE and not rest.endswith(b"\n"):
                    rest = text.readline(MAX_LINE)
                if number > after and line.strip():
                    yield Line(number, line, raw.tell())
    except (OSError, EOFError) as error:
        raise ImportStopped(f"{name}: cannot be read: {error}") from error


def fingerprint(name: str) -> str:
    """Tells whether a file is the one that an interrupted import read."""
    with open(name, "rb") as file:
        head = hashlib.sha256(file.read(1 << 16)).hexdigest()[:16]
    return f"{os.path.getsize(name)}-{head}"


class Position:
    """How far a line lies in all the input."""

    def __init__(self, names: list[str]) -> None:
        sizes = [0 if name == STDIN else os.path.getsize(name) for name in names]
        self._total = sum(sizes)
        self._before = {name: sum(sizes[:i]) for i, name in enumerate(names)}

    def part(self, name: str, line: Line) -> float:
        return (self._before[name] + line.position) / self._total if self._total else 0.0


class State(msgspec.Struct):
    """How far an import is: all lines up to these are stored, discarded or in the rejects file."""

    files: dict[str, str]  # name: fingerprint
    rebase: bool = False
    shift_ms: int = 0
    rejects_bytes: int = 0
    lines: dict[str, int] = {}
    read: int = 0
    stored: int = 0
    discarded: int = 0
    rejected: dict[str, int] = {}

    def save(self, path: Path) -> None:
        """Replaces the file in one step, so that it is never half written."""
        new = path.with_name(path.name + ".new")
        with new.open("wb") as file:
            file.write(msgspec.json.encode(self))
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)


def load_state(path: Path, names: list[str], *, rebase: bool) -> State:
    """The state of an interrupted import of the same files; raises ImportStopped."""
    try:
        state = msgspec.json.decode(path.read_bytes(), type=State)
    except (OSError, msgspec.DecodeError) as error:
        raise ImportStopped(f"nothing to resume at {path}: {error}") from None
    if state.files != {name: fingerprint(name) for name in names}:
        raise ImportStopped(f"{path} is of other files, or they have changed: start without it")
    if rebase != state.rebase:
        raise ImportStopped(f"{path} was begun {'without' if rebase else 'with'} --rebase")
    return state
