"""Check whether a history is one that the promises allow, without I/O.

If a session has several starts, the one with the greatest (time, country) counts; of several ends,
the latest counts. What a read may show therefore lies between two bounds: at least what was
acknowledged, or shown by another read, before the read began; at most what was sent before it
ended. Resending changes neither bound. The tests give this checker bad histories to reject.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from loadtest.faults.history import ACKNOWLEDGED, REFUSED, Operation, Read, Session, Write

LOST = "lost"  # start and end were acknowledged, but a later read does not list the session
VANISHED = "vanished"  # a read listed the session, but a later read does not
STALE = "stale"  # a read shows an older start or end than was acknowledged or shown before
PHANTOM = "phantom"  # a read shows a start or end that nobody had sent
TWICE = "twice"  # one read lists the session twice
DISORDERED = "disordered"  # a read does not list the newest end first
KINDS = (LOST, VANISHED, STALE, PHANTOM, TWICE, DISORDERED)

_Start = tuple[int, str]


class Violation(NamedTuple):
    kind: str
    player: str
    session: str
    read: Read


class _Bounds:
    """The bounds of a read of one player: what it must show, and what it may show."""

    def __init__(self, read: Read, writes: Iterable[Write], reads: Iterable[Read]) -> None:
        self.least_start: dict[str, _Start] = {}
        self.least_end: dict[str, int] = {}
        self.starts: dict[str, set[_Start]] = defaultdict(set)
        self.ends: dict[str, set[int]] = defaultdict(set)
        self.seen: set[str] = set()
        for write in writes:
            if write.outcome != REFUSED and write.begun < read.ended:
                certain = write.outcome == ACKNOWLEDGED and write.ended < read.begun
                self._add_write(write, certain=certain)
        for earlier in reads:
            if earlier.ended < read.begun:
                self._add_read(earlier)

    def _add_write(self, write: Write, *, certain: bool) -> None:
        for event in write.events:
            if event.kind == "start":
                start = event.at_ms, event.country
                self.starts[event.session].add(start)
                if certain:
                    self._raise_start(event.session, start)
            else:
                self.ends[event.session].add(event.at_ms)
                if certain:
                    self._raise_end(event.session, event.at_ms)

    def _add_read(self, read: Read) -> None:
        for shown in read.sessions:
            self.seen.add(shown.session)
            self._raise_start(shown.session, (shown.started_ms, shown.country))
            self._raise_end(shown.session, shown.ended_ms)

    def _raise_start(self, session: str, start: _Start) -> None:
        self.least_start[session] = max(start, self.least_start.get(session, start))

    def _raise_end(self, session: str, end: int) -> None:
        self.least_end[session] = max(end, self.least_end.get(session, end))

    def violation_of(self, shown: Session) -> str | None:
        """Return the kind of violation in one listed session, or None."""
        start, end = (shown.started_ms, shown.country), shown.ended_ms
        if start not in self.starts[shown.session] or end not in self.ends[shown.session]:
            return PHANTOM
        older = start < self.least_start.get(shown.session, start)
        return STALE if older or end < self.least_end.get(shown.session, end) else None

    def absent(self, shown: set[str]) -> Iterator[tuple[str, str]]:
        """Yield (kind, session) for each session that the read had to list but did not."""
        for session in (self.least_start.keys() & self.least_end.keys()) - shown:
            yield (VANISHED if session in self.seen else LOST), session


def check(history: Iterable[Operation]) -> list[Violation]:
    """Return all violations, by player and in the order in which the reads ended."""
    players: dict[str, tuple[list[Write], list[Read]]] = defaultdict(lambda: ([], []))
    for operation in sorted(history, key=lambda operation: operation.ended):
        writes, reads = players[operation.player]
        if isinstance(operation, Write):
            writes.append(operation)
        else:
            reads.append(operation)
    return [
        Violation(kind, player, session, read)
        for player, (writes, reads) in players.items()
        for read in reads
        for kind, session in _violations(read, _Bounds(read, writes, reads))
    ]


def _violations(read: Read, bounds: _Bounds) -> Iterator[tuple[str, str]]:
    """Yield (kind, session) for each violation in one read."""
    shown: set[str] = set()
    before: int | None = None
    for each in read.sessions:
        if each.session in shown:
            yield TWICE, each.session
        shown.add(each.session)
        if before is not None and each.ended_ms > before:
            yield DISORDERED, each.session
        before = each.ended_ms
        if kind := bounds.violation_of(each):
            yield kind, each.session
    yield from bounds.absent(shown)
