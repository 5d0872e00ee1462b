"""Calculate from measurements how many pods, nodes and disks carry a number of events per second.

plan: print the calculation and its assumptions. check: print what the model predicts beside what
was measured. measure: measure again on this machine and write loadtest/capacity/measured.json.
compression: compare compressors of the tables.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from loadtest import command_line
from loadtest.capacity.model import Demand, Measured, Model, Plan, kept_days, plan
from loadtest.command_line import count, positive

FILE = Path(__file__).parent / "measured.json"
PAGE = Path(__file__).parent.parent.parent / "docs" / "capacity.md"
_EXAMPLES = (10_000.0, 100_000.0, 1_000_000.0)
_FLAGS = {
    "events_per_second": "events per second at the peak",
    "replication": "replication factor",
    "batch": "events in a request, on average",
    "reads_per_second": "reads of 20 sessions per second at the peak",
    "peak_to_mean": "ratio of the peak rate to the mean rate, which fills the disks",
    "retention_days": "how long an event is kept",
    "shuffled": "share of events that arrive shuffled over the retention, as imports do",
    "events_per_player_day": "events of an active player per day; they share partitions",
    "utilisation": "share of processors in use at the peak; the rest covers a failed node or zone",
    "machine": "speed of a core, relative to the machine that was measured",
    "node_cores": "cores of a Cassandra node",
    "node_disk_tb": "disk of a Cassandra node in TB",
    "disk_full": "share of a disk that data may fill; compaction needs the rest",
    "pod_cores": "cores of a service pod; one process uses about one",
}


def said(measured: Measured, demand: Demand, made: Plan) -> str:
    """Return the plan as text, with its assumptions and what its cost depends on."""
    lines = ["assumptions:"]
    for name, text in _FLAGS.items():
        lines.append(f"  {'--' + name.replace('_', '-'):26}{getattr(demand, name):>12,g}  {text}")
    on = measured.machine
    lines += [
        f"  measured {measured.date} on {on['processor']}, {on['cores']} cores shared by load,"
        " service and Cassandra",
        f"  an event takes up disk for {kept_days(demand):.0f} days: retention, TWCS window,"
        " gc_grace; shuffled ones twice the retention",
        "",
        f"service:    {made.pods:,} pods ({made.service_cores:,.1f} cores busy at the peak,"
        " one pod to spare)",
        f"Cassandra:  {made.nodes:,} nodes ({made.cassandra_cores:,.1f} cores busy at the peak);"
        f" {made.nodes_for_cpu:,} for processors, {made.nodes_for_disk:,} for disks,"
        f" at least {demand.replication}",
        f"disk:       {made.disk_tb:,.2f} TB of data: {made.events_stored:,.0f} events,"
        f" {made.bytes_per_event:.0f} bytes each, {demand.replication} times",
        f"network:    {made.ingress_mb_s:,.1f} MB/s of requests without TLS",
        f"cost driver: {driver(demand, made)}",
    ]
    return "\n".join(lines)


def driver(demand: Demand, made: Plan) -> str:
    if made.nodes_for_disk > max(made.nodes_for_cpu, demand.replication):
        return "Cassandra's disks: larger ones, a shorter retention or sorted imports help"
    if made.nodes_for_cpu > demand.replication:
        return "Cassandra's processors: larger batches help most, then faster cores"
    return "the replication factor: the smallest cluster carries this"


def checked(measured: Measured) -> str:
    """Return predicted and measured figures as a table that also says which rows were fitted."""
    model = Model(measured)
    lines = [
        "| nodes | RF | batch | events/s | service µs/event | predicted | difference"
        " | Cassandra µs/event | predicted | difference | in the model |",
        "|" + "---|" * 11,
    ]
    for run in measured.runs:
        service, cassandra = model.predict(run.nodes, run.replication, run.batch)
        known = run.nodes in (1, 3) and run.batch in (1, 10)
        lines.append(
            f"| {run.nodes} | {run.replication} | {run.batch} | {run.events_per_second:,.0f}"
            f" | {run.service_us:.1f} | {service:.1f} | {_difference(service, run.service_us)}"
            f" | {run.cassandra_us:.1f} | {cassandra:.1f}"
            f" | {_difference(cassandra, run.cassandra_us)}"
            f" | {'fitted' if known else 'predicted'} |"
        )
    return "\n".join(lines)


def _difference(predicted: float, measured: float) -> str:
    return f"{predicted / measured - 1:+.0%}"


def tables(measured: Measured) -> str:
    """Return what docs/capacity.md shows of the data file."""
    model = Model(measured)
    machine = ", ".join(f"{name} {value}" for name, value in measured.machine.items())
    lines = [
        f"Measured {measured.date} with `{measured.command}` on: {machine}.",
        "",
        checked(measured),
        "",
        "| nodes | RF | reads/s | service µs/read | Cassandra µs/read |",
        "|---|---|---|---|---|",
        *(
            f"| {r.nodes} | {r.replication} | {r.reads_per_second:,.0f} | {r.service_us:,.0f}"
            f" | {r.cassandra_us:,.0f} |"
            for r in measured.reads
        ),
        "",
        "| data | events | SSTables | events per partition | bytes/event, one replica |",
        "|---|---|---|---|---|",
        *(
            f"| {d.order} | {d.events:,} | {d.sstables} | {d.events_per_partition:.1f}"
            f" | {d.bytes_per_event:.1f} |"
            for d in measured.disks
        ),
        "",
        "Plans with the calculator's default assumptions:",
        "",
        "| events/s at the peak | shuffled | pods | nodes"
        " | nodes for processors | nodes for disks | TB |",
        "|---|---|---|---|---|---|---|",
    ]
    for rate in _EXAMPLES:
        for shuffled in (0.0, 0.2):
            made = plan(model, Demand(events_per_second=rate, shuffled=shuffled))
            lines.append(
                f"| {rate:,.0f} | {shuffled:.0%} | {made.pods:,} | {made.nodes:,}"
                f" | {made.nodes_for_cpu:,} | {made.nodes_for_disk:,} | {made.disk_tb:,.1f} |"
            )
    return "\n".join(lines) + "\n"


def _add_plan(commands: Any) -> None:
    planning = commands.add_parser(
        "plan",
        help="calculate pods, nodes and disks",
        epilog="Example: python -m loadtest.capacity plan --events-per-second 50000"
        " --replication 3 --shuffled 0.1",
    )
    defaults = Demand(events_per_second=1)
    for name, text in _FLAGS.items():
        default = getattr(defaults, name)
        flag, required = "--" + name.replace("_", "-"), name == "events_per_second"
        zero = name in ("shuffled", "reads_per_second")
        kind: Any = int if isinstance(default, int) and not required else positive
        planning.add_argument(
            flag,
            type=float if zero else kind,
            default=None if required else default,
            required=required,
            help=text if required else f"{text} ({default:g})",
        )


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m loadtest.capacity",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Example: python -m loadtest.capacity plan --events-per-second 1000000",
    )
    made.add_argument(
        "--data", type=Path, default=FILE, help="file of the measurements (%(default)s)"
    )
    commands = made.add_subparsers(dest="do", required=True)
    _add_plan(commands)
    check = "Example: python -m loadtest.capacity check --write"
    checking = commands.add_parser(
        "check", help="compare predictions with measurements", epilog=check
    )
    checking.add_argument(
        "--write", action="store_true", help="write the tables into docs/capacity.md"
    )
    measuring = commands.add_parser(
        "measure",
        help="measure again; takes minutes",
        epilog="Example: python -m loadtest.capacity measure --rounds 3",
    )
    measuring.add_argument(
        "--rounds", type=int, default=3, help="rounds of which medians are taken (%(default)s)"
    )
    measuring.add_argument(
        "--seconds", type=positive, default=3.0, help="length of each measurement (%(default)s)"
    )
    measuring.add_argument(
        "--warm-up", type=int, default=60_000, help="events before anything counts (%(default)s)"
    )
    measuring.add_argument(
        "--disk-sessions",
        type=int,
        default=60_000,
        help="sessions to import in each order (%(default)s)",
    )
    _add_compression(commands)
    return made


def _add_compression(commands: Any) -> None:
    comparing = commands.add_parser(
        "compression",
        help="compare compressors of the tables; takes minutes",
        epilog="Example: python -m loadtest.capacity compression --rounds 5",
    )
    comparing.add_argument(
        "--rounds", type=count, default=5, help="rounds that count (%(default)s)"
    )
    comparing.add_argument(
        "--seconds", type=positive, default=3.0, help="length of each load of reads (%(default)s)"
    )
    comparing.add_argument(
        "--sessions", type=count, default=60_000, help="sessions to import (%(default)s)"
    )


def main() -> int:
    options = parser().parse_args()
    if options.do == "measure":
        return _measure(options)
    if options.do == "compression":
        return _compression(options)
    try:
        measured = msgspec.json.decode(options.data.read_bytes(), type=Measured)
    except (OSError, msgspec.DecodeError) as error:
        print(f"capacity: {options.data}: {error}; `measure` writes it", file=sys.stderr)
        return 2
    if options.do == "check":
        print(tables(measured), end="")
        if options.write:
            from loadtest import page  # imported here because it needs Java; `plan` does not

            page.replace(PAGE, "capacity", tables(measured))
        return 0
    demand = Demand(**{name: getattr(options, name) for name in _FLAGS})
    print(said(measured, demand, plan(Model(measured), demand)))
    return 0


def _measure(options: argparse.Namespace) -> int:
    from loadtest.capacity import measure  # it needs the service and Java; `plan` does not

    words = [each for each in sys.argv[1:] if each != str(options.data)]
    options.command = shlex.join(["python", "-m", "loadtest.capacity", *words])

    def work(folder: Path) -> str:
        measured = measure.measure(folder, options, command_line.say)
        command_line.save_json(options.data, measured)
        return tables(measured)

    return _printed(work)


def _compression(options: argparse.Namespace) -> int:
    from loadtest.capacity import compression  # see _measure

    return _printed(
        lambda folder: compression.table(compression.measure(folder, options, command_line.say))
    )


def _printed(work: Callable[[Path], str]) -> int:
    """Print what `work` measures in a folder of its own; return the exit code."""
    from loadtest.capacity import measure  # see _measure

    def run() -> int:
        with tempfile.TemporaryDirectory(prefix="capacity-") as folder:
            print(work(Path(folder)), end="")
        return 0

    return command_line.run("capacity", run, measure.Failed, *measure.ERRORS)


if __name__ == "__main__":
    sys.exit(main())
