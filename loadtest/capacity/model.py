"""Calculate pods, nodes and disks from measurements; every assumption is a field."""

from __future__ import annotations

import math
from typing import NamedTuple

import msgspec

DAY = 86_400.0


class Run(msgspec.Struct, frozen=True):
    """Processor time of one cluster under batches of one size; medians over the rounds."""

    nodes: int
    replication: int
    batch: int
    events_per_second: float
    service_us: float  # per event
    cassandra_us: float  # per event, all nodes together


class Reads(msgspec.Struct, frozen=True):
    """Processor time of one cluster under reads of 20 sessions."""

    nodes: int
    replication: int
    reads_per_second: float
    service_us: float
    cassandra_us: float


class Disk(msgspec.Struct, frozen=True):
    """One replica after flush and compaction; a partition is one player in an SSTable."""

    order: str  # sorted, shuffled
    events: int
    sstables: int
    events_per_partition: float
    bytes_per_event: float


class Measured(msgspec.Struct, frozen=True):
    """The data file that `measure` writes."""

    date: str
    command: str
    machine: dict[str, str]
    runs: list[Run]
    reads: list[Reads]
    disks: list[Disk]


class Cost(NamedTuple):
    """Processor time in µs."""

    request: float
    event: float

    def of(self, batch: float) -> float:
        """Return the µs per event in batches of `batch` events on average."""
        return self.request / batch + self.event


def fit(one: float, ten: float) -> Cost:
    """Return the cost from µs per event at 1 and at 10 events per request."""
    request = max(0.0, (one - ten) / 0.9)
    return Cost(request, max(0.0, one - request))


def _between(costs: list[Cost], replication: int) -> Cost:
    """Return the cost on the line through the costs at RF 1 and RF 3."""
    steps = (replication - 1) / 2
    pairs = zip(*costs, strict=True)
    return Cost(*(max(0.0, one + (other - one) * steps) for one, other in pairs))


class Model:
    """Predicts other sizes from measurements of 1 node (RF 1) and 3 nodes (RF 3)."""

    def __init__(self, measured: Measured) -> None:
        self.measured = measured
        runs = {(run.nodes, run.batch): run for run in measured.runs}
        self._service, self._cassandra = (
            [fit(getattr(runs[n, 1], of), getattr(runs[n, 10], of)) for n in (1, 3)]
            for of in ("service_us", "cassandra_us")
        )
        reads = {each.nodes: each for each in measured.reads}
        self.read_service = (reads[1].service_us + reads[3].service_us) / 2
        self._reads = {n: reads[n].cassandra_us for n in (1, 3)}

    def service(self, replication: int) -> Cost:
        """Return the cost in the service, on a line through RF 1 and RF 3.

        A slower quorum leads to smaller group commits and more wake-ups.
        """
        return _between(self._service, replication)

    def cassandra(self, replication: int) -> Cost:
        """Return the cost in all nodes together, on a line through RF 1 and RF 3."""
        return _between(self._cassandra, replication)

    def read_cassandra(self, replication: int) -> float:
        return self._reads[1] + (self._reads[3] - self._reads[1]) * (replication - 1) / 2

    def bytes_per_event(self, events_per_partition: float) -> float:
        """Return the bytes of a row and its share of a partition, on a measured line."""
        few, many = sorted(self.measured.disks, key=lambda disk: disk.events_per_partition)
        less, more = 1 / many.events_per_partition, 1 / few.events_per_partition
        partition = (few.bytes_per_event - many.bytes_per_event) / (more - less)
        row = many.bytes_per_event - partition * less
        return row + partition / events_per_partition

    def predict(self, nodes: int, replication: int, batch: int) -> tuple[float, float]:
        """Return µs per event in the service and in Cassandra; more nodes only spread the work."""
        del nodes
        return self.service(replication).of(batch), self.cassandra(replication).of(batch)


class Demand(msgspec.Struct, frozen=True, kw_only=True):
    """The demand and the assumptions of a plan; the calculator prints all of them."""

    events_per_second: float  # at the peak
    replication: int = 3
    batch: float = 5.5
    reads_per_second: float = 0.0
    peak_to_mean: float = 1.6
    retention_days: float = 365.0
    shuffled: float = 0.0
    events_per_player_day: float = 4.0
    utilisation: float = 0.5
    machine: float = 1.0
    node_cores: int = 8
    node_disk_tb: float = 2.0
    disk_full: float = 0.6
    pod_cores: float = 1.0


class Plan(NamedTuple):
    service_cores: float  # busy at the peak
    cassandra_cores: float
    pods: int
    nodes: int
    nodes_for_cpu: int
    nodes_for_disk: int
    bytes_per_event: float
    disk_tb: float  # all replicas, at the end of the first retention
    ingress_mb_s: float
    events_stored: float


_JSON_BYTES = 190  # one event in a request's body
_HEAD_BYTES = 250  # a request's head


def kept_days(demand: Demand) -> float:
    """Return for how many days an event takes up disk.

    TWCS drops whole windows, gc_grace_seconds later. Shuffled data that were flushed together are
    in one SSTable, which stays until its newest row has expired.
    """
    retention = demand.retention_days
    overhang = retention / 26 + min(10.0, retention / 36)
    return overhang + retention * (1 + demand.shuffled)


def plan(model: Model, demand: Demand) -> Plan:
    """Return the pods, nodes and disks that carry the demand."""
    rate, reads = demand.events_per_second, demand.reads_per_second
    service_us = (
        rate * model.service(demand.replication).of(demand.batch) + reads * model.read_service
    )
    cassandra_us = rate * model.cassandra(demand.replication).of(demand.batch)
    cassandra_us += reads * model.read_cassandra(demand.replication)
    service, cassandra = (us / 1e6 / demand.machine for us in (service_us, cassandra_us))
    window_days = math.ceil(demand.retention_days / 26)
    bytes_per_event = model.bytes_per_event(demand.events_per_player_day * window_days)
    stored = rate / demand.peak_to_mean * kept_days(demand) * DAY
    disk_tb = stored * bytes_per_event * demand.replication / 1e12
    for_cpu = math.ceil(cassandra / (demand.utilisation * demand.node_cores))
    for_disk = math.ceil(disk_tb / (demand.node_disk_tb * demand.disk_full))
    return Plan(
        service_cores=service,
        cassandra_cores=cassandra,
        pods=max(2, math.ceil(service / (demand.utilisation * demand.pod_cores)) + 1),
        nodes=max(demand.replication, for_cpu, for_disk),
        nodes_for_cpu=for_cpu,
        nodes_for_disk=for_disk,
        bytes_per_event=bytes_per_event,
        disk_tb=disk_tb,
        ingress_mb_s=rate * (_JSON_BYTES + _HEAD_BYTES / demand.batch) / 1e6,
        events_stored=stored,
    )
