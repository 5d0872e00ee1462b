"""How many pods, nodes and disks carry a number of events per second: from what was measured.

plan: the calculator, its assumptions printed. check: what the model predicts beside what was
measured. measure: measure anew on this machine, which writes loadtest/capacity/measured.json.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from loadtest.capacity.model import Demand, Measured, Model, Plan, kept_days, plan

FILE = Path(__file__).parent / "measured.json"
PAGE = Path(__file__).parent.parent.parent / "docs" / "capacity.md"
_BEGIN, _END = "<!-- capacity:begin -->\n", "<!-- capacity:end -->\n"
_EXAMPLES = (10_000.0, 100_000.0, 1_000_000.0)
_FLAGS = {
    "events_per_second": "at the peak",
    "replication": "replication factor",
    "batch": "events of a request, on average",
    "reads_per_second": "of 20 sessions, at the peak",
    "peak_to_mean": "the peak's rate to the mean, which fills the disks",
    "retention_days": "how long an event is kept",
    "shuffled": "share of events that come shuffled over the retention, such as imports",
    "events_per_player_day": "of an active player: more share a partition",
    "utilisation": "of processors at the peak, so that a node or a zone may fail",
    "machine": "how fast a core is, to one of the machine measured on",
    "node_cores": "of a Cassandra node",
    "node_disk_tb": "of a Cassandra node",
    "disk_full": "share of a disk that data may fill; compaction needs the rest",
    "pod_cores": "of a service pod: one process uses about one",
}


def said(measured: Measured, demand: Demand, made: Plan) -> str:
    """The plan with its assumptions and what drives its cost."""
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
    """Predicted beside measured, as a table; rows that the model was not made from say so."""
    model = Model(measured)
    lines = [
        "| nodes | RF | batch | events/s | service µs/event | predicted | off"
        " | Cassandra µs/event | predicted | off | the model |",
        "|" + "---|" * 11,
    ]
    for run in measured.runs:
        service, cassandra = model.predict(run.nodes, run.replication, run.batch)
        known = run.nodes in (1, 3) and run.batch in (1, 10)
        lines.append(
            f"| {run.nodes} | {run.replication} | {run.batch} | {run.events_per_second:,.0f}"
            f" | {run.service_us:.1f} | {service:.1f} | {_off(service, run.service_us)}"
            f" | {run.cassandra_us:.1f} | {cassandra:.1f} | {_off(cassandra, run.cassandra_us)}"
            f" | {'was made from it' if known else 'did not know it'} |"
        )
    return "\n".join(lines)


def _off(predicted: float, measured: float) -> str:
    return f"{predicted / measured - 1:+.0%}"


def tables(measured: Measured) -> str:
    """What docs/capacity.md shows of the data file."""
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
        "What the calculator says with its own assumptions:",
        "",
        "| events/s at the peak | shuffled | pods | nodes | for processors | for disks | TB |",
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


def write_page(page: Path, measured: Measured) -> None:
    before, begin, rest = page.read_text().partition(_BEGIN)
    _, end, after = rest.partition(_END)
    page.write_text(before + begin + tables(measured) + end + after)


def _positive(text: str) -> float:
    value = float(text)
    if value <= 0:
        raise argparse.ArgumentTypeError("must be above 0")
    return value


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m loadtest.capacity",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: python -m loadtest.capacity plan --events-per-second 1000000",
    )
    made.add_argument("--data", type=Path, default=FILE, help="the data file")
    commands = made.add_subparsers(dest="do", required=True)
    planning = commands.add_parser(
        "plan",
        help="pods, nodes and disks",
        epilog="example: python -m loadtest.capacity plan --events-per-second 50000"
        " --replication 3 --shuffled 0.1",
    )
    defaults = Demand(events_per_second=1)
    for name, text in _FLAGS.items():
        default = getattr(defaults, name)
        flag, required = "--" + name.replace("_", "-"), name == "events_per_second"
        zero = name in ("shuffled", "reads_per_second")
        kind: Any = int if isinstance(default, int) and not required else _positive
        planning.add_argument(
            flag,
            type=float if zero else kind,
            default=None if required else default,
            required=required,
            help=text if required else f"{text} ({default:g})",
        )
    check = "example: python -m loadtest.capacity check --write"
    checking = commands.add_parser("check", help="predicted beside measured", epilog=check)
    checking.add_argument("--write", action="store_true", help="also into docs/capacity.md")
    measuring = commands.add_parser(
        "measure",
        help="measure anew; takes minutes",
        epilog="example: python -m loadtest.capacity measure --rounds 3",
    )
    measuring.add_argument("--rounds", type=int, default=3, help="medians over (%(default)s)")
    measuring.add_argument("--seconds", type=_positive, default=3.0, help="each (%(default)s)")
    measuring.add_argument(
        "--warm-up", type=int, default=60_000, help="events before anything counts (%(default)s)"
    )
    measuring.add_argument(
        "--disk-sessions", type=int, default=60_000, help="imported twice (%(default)s)"
    )
    return made


def main() -> int:
    options = parser().parse_args()
    if options.do == "measure":
        return _measure(options)
    try:
        measured = msgspec.json.decode(options.data.read_bytes(), type=Measured)
    except (OSError, msgspec.DecodeError) as error:
        print(f"capacity: {options.data}: {error}; `measure` writes it", file=sys.stderr)
        return 2
    if options.do == "check":
        print(tables(measured), end="")
        if options.write:
            write_page(PAGE, measured)
        return 0
    demand = Demand(**{name: getattr(options, name) for name in _FLAGS})
    print(said(measured, demand, plan(Model(measured), demand)))
    return 0


def _measure(options: argparse.Namespace) -> int:
    from loadtest.capacity import measure  # needs the service and a Java, the calculator does not

    words = [each for each in sys.argv[1:] if each != str(options.data)]
    options.command = shlex.join(["python", "-m", "loadtest.capacity", *words])

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    try:
        with tempfile.TemporaryDirectory(prefix="capacity-") as folder:
            measured = measure.measure(Path(folder), options, say)
    except KeyboardInterrupt:
        say("capacity: stopped")
        return 130
    except (measure.Failed, *measure.FAULTS) as error:
        print(f"capacity: {error}", file=sys.stderr)
        return 2
    options.data.write_bytes(msgspec.json.format(msgspec.json.encode(measured)) + b"\n")
    print(tables(measured), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
