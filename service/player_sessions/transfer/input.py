"""What an import reads: the lines of files and streams, and the events of a line."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import IO, Any, NamedTuple

import msgspec

from player_sessions.rules import known_fields
from player_sessions.rules.events import (
    EVENT_FIELDS,
    MAX_MS,
    BatchRefused,
    Event,
    EventError,
    check,
    convert_events,
    decode_event,
    explain_event,
    from_ms,
    to_ms,
)
from player_sessions.rules.known_fields import UNDECODABLE
from player_sessions.rules.players import InvalidPlayerId, PlayerOf, player_uuid
from player_sessions.rules.reasons import BY_NAME, INVALID_BATCH, INVALID_JSON, Reason
from player_sessions.transfer.opening import BOM, is_stream, opened

MAX_LINE = 1 << 20  # bytes; the help of the command says 1 MiB
# Only an import refuses for this reason, so it stands in no table of the API.
LINE_TOO_LONG = Reason(
    "line-too-long", 413, "Line too long", "Put fewer events into one line: at most 1 MiB."
)
_EARLIEST_MS = to_ms(datetime.min)
_EVENT_KEY = b'"player_id"'  # each event has one, so a line that is too long can be counted
# How a line of a document over many lines looks: `[`, `{`, `[{`, or an array's first element.
_PRETTY = re.compile(rb"\s*(\[\s*\{?|\{|\[.*,)\s*", re.DOTALL)
_decode_event = msgspec.json.Decoder(Event).decode


class Line(NamedTuple):
    number: int
    text: bytes
    position: int  # bytes of the (compressed) file read so far
    too_long: int = 0  # how many events a line over the limit has; its text is only the beginning


def batch_of(text: bytes) -> list[Any]:
    """Return the events of a line, not yet checked; raises BatchRefused."""
    try:
        document = known_fields.document_of(text)
        batch = known_fields.fields_of(document, ("events", "rows"))
        items: list[msgspec.Raw] | None = [document]
        if batch != {}:
            items = known_fields.items_of(next(iter(batch.values())) if batch else document)
        events = [known_fields.event_of(item, EVENT_FIELDS) for item in items or ()]
    except UNDECODABLE as error:
        hint = pretty_hint(text)
        detail = f"the line is not JSON{' by itself: ' + hint if hint else f': {error}'}"
        raise BatchRefused(INVALID_JSON, detail) from None
    if not events:
        raise BatchRefused(INVALID_BATCH, "the line is neither an event nor a batch of events")
    return events


def pretty_hint(text: bytes) -> str:
    """Return what to do if a line begins a document that goes over many lines, else nothing."""
    if not _PRETTY.fullmatch(text):
        return ""
    query = "-c ." if text.lstrip().startswith(b"{") else "-c '.[]'"
    return f"a document over many lines must become one event in each line: jq {query} FILE"


def events_in(
    line: Line, latest_ms: int, shift_ms: int, player_of: PlayerOf = player_uuid
) -> list[Event]:
    """Return the events of a line as `events_of` does, unless the line is too long."""
    if line.too_long:
        raise BatchRefused(LINE_TOO_LONG, f"the line is longer than {MAX_LINE} bytes")
    return events_of(line.text, latest_ms, shift_ms, player_of)


def events_of(
    text: bytes, latest_ms: int, shift_ms: int, player_of: PlayerOf = player_uuid
) -> list[Event]:
    """Return the events of a line, moved by `shift_ms`; raises BatchRefused with every error."""
    try:
        events = [_decode_event(text)]
    except UNDECODABLE:
        events = _other_events_of(text, player_of)
    if shift_ms:
        events = [msgspec.structs.replace(e, ts=_moved(e.at_ms + shift_ms)) for e in events]
    try:
        return check(events, latest_ms)
    except BatchRefused as error:
        raise _refused(error.errors) from None


def _other_events_of(text: bytes, player_of: PlayerOf) -> list[Event]:
    """Return the events of a line that is not one event of a player whose id is a UUID."""
    try:
        return [decode_event(text, player_of)]
    except (*UNDECODABLE, InvalidPlayerId):
        items = batch_of(text)
    explained = (explain_event(i, item, MAX_MS, player_of) for i, item in enumerate(items))
    if errors := [error for found in explained for error in found]:
        raise _refused(errors)
    return convert_events(items, player_of)


def _refused(errors: Sequence[EventError]) -> BatchRefused:
    """Return the refusal of a line for the reason of its first error."""
    return BatchRefused(BY_NAME[errors[0].reason], errors[0].detail, tuple(errors))


def _moved(ms: int) -> datetime:
    """Return the moment; one that no calendar has is the first or last that one has."""
    return from_ms(min(max(ms, _EARLIEST_MS), MAX_MS))


def lines_of(name: str, after: int = 0) -> Iterator[Line]:
    """Yield the lines after number `after`; an over-long line is cut, so that it is refused.

    Raises TransferStopped where the file cannot be read.
    """
    with opened(name) as (text, position):
        number = 0
        while line := text.readline(MAX_LINE + 1):
            number += 1
            too_long = 0
            if len(line) > MAX_LINE and not line.endswith(b"\n"):
                too_long = max(1, line.count(_EVENT_KEY) + _count_rest(line, text))
                line = line[:MAX_LINE]
            if line.startswith(BOM):  # files put together may have one in each
                line = line[len(BOM) :]
            if number > after and (too_long or line.strip()):
                yield Line(number, line, position(), too_long)


def _count_rest(line: bytes, text: IO[bytes]) -> int:
    """Read a line to its end; return how many events begin after its first part."""
    found, tail = 0, line
    while not tail.endswith(b"\n") and (more := text.readline(MAX_LINE)):
        tail = tail[1 - len(_EVENT_KEY) :] + more
        found += tail.count(_EVENT_KEY)
    return found


class Position:
    """Tells how far a line lies in all the input."""

    def __init__(self, names: list[str]) -> None:
        streams = any(map(is_stream, names))  # their size is not known
        sizes = [0 if streams else os.path.getsize(name) for name in names]
        self._total = sum(sizes)
        self._before = {name: sum(sizes[:i]) for i, name in enumerate(names)}

    def part(self, name: str, line: Line) -> float:
        """Return the part of all input, 0-1, that ends with this line of the file `name`."""
        return (self._before[name] + line.position) / self._total if self._total else 0.0
