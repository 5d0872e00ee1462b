"""One player's listed sessions against the journals: pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import msgspec

from loadtest.audit.expected import Expected, candidates

DIFFERENCES = ("missing", "duplicate", "disordered", "altered", "unsent")
_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


class Listed(msgspec.Struct):
    """A session as the service shows it."""

    session_id: UUID
    country: str
    started_at: datetime
    ended_at: datetime
    duration_seconds: float


class Difference(NamedTuple):
    kind: str
    session: UUID
    text: str


def compare(
    player: UUID, expected: Mapping[UUID, Expected], listed: Sequence[Listed]
) -> Iterator[Difference]:
    """All differences; `listed` is the whole of the pages in the order in which they came."""
    met: set[UUID] = set()
    before = None
    for each in listed:
        where = f"player {player.hex} session {each.session_id}"

        def difference(kind: str, text: str = "", each: Listed = each) -> Difference:
            return Difference(kind, each.session_id, f"{where}{text}")  # noqa: B023

        if each.session_id in met:
            yield difference("duplicate")
        met.add(each.session_id)
        if before is not None and each.ended_at > before:
            yield difference("disordered", f": {each.ended_at} comes after {before}")
        before = each.ended_at
        if each.session_id not in expected:
            yield difference("unsent")
        elif wrong := _wrong(expected[each.session_id], each):
            yield difference("altered", f": {wrong}")
    for session, told in expected.items():
        if told.certain and session not in met:
            text = f"player {player.hex} session {session}: start and end were acknowledged"
            yield Difference("missing", session, text)


def _wrong(expected: Expected, listed: Listed) -> str | None:
    """What no sequence of the events sent could have led to, or None."""
    began, ended = _ms(listed.started_at), _ms(listed.ended_at)
    starts, ends = candidates(expected.starts), candidates(expected.ends)
    if (began, listed.country) not in {(each.at_ms, each.country) for each in starts}:
        return f"started {listed.started_at} in {listed.country}, sent: {starts}"
    if ended not in {each.at_ms for each in ends}:
        return f"ended {listed.ended_at}, sent: {ends}"
    if round(listed.duration_seconds * 1000) != max(0, ended - began):
        return f"lasted {listed.duration_seconds} s, sent: {max(0, ended - began)} ms"
    return None


def _ms(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(milliseconds=1)
