"""Compare compressors of the tables: bytes on disk, and what compaction and reads cost Cassandra.

The same events lie in one keyspace for each compressor, on one node. In each round, Cassandra
writes all SSTables anew, as a compaction does, and the service reads one player's 20 sessions over
and over. Cassandra keeps no decompressed chunks by default, so each read decompresses.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from dev.cluster import Cluster
from loadtest import dataset
from loadtest.bench import processes, store
from loadtest.bench.contenders import CONTENDERS
from loadtest.bench.processes import Running
from loadtest.capacity.measure import (
    TABLES,
    Say,
    cpu_of,
    environ_of,
    idle_cores,
    import_events,
    size_on_disk,
    window,
)

COMPRESSORS = {
    "LZ4, 16 KiB (Cassandra's default)": ("LZ4Compressor", 16),
    "Zstd, 16 KiB": ("ZstdCompressor", 16),
    "Zstd, 64 KiB": ("ZstdCompressor", 64),
}
_PLAYER_SESSIONS = 20


class Compressed(NamedTuple):
    """What one compressor made of the events; the lists have one figure for each round.

    compaction: µs of Cassandra per event. reads: µs of Cassandra per read of 20 sessions.
    """

    name: str
    bytes_per_event: float
    compaction: list[float]
    reads: list[float]


class _Keyspace(NamedTuple):
    name: str
    service: Running
    player: str


def measure(folder: Path, options: Any, say: Say) -> list[Compressed]:
    """Measure every compressor; raise measure.Failed."""
    arguments = ["--sessions", str(options.sessions), "--days", "84", "--unfinished", "0"]
    events = dataset.events(dataset.parser().parse_args(arguments))
    count = len(events) + 2 * _PLAYER_SESSIONS
    with Cluster(folder / "node", relaxed=True) as cluster, ExitStack() as services:
        made = {}
        for name, compressor in COMPRESSORS.items():
            say(f"importing {len(events):,} events: {name}")
            made[name] = _keyspace(cluster, services, compressor, events)
        idle = idle_cores(cluster)
        measured = {
            name: Compressed(name, size_on_disk(cluster, keyspace.name) / count, [], [])
            for name, keyspace in made.items()
        }
        for number in range(options.rounds + 1):
            for name, keyspace in made.items():
                compaction = 1e6 * _rewrite(cluster, keyspace, idle) / count
                load = window(cluster, keyspace.service, options.seconds, 0, keyspace.player)
                read = 1e6 * (load.cassandra_cpu - idle * load.seconds) / load.requests
                say(f"  {name}: compaction {compaction:.2f} µs/event, {read:.0f} µs/read")
                if number:  # the first round lets Java compile its hot code
                    measured[name].compaction.append(compaction)
                    measured[name].reads.append(read)
        return list(measured.values())


def _keyspace(
    cluster: Cluster, services: ExitStack, compressor: tuple[str, int], events: list[dict[str, Any]]
) -> _Keyspace:
    kind, chunk = compressor
    name = f"disk_{kind}_{chunk}".lower()
    environ = environ_of(cluster, name, 1)
    with store.opened(environ) as session:
        for table in TABLES:
            session.execute(
                f"ALTER TABLE {table} WITH compression ="
                f" {{'class': '{kind}', 'chunk_length_in_kb': {chunk}}}"
            )
        player = store.write_player(session, _PLAYER_SESSIONS)
        import_events(cluster, environ, events, 0)
    cluster.nodetool("compact", name)
    service = services.enter_context(
        processes.running(CONTENDERS["service"], environ, cluster.folder)
    )
    return _Keyspace(name, service, player)


def _rewrite(cluster: Cluster, keyspace: _Keyspace, idle: float) -> float:
    """Write all SSTables of a keyspace anew; return the processor time (s) of Cassandra for it."""
    (before,), begun = cpu_of(cluster), time.monotonic()
    cluster.nodetool("upgradesstables", "--include-all-sstables", keyspace.name, *TABLES)
    (after,) = cpu_of(cluster)
    return after - before - idle * (time.monotonic() - begun)


def table(measured: Sequence[Compressed]) -> str:
    """Return the figures as a table: medians, and the least and most of the rounds."""
    lines = [
        "| compressor | bytes/event | compaction, µs/event | Cassandra µs/read |",
        "|---|---|---|---|",
    ]
    for each in measured:
        compaction, reads = _spread(each.compaction, ".2f"), _spread(each.reads, ".0f")
        lines.append(f"| {each.name} | {each.bytes_per_event:.1f} | {compaction} | {reads} |")
    return "\n".join(lines) + "\n"


def _spread(figures: Sequence[float], form: str) -> str:
    median, least, most = statistics.median(figures), min(figures), max(figures)
    return f"{median:{form}} ({least:{form}} to {most:{form}})"
