"""Measure what the calculator needs: 1, 3 and 5 nodes of dev/cluster.py in turn, then the disk.

The load is the bench's generator in a closed loop of few connections: batches of 1, 5 and 10
events, and reads of 20 sessions. Nodes sync their commit log periodically, as in production.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from cassandra import DriverException

from dev.cluster import Cluster, NodeFailed
from dev.service import PREFIX
from dev.toolchain import MissingTool
from loadtest import dataset
from loadtest.bench import processes, store
from loadtest.bench.contenders import CONTENDERS, ROOT
from loadtest.bench.generator import Job, cpu_seconds
from loadtest.bench.generator import Measured as Window
from loadtest.bench.processes import Running
from loadtest.capacity.model import Disk, Measured, Reads, Run
from loadtest.page import machine

SIZES = ((1, 1), (3, 3), (5, 3))  # nodes, replication factor
BATCHES = (1, 5, 10)
_KEYSPACE = "capacity"
_CONNECTIONS = 8
_WARM_UP = 1.0
_IDLE_SECONDS = 4.0
_DISK_DAYS = 84  # six windows of a year's retention
_WINDOW_DAYS = 14
_COMPACTION_SECONDS = 60
TABLES = ("session_starts", "session_ends")  # the ones whose rows are kept for the retention

Say = Callable[[str], None]


ERRORS = (processes.NotReady, NodeFailed, MissingTool, OSError, DriverException)


class Failed(Exception):
    """No figure can be measured; the message says why."""


def measure(folder: Path, options: Any, say: Say) -> Measured:
    """Measure everything; raise Failed."""
    load_average = f"{os.getloadavg()[0]:.1f}"
    runs: list[Run] = []
    reads: list[Reads] = []
    disks: list[Disk] = []
    for nodes, replication in SIZES:
        say(f"{nodes} nodes, replication factor {replication}")
        cluster = Cluster(folder / f"nodes{nodes}", nodes=nodes, relaxed=True)
        with cluster:
            _size(cluster, replication, options, say, runs, reads)
            if nodes == 1:
                disks = _disks(cluster, options, say)
        cluster.wipe()
    return Measured(
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
        command=options.command,
        machine=machine() | {"load average at the start": load_average},
        runs=runs,
        reads=reads,
        disks=disks,
    )


def environ_of(cluster: Cluster, keyspace: str, replication: int) -> dict[str, str]:
    """Return the variables of a service that uses this keyspace."""
    made = processes.variables(cluster, keyspace)
    return made | {f"{PREFIX}REPLICATION": f"dc1:{replication}"}


def _size(
    cluster: Cluster, replication: int, options: Any, say: Say, runs: list[Run], reads: list[Reads]
) -> None:
    environ = environ_of(cluster, _KEYSPACE, replication)
    with (
        store.opened(environ) as session,
        processes.running(CONTENDERS["service"], environ, cluster.folder) as service,
    ):
        player = store.write_player(session, 20)
        warmed = 0
        while warmed < options.warm_up:  # let Java compile its hot code first
            warmed += 10 * window(cluster, service, options.seconds, 10).requests
        idle = idle_cores(cluster)
        say(f"  warm after {warmed:,} events; idle, all nodes: {idle:.2f} cores")
        for batch in BATCHES:
            windows = [
                window(cluster, service, options.seconds, batch) for _ in range(options.rounds)
            ]
            rate, *us = _medians(windows, batch, idle)
            runs.append(Run(cluster.nodes, replication, batch, rate, *us))
            say(f"  batches of {batch}: {rate:,.0f} events/s, {us[0]:.1f} + {us[1]:.1f} µs/event")
        windows = [
            window(cluster, service, options.seconds, 0, player) for _ in range(options.rounds)
        ]
        rate, *us = _medians(windows, 1, idle)
        reads.append(Reads(cluster.nodes, replication, rate, *us))
        say(f"  reads: {rate:,.0f}/s, {us[0]:.0f} + {us[1]:.0f} µs/read")


def idle_cores(cluster: Cluster) -> float:
    """Return how many cores all nodes together use for themselves, such as for gossip."""
    before = cpu_of(cluster)
    time.sleep(_IDLE_SECONDS)
    return sum(cpu_of(cluster)) / _IDLE_SECONDS - sum(before) / _IDLE_SECONDS


def cpu_of(cluster: Cluster) -> list[float]:
    """Return the processor time (s) that each node has used."""
    return [cpu_seconds(cluster.pid(node)) for node in range(1, cluster.nodes + 1)]


def _medians(windows: list[Window], units: int, idle: float) -> list[float]:
    """Return units per second, and µs per unit of the service and of the nodes beyond idling."""
    figures = [
        (
            each.requests * units / each.seconds,
            1e6 * each.server_cpu / each.requests / units,
            1e6 * (each.cassandra_cpu - idle * each.seconds) / each.requests / units,
        )
        for each in windows
    ]
    return [round(statistics.median(values), 3) for values in zip(*figures, strict=True)]


def window(
    cluster: Cluster, service: Running, seconds: float, batch: int, player: str = ""
) -> Window:
    """Measure one window.

    The generator watches one node; the share of the other nodes is the same in all measurements.
    """
    contender = service.contender
    job = Job(
        port=service.port,
        server=service.pid,
        cassandra=cluster.pid(1),
        connections=_CONNECTIONS,
        warm_up=_WARM_UP,
        seconds=seconds,
        read=contender.read_request(player) if player else "",
        path=contender.write[0],
        key=contender.write[1],
        batch=batch,
        requests=0 if player else round((_WARM_UP + seconds) * 3000),
    )
    before = cpu_of(cluster)
    done = subprocess.run(
        [sys.executable, "-m", "loadtest.bench.generator"],
        cwd=ROOT, input=msgspec.json.encode(job), capture_output=True,
    )  # fmt: skip
    if done.returncode:
        raise Failed(done.stderr.decode(errors="replace"))
    used = [now - earlier for now, earlier in zip(cpu_of(cluster), before, strict=True)]
    window = msgspec.json.decode(done.stdout, type=Window)
    window.cassandra_cpu *= sum(used) / used[0]
    return window


def _disks(cluster: Cluster, options: Any, say: Say) -> list[Disk]:
    """Import the same events window by window, and shuffled over all windows."""
    arguments = ["--sessions", str(options.disk_sessions), "--days", str(_DISK_DAYS)]
    arguments += ["--players", str(max(1, options.disk_sessions // 60)), "--unfinished", "0"]
    events = dataset.events(dataset.parser().parse_args(arguments))
    made = []
    for order in ("sorted", "shuffled"):
        keyspace = f"disk_{order}"
        environ = environ_of(cluster, keyspace, 1)
        with store.opened(environ):
            parts = list(_parts(events)) if order == "sorted" else [events]
            for number, part in enumerate(parts):
                import_events(cluster, environ, part, number)
        made.append(_disk(cluster, keyspace, order, events, len(parts)))
        say(f"  {order}: {made[-1].bytes_per_event:.1f} bytes/event, {made[-1].sstables} SSTables")
    return made


def _parts(events: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Yield the events of one TWCS window after another, by their own time."""
    windows = defaultdict(list)
    for event in events:
        windows[_window_of(event)].append(event)
    for number in sorted(windows):
        yield windows[number]


def _window_of(event: dict[str, Any]) -> int:
    at = datetime.fromisoformat(event["ts"]).replace(tzinfo=UTC)
    return int(at.timestamp() // (_WINDOW_DAYS * 86_400))


def import_events(
    cluster: Cluster, environ: dict[str, str], part: list[dict[str, Any]], n: int
) -> None:
    """Import the events with `player-sessions import`, then flush them to disk."""
    file = cluster.folder / f"part{n}.jsonl"
    file.write_text("".join(json.dumps(event) + "\n" for event in part))
    done = subprocess.run(
        [Path(sys.executable).parent / "player-sessions", "import", str(file)],
        env=environ, cwd=cluster.folder, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        raise Failed(done.stderr)
    store.flush(cluster)


def _disk(
    cluster: Cluster, keyspace: str, order: str, events: list[dict[str, Any]], windows: int
) -> Disk:
    if order == "shuffled":
        cluster.nodetool("compact", keyspace)
    until = time.monotonic() + _COMPACTION_SECONDS
    most = len(TABLES) * windows
    while len(data_files(cluster, keyspace)) > most and time.monotonic() < until:
        time.sleep(1)  # until TWCS has compacted each past window to one SSTable per table
    return Disk(
        order=order,
        events=len(events),
        sstables=len(data_files(cluster, keyspace)),
        events_per_partition=round(_per_partition(events, windows), 3),
        bytes_per_event=round(size_on_disk(cluster, keyspace) / len(events), 2),
    )


def data_files(cluster: Cluster, keyspace: str) -> list[Path]:
    """Return the data files of `TABLES` on the first node."""
    folder = cluster.folder / "node1" / "data" / keyspace
    return [file for table in TABLES for file in folder.glob(f"{table}-*/*-Data.db")]


def size_on_disk(cluster: Cluster, keyspace: str) -> int:
    """Return the bytes of `TABLES` on the first node: data, indexes and filters."""
    folders = {file.parent for file in data_files(cluster, keyspace)}
    files = (file for folder in folders for file in folder.iterdir())
    return sum(file.stat().st_size for file in files if file.is_file())


def _per_partition(events: list[dict[str, Any]], windows: int) -> float:
    """Return the events of a player in an SSTable, averaged over both tables."""
    partitions = {
        (event["player_id"], event["event"], _window_of(event) if windows > 1 else 0)
        for event in events
    }
    return len(events) / len(partitions)
