"""Put every fault of the catalogue on three real nodes under load, and audit what was acknowledged.

Takes about half an hour and 3 GB of memory, and root: one node gets a small disk to fill. Where a
promise breaks, journal, history and logs of the trial stay in a folder.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from dev.cluster import NodeFailed
from dev.toolchain import MissingTool
from loadtest.bench import page
from loadtest.bench.contenders import ROOT
from loadtest.bench.progress import Progress
from tests.faults import trial
from tests.faults.catalogue import DISK_FULL, FAULTS, PERIODIC, Fault
from tests.faults.trial import Result
from tests.faults.world import World

PAGE = ROOT / "docs" / "reliability.md"
_EVERY = (*FAULTS, PERIODIC)


def _run(
    faults: Sequence[Fault], results: list[Result], kept: Path, json_file: Path | None
) -> list[Result]:
    """Adds to `results`, which are written as they come: the run is long."""
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
                    if json_file:
                        document = [asdict(each) for each in results]
                        json_file.write_text(json.dumps(document, indent=1) + "\n")
    return results


def _begun(file: Path) -> list[Result]:
    """What an interrupted run has left in its file."""
    return msgspec.json.decode(file.read_bytes(), type=list[Result]) if file.exists() else []


def table(results: Sequence[Result]) -> str:
    """Markdown."""
    lines = [
        "| fault | acknowledged events | lost | wrong answers | failed requests"
        " | no write, no read for | back after | slowest answer | holds |",
        "|---|--:|--:|--:|---|--:|--:|--:|---|",
    ]
    for each in results:
        kinds = ", ".join(f"{kind} {many:,}" for kind, many in sorted(each.errors.items()))
        failed = f"{sum(each.errors.values()) / each.requests:.1%}: {kinds}" if kinds else "none"
        holds = f"**no: {'; '.join(each.broken)}**" if each.broken else "yes"
        lines.append(
            f"| {each.what} | {each.verdict.acknowledged:,} | {each.verdict.lost:,}"
            f" | {each.verdict.wrong:,} | {failed} | {each.write_gap:.1f} s, {each.read_gap:.1f} s"
            f" | {each.back:.1f} s | {each.slowest:.1f} s | {holds} |"
        )
    return "\n".join(lines) + "\n"


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m tests.faults",
        description=__doc__,
        epilog="example: python -m tests.faults --only frozen kill-2. Exit code: 0 every promise"
        " holds, 1 one does not, 2 the run failed.",
    )
    add = made.add_argument
    names = [fault.name for fault in _EVERY]
    add("--only", nargs="+", choices=names, metavar="NAME", help=f"of {', '.join(names)}")
    add("--write", action="store_true", help="write the tables into docs/reliability.md")
    add(
        "--json", type=Path, metavar="FILE", help="write all figures there, one fault after another"
    )
    add("--resume", action="store_true", help="go on where the run of this --json file ended")
    add(
        "--keep",
        type=Path,
        default=Path("loadtest-results/faults"),
        metavar="FOLDER",
        help="for what broke a promise (%(default)s)",
    )
    return made


def main() -> int:
    options = parser().parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that all it started ends too
    faults = [fault for fault in _EVERY if not options.only or fault.name in options.only]
    if options.resume and not options.json:
        print("faults: --resume goes with --json FILE", file=sys.stderr)
        return 2
    if DISK_FULL in faults and os.geteuid():
        print(
            "faults: only root can mount the small disk; or choose others: --only", file=sys.stderr
        )
        return 2
    try:
        begun = _begun(options.json) if options.resume else []
        results = _run(faults, begun, options.keep, options.json)
    except KeyboardInterrupt:
        print("faults: stopped", file=sys.stderr)
        return 130
    except (NodeFailed, MissingTool, AssertionError, OSError) as error:
        print(f"faults: {error}", file=sys.stderr)
        return 2
    print(table(results))
    if options.write:
        document: dict[str, Any] = {
            "date": datetime.now(UTC).isoformat(timespec="minutes"),
            "command": page.command("tests.faults"),
            "machine": page.machine(),
        }
        for marker, loses in (("faults", False), ("periodic", True)):
            if some := [each for each in results if each.loses is loses]:
                page.write(PAGE, document, table(some), marker=marker)
    broken = [each for each in results if each.broken]
    if broken:
        print(f"faults: see {options.keep}", file=sys.stderr)
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())
