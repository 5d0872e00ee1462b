"""Prove that what was acknowledged is stored: read every player of the journals and compare.

Nothing acknowledged may be missing; nothing may be listed twice, out of order, altered, or without
having been sent. Reads show only whole sessions, so the audit first sends the missing side of each
session of which only one side was acknowledged. Then every acknowledged event is seen. Of every
tenth player it also asks for the latest session and for one session.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
from gevent.pool import Pool
from rich.console import Console
from rich.progress import track

from loadtest import command_line, target
from loadtest.audit.compare import DIFFERENCES, Difference, compare, compare_latest, compare_one
from loadtest.audit.expected import Expected, Store, events_of
from loadtest.audit.service import NoAnswer, Service
from loadtest.journal import Reading, Unreadable
from loadtest.play import Event, Model

_BATCH = 10


class Counts(msgspec.Struct):
    """The counts of an audit; `differences` has the number of each kind of difference."""

    players: int = 0
    acknowledged: int = 0
    unknown: int = 0
    completed: int = 0
    sessions: int = 0
    listed: int = 0
    asked_alone: int = 0
    under_way: int = 0
    differences: dict[str, int] = msgspec.field(
        default_factory=lambda: dict.fromkeys(DIFFERENCES, 0)
    )
    first: list[Difference] = []


class Audit:
    """Compares some journals with one service."""

    def __init__(self, service: Service, readings: list[Reading], options: Any) -> None:
        self.service = service
        self.readings = readings
        self.options = options
        self.counts = Counts()
        self.console = Console(stderr=True)

    def run(self, file: Path) -> Counts:
        store = Store(file)
        for reading in self._progress(self.readings, len(self.readings), "reading journals"):
            store.add(events_of(reading))
        self._complete(store)
        counts = self.counts
        counts.players, counts.acknowledged, counts.unknown = store.count()
        self._unended = [
            Model(each.header.seed, each.header.mix)
            for each in self.readings
            if not each.ended and each.header.mix
        ]
        checks = Pool(self.options.in_flight).imap_unordered(
            self._check, enumerate(store.players()), maxsize=self.options.in_flight
        )
        for expected, listed, found in self._progress(checks, counts.players, "reading players"):
            counts.sessions += sum(each.certain for each in expected.values())
            counts.listed += listed
            self._count(found)
        return counts

    def _progress(self, work: Any, total: int, text: str) -> Any:
        quiet = not self.console.is_terminal
        return track(work, text, total=total, console=self.console, transient=True, disable=quiet)

    def _complete(self, store: Store) -> None:
        """Send the missing events of sessions of which only one side was acknowledged."""
        rest = iter(store.halves())
        batches: Iterator[list[Event]] = iter(lambda: list(islice(rest, _BATCH)), [])
        for batch in Pool(self.options.in_flight).imap_unordered(
            self.service.post, batches, maxsize=self.options.in_flight
        ):
            store.add((event, True) for event in batch)
            self.counts.completed += len(batch)

    def _check(
        self, one: tuple[int, tuple[UUID, dict[UUID, Expected]]]
    ) -> tuple[dict[UUID, Expected], int, list[Difference]]:
        number, (player, expected) = one
        listed = self.service.sessions(player)
        found = list(compare(player, expected, listed))
        if self.options.sample and number % self.options.sample == 0:
            told = {(each.kind, each.session) for each in found}
            alone = self._check_alone(player, expected)
            found += [each for each in alone if (each.kind, each.session) not in told]
        return expected, len(listed), found

    def _check_alone(self, player: UUID, expected: dict[UUID, Expected]) -> Iterator[Difference]:
        """Compare the latest session, and one session that must be complete."""
        self.counts.asked_alone += 1
        yield from compare_latest(player, expected, self.service.presence(player))
        for session, told in expected.items():
            if told.certain:
                found = self.service.session(player, session)
                yield from compare_one(player, session, told, found)
                return

    def _count(self, found: list[Difference]) -> None:
        for each in found:
            if each.kind == "unsent" and self._was_under_way(each.session):
                self.counts.under_way += 1
                continue
            self.counts.differences[each.kind] += 1
            if len(self.counts.first) < self.options.show:
                self.counts.first.append(each)

    def _was_under_way(self, session: UUID) -> bool:
        """Return whether a killed generator had sent this session without journalling it."""
        return any(model.number_of(session) is not None for model in self._unended)


def _report(counts: Counts, readings: list[Reading]) -> str:
    lines = [
        f"{len(readings)} journals: {counts.acknowledged:,} events acknowledged,"
        f" {counts.unknown:,} sent without an acknowledgement",
        f"{counts.players:,} players read: {counts.sessions:,} sessions must be listed,"
        f" {counts.listed:,} are; {counts.completed:,} were made complete first",
        f"{counts.asked_alone:,} players asked for their latest session and for one session",
        ", ".join(f"{kind} {many:,}" for kind, many in counts.differences.items()),
    ]
    if unended := [each.path.name for each in readings if not each.ended]:
        lines.append(
            f"not ended in order: {', '.join(unended)}; {counts.under_way:,} sessions of theirs"
            " were under way"
        )
    lines += [f"{each.kind}: {each.text}" for each in counts.first]
    lines.append("DIFFERENCES FOUND" if any(counts.differences.values()) else "proven")
    return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    made = command_line.parser(
        "audit",
        __doc__,
        "loadtest-results/ --host http://127.0.0.1:8080",
        "0 everything is proven, 1 differences were found",
    )
    add = made.add_argument
    add("journals", nargs="+", type=Path, help="journals, or folders with them")
    add("--host", required=True, help="URL of the service, such as http://127.0.0.1:8080")
    add("--in-flight", type=int, default=8, help="requests at the same time (%(default)s)")
    add(
        "--sample",
        type=int,
        default=10,
        metavar="N",
        help="of every N-th player, ask for the latest and one more session; 0: none (%(default)s)",
    )
    add("--show", type=int, default=20, help="how many differences to show (%(default)s)")
    add("--json", type=Path, metavar="FILE", help="write the counts to this file")
    target.add_options(add)
    return made


def _main(options: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory(prefix="audit-") as folder:
        readings = Reading.all(options.journals)
        counts = Audit(Service(options), readings, options).run(Path(folder) / "events.db")
    print(_report(counts, readings))
    command_line.save_json(options.json, counts)
    return int(any(counts.differences.values()))


def main() -> int:
    options = parser().parse_args()
    return command_line.run("audit", lambda: _main(options), Unreadable, NoAnswer, ValueError)


if __name__ == "__main__":
    sys.exit(main())
