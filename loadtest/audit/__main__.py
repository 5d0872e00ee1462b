"""Prove that what was acknowledged is there: read every player of the journals back and compare.

Nothing acknowledged may be missing, nothing listed twice, out of order, altered, or never sent.
Sessions of which only one side was acknowledged are made complete first, since reads show whole
sessions only: so each acknowledged event is seen. Exit code 0: proven; 1: differences; 2: no audit
was possible.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
from gevent.pool import Pool
from rich.console import Console
from rich.progress import track

from loadtest import target
from loadtest.audit.compare import DIFFERENCES, Difference, compare
from loadtest.audit.expected import Expected, Store, events_of
from loadtest.audit.service import NoAnswer, Service
from loadtest.journal import Reading, Unreadable
from loadtest.play import Event, Model

_BATCH = 10


class Counts(msgspec.Struct):
    """What the audit saw; the differences by kind."""

    players: int = 0
    acknowledged: int = 0
    unknown: int = 0
    completed: int = 0
    sessions: int = 0
    listed: int = 0
    under_way: int = 0
    differences: dict[str, int] = msgspec.field(
        default_factory=lambda: dict.fromkeys(DIFFERENCES, 0)
    )
    first: list[Difference] = []


class Audit:
    """One run over some journals."""

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
            self._check, store.players(), maxsize=self.options.in_flight
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
        """Send what makes half acknowledged sessions whole."""
        rest = iter(store.halves())
        batches: Iterator[list[Event]] = iter(lambda: list(islice(rest, _BATCH)), [])
        for batch in Pool(self.options.in_flight).imap_unordered(
            self.service.post, batches, maxsize=self.options.in_flight
        ):
            store.add((event, True) for event in batch)
            self.counts.completed += len(batch)

    def _check(
        self, one: tuple[UUID, dict[UUID, Expected]]
    ) -> tuple[dict[UUID, Expected], int, list[Difference]]:
        player, expected = one
        listed = self.service.sessions(player)
        return expected, len(listed), list(compare(player, expected, listed))

    def _count(self, found: list[Difference]) -> None:
        for each in found:
            if each.kind == "unsent" and self._was_under_way(each.session):
                self.counts.under_way += 1
                continue
            self.counts.differences[each.kind] += 1
            if len(self.counts.first) < self.options.show:
                self.counts.first.append(each)

    def _was_under_way(self, session: UUID) -> bool:
        """Whether a generator that was killed had sent it, without the time to say so."""
        return any(model.number_of(session) is not None for model in self._unended)


def _report(counts: Counts, readings: list[Reading]) -> str:
    lines = [
        f"{len(readings)} journals: {counts.acknowledged:,} events acknowledged,"
        f" {counts.unknown:,} sent without an acknowledgement",
        f"{counts.players:,} players read: {counts.sessions:,} sessions must be listed,"
        f" {counts.listed:,} are; {counts.completed:,} were made complete first",
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
    made = argparse.ArgumentParser(
        prog="python -m loadtest.audit",
        description=__doc__,
        epilog="example: python -m loadtest.audit loadtest-results/ --host http://127.0.0.1:8080",
    )
    add = made.add_argument
    add("journals", nargs="+", type=Path, help="files, or folders with *.journal")
    add("--host", required=True, help="the service, such as http://127.0.0.1:8080")
    add("--in-flight", type=int, default=8, help="requests at a time (%(default)s)")
    add("--show", type=int, default=20, help="of the differences (%(default)s)")
    add("--json", type=Path, metavar="FILE", help="write the counts there")
    target.add_options(add)
    return made


def main() -> int:
    options = parser().parse_args()
    try:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="audit-")))
            readings = Reading.all(options.journals)
            counts = Audit(Service(options), readings, options).run(folder / "events.db")
    except (Unreadable, NoAnswer, OSError, ValueError) as error:
        print(f"audit: {error}", file=sys.stderr)
        return 2
    print(_report(counts, readings))
    if options.json:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(counts)) + b"\n")
    return int(any(counts.differences.values()))


if __name__ == "__main__":
    sys.exit(main())
