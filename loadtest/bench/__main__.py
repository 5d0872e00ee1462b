"""Measure this service, the original's design and a service in Go in turn, on one Cassandra.

The bench prints medians over the rounds (with minimum and maximum) and which expectations hold.
The floor is the same batches and queries sent straight through the driver, plus bare ASGI without a
store. The bench starts a Cassandra of its own in a temporary folder. Its commit log is synced every
10 s instead of at every write, so that the disk does not hide what the service costs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from dev.cluster import Cluster
from loadtest import command_line, page
from loadtest.bench import contenders, output, plot, processes, store
from loadtest.bench.contenders import CONTENDERS
from loadtest.bench.expectations import expectations
from loadtest.bench.options import parser
from loadtest.bench.processes import NotReady
from loadtest.bench.run import Bench, Failed, steps
from loadtest.own_service import START_ERRORS
from loadtest.progress import Progress

PAGE = page.DOCS / "performance.md"
PLOT = page.DOCS / "performance.svg"
_KEYSPACE = "bench"


def measure(
    options: argparse.Namespace,
    progress: Progress,
    cluster: Cluster,
    environ: Mapping[str, str],
    folder: Path,
) -> int:
    """Measure on a running cluster, print and write the figures, and return the exit code."""
    for name in options.contenders:
        if lacking := contenders.missing(CONTENDERS[name]):
            progress.step(f"{name} is left out: {lacking} is not installed")
    report = Bench(options, progress).run(cluster, environ, folder)
    given = {
        name: str(value) if name == "pin" else value
        for name, value in vars(options).items()
        if name not in ("json", "plot", "write", "strict", "against")
    }
    document, tables = output.document(report, given), output.tables(report)
    print(tables)
    command_line.save_json(options.json, document)
    if options.plot:
        plot.write(options.plot, report)
    if options.write:
        plot.write(PLOT, report)
        page.write(PAGE, document, tables)
    return int(options.strict and not all(each.holds for each in expectations(report)))


def _main(options: argparse.Namespace) -> int:
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        Progress(1 + steps(options)) as progress,
    ):
        progress.step("starting Cassandra, its commit log synced every 10 s")
        with Cluster(Path(folder) / "cassandra", relaxed=True, heap_mb=1024) as cluster:
            environ = processes.variables(cluster, _KEYSPACE)
            return measure(options, progress, cluster, environ, Path(folder))


def main() -> int:
    options = parser(__doc__).parse_args()
    errors = (Failed, NotReady, store.NotStored, *START_ERRORS)
    return command_line.run("bench", lambda: _main(options), *errors)


if __name__ == "__main__":
    sys.exit(main())
