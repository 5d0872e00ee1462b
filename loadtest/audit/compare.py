"""Compare one player's sessions with the journals, without I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import msgspec

from loadtest.audit.expected import Expected, candidates
from loadtest.play import player_id

DIFFERENCES = ("missing", "duplicate", "disordered", "altered", "unsent")
_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


class Listed(msgspec.Struct):
    """A session as the service shows it."""

    session_id: UUID
    country: str
    started_at: datetime
    ended_at: datetime
    duration_seconds: float


class State(msgspec.Struct):
    """A session as the service shows it alone; what it does not know is None."""

    session_id: UUID
    status: str
    country: str | None
    started_at: datetime | None
    ended_at: datetime | None
    duration_seconds: float | None


class Presence(msgspec.Struct):
    """A player as the service shows them."""

    online: bool
    latest_session: State | None


class Difference(NamedTuple):
    kind: str
    session: UUID
    text: str


def compare(
    player: UUID, expected: Mapping[UUID, Expected], listed: Sequence[Listed]
) -> Iterator[Difference]:
    """Yield all differences; `listed` has all pages in the order of the answers."""
    met: set[UUID] = set()
    before = None
    for each in listed:
        where = f"player {player_id(player)} session {each.session_id}"

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
            text = f"player {player_id(player)} session {session}: start and end were acknowledged"
            yield Difference("missing", session, text)


def compare_one(
    player: UUID, session: UUID, expected: Expected, found: State | None
) -> Iterator[Difference]:
    """Yield what is wrong with a session that was asked for alone, and must be complete."""
    where = f"player {player_id(player)} session {session}, asked for alone"
    if found is None:
        yield Difference("missing", session, f"{where}: start and end were acknowledged")
    elif found.session_id != session or found.status != "complete":
        yield Difference("altered", session, f"{where}: {found.status} {found.session_id}")
    elif wrong := _wrong(expected, msgspec.convert(found, Listed, from_attributes=True)):
        yield Difference("altered", session, f"{where}: {wrong}")


def compare_latest(
    player: UUID, expected: Mapping[UUID, Expected], found: Presence
) -> Iterator[Difference]:
    """Yield what is wrong with a player's latest session: the one with the newest start."""
    starts = [
        (each.at_ms, each.country, session, each.acknowledged)
        for session, told in expected.items()
        for each in told.starts
    ]
    newest = max((start[:3] for start in starts if start[3]), default=None)
    if newest is None:
        return  # no start is certain to be stored
    where, latest = f"the latest session of player {player_id(player)}", found.latest_session
    if latest is not None and latest.session_id not in expected:
        yield Difference("unsent", latest.session_id, f"{where}: {latest}")
    elif latest is None or _start(latest) < newest[:2]:
        text = f"{where}: {latest}, but a start at {newest[0]} was acknowledged"
        yield Difference("missing", newest[2], text)
    elif (*_start(latest), latest.session_id) not in {start[:3] for start in starts}:
        yield Difference("altered", latest.session_id, f"{where}: {latest}")
    elif expected[latest.session_id].certain:
        yield from _compare_ended(latest, expected[latest.session_id], found, where)


def _compare_ended(
    latest: State, expected: Expected, found: Presence, where: str
) -> Iterator[Difference]:
    """Yield what is wrong with a latest session whose end is certain to be stored."""
    ends = {each.at_ms for each in candidates(expected.ends)}
    if latest.ended_at is None or _ms(latest.ended_at) not in ends:
        text = f"{where}: {latest.session_id} ended {latest.ended_at}, sent: {ends}"
        yield Difference("altered", latest.session_id, text)
    if found.online:
        text = f"{where}: {latest.session_id} has an end, but the player is online"
        yield Difference("altered", latest.session_id, text)


def _start(latest: State) -> tuple[int, str]:
    return _ms(latest.started_at) if latest.started_at else 0, latest.country or ""


def _wrong(expected: Expected, listed: Listed) -> str | None:
    """Describe what no sequence of the sent events can lead to, or return None."""
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
