"""Cause every failure of the catalogue on three nodes under load, and audit what was acknowledged.

The run takes about half an hour, 3 GB of memory, and root, because one node gets a small disk that
is filled. If a promise breaks, journal, history and logs of that trial stay in a folder.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

from loadtest import command_line, page
from loadtest.faults import trial
from loadtest.faults.catalogue import DISK_FULL, FAULTS, PERIODIC, Fault
from loadtest.faults.trial import Result
from loadtest.faults.world import World
from loadtest.own_service import START_ERRORS
from loadtest.progress import Progress

PAGE = page.DOCS / "reliability.md"
_EVERY = (*FAULTS, PERIODIC)


def _run(
    faults: Sequence[Fault], results: list[Result], kept: Path, json_file: Path | None
) -> list[Result]:
    """Add results to `results` and save them after each trial, since the run is long."""
    done = {each.name for each in results}
    with Progress(len(faults) - len(done)) as progress:
        for relaxed in (False, True):
            chosen = [f for f in faults if f.loses is relaxed and f.name not in done]
            if not chosen:
                continue
            with (
                tempfile.TemporaryDirectory(prefix="faults-") as folder,
                World(Path(folder), relaxed=relaxed, small_disk=DISK_FULL in chosen) as world,
            ):
                for fault in chosen:
                    progress.step(fault.what)
                    results.append(trial.run(world, fault, kept))
                    command_line.save_json(json_file, results)
    return results


def _begun(file: Path) -> list[Result]:
    """Return the results of an interrupted run."""
    return msgspec.json.decode(file.read_bytes(), type=list[Result]) if file.exists() else []


def table(results: Sequence[Result]) -> str:
    """Return the results as a Markdown table."""
    head = [
        "fault", "acknowledged events:", "lost:", "wrong answers:", "failed requests",
        "longest time without a write, a read:", "back after:", "slowest answer:", "holds",
    ]  # fmt: skip
    return "\n".join(page.table(head, map(_row, results))) + "\n"


def _row(each: Result) -> list[str]:
    kinds = ", ".join(f"{kind} {many:,}" for kind, many in sorted(each.errors.items()))
    return [
        each.what,
        f"{each.verdict.acknowledged:,}",
        f"{each.verdict.lost:,}",
        f"{each.verdict.wrong:,}",
        f"{sum(each.errors.values()) / each.requests:.1%}: {kinds}" if kinds else "none",
        f"{each.write_gap:.1f} s, {each.read_gap:.1f} s",
        f"{each.back:.1f} s",
        f"{each.slowest:.1f} s",
        f"**no: {'; '.join(each.broken)}**" if each.broken else "yes",
    ]


def parser() -> argparse.ArgumentParser:
    made = command_line.parser(
        "faults", __doc__, "--only frozen kill-2", "0 every promise holds, 1 one does not"
    )
    add = made.add_argument
    names = [fault.name for fault in _EVERY]
    add("--only", nargs="+", choices=names, metavar="NAME", help=f"some of {', '.join(names)}")
    command_line.add_outputs(made, "docs/reliability.md")
    add("--resume", action="store_true", help="go on where the run of this --json file ended")
    add(
        "--keep",
        type=Path,
        default=Path("loadtest-results/faults"),
        metavar="FOLDER",
        help="where journal, history and logs go when a promise breaks (%(default)s)",
    )
    return made


def _main(options: argparse.Namespace) -> int:
    faults = [fault for fault in _EVERY if not options.only or fault.name in options.only]
    if options.resume and not options.json:
        command_line.say("faults: --resume needs --json FILE")
        return 2
    if DISK_FULL in faults and os.geteuid():
        command_line.say("faults: only root can mount the small disk; choose others with --only")
        return 2
    begun = _begun(options.json) if options.resume else []
    results = _run(faults, begun, options.keep, options.json)
    print(table(results))
    if options.write:
        by_marker = {
            marker: [each for each in results if each.loses is loses]
            for marker, loses in (("faults", False), ("periodic", True))
        }
        tables = {marker: table(some) for marker, some in by_marker.items() if some}
        page.write_sections(PAGE, "faults", tables)
    broken = [each for each in results if each.broken]
    if broken:
        command_line.say(f"faults: see {options.keep}")
    return int(bool(broken))


def main() -> int:
    options = parser().parse_args()
    return command_line.run("faults", lambda: _main(options), *START_ERRORS)


if __name__ == "__main__":
    sys.exit(main())
