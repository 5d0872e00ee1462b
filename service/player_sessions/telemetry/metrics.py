"""The one register of metrics.

Every metric is a constant here, with help, unit and a closed set of label values, whose children
all exist from the start, so that a rate begins at 0 and no request can add a series.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate, product
from typing import TypeVar

from prometheus_client import REGISTRY as REGISTRY
from prometheus_client import Counter, Gauge, disable_created_metrics, generate_latest
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

from player_sessions import __version__
from player_sessions.events import BATCH_SIZE, EVENT_REASONS, INVALID_BATCH, INVALID_JSON

disable_created_metrics()  # type: ignore[no-untyped-call]

_PREFIX = "player_sessions_"
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_ROWS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
_LAGS = (1, 5, 30, 60, 300, 900, 3600, 6 * 3600, 86400, 7 * 86400, 30 * 86400, 365 * 86400)

ROUTES = (
    "POST /v1/events",
    "GET /v1/players/{player_id}/sessions",
    "POST /",
    "GET /",
    "other",
)
STATUSES = (200, 204, 400, 401, 403, 404, 405, 408, 413, 415, 422, 500, 503, "other")


class Tally:
    """One series of a histogram, for one thread: without prometheus-client's lock, a fifth of its
    time for each observation."""

    __slots__ = ("_bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self._bounds, value)] += 1
        self.sum += value


class Histogram(Collector):
    """All series of a histogram, by the value of its one label, or under "" without a label."""

    def __init__(self, name: str, text: str, bounds: Sequence[float], **labels: _Labels) -> None:
        self._name, self._text = name, text
        self._bounds = tuple(bounds)
        self._label = next(iter(labels), None)
        values = labels[self._label] if self._label else ("",)
        self._series = {value: Tally(self._bounds) for value in values}

    def labels(self, value: str = "") -> Tally:
        return self._series[value]

    def collect(self) -> Iterator[HistogramMetricFamily]:
        family = HistogramMetricFamily(
            self._name, self._text, labels=[self._label] if self._label else []
        )
        bounds = [*(f"{float(bound)}" for bound in self._bounds), "+Inf"]
        for value, tally in self._series.items():
            buckets = list(zip(bounds, accumulate(tally.counts), strict=True))
            family.add_metric([value] if self._label else [], buckets, tally.sum)
        yield family


_Labels = tuple[str, ...]
_Metric = TypeVar("_Metric", Counter, Gauge)
_units: dict[str, str] = {}


def _counter(name: str, unit: str, text: str, **labels: _Labels) -> Counter:
    return _register(Counter(_PREFIX + name, text, list(labels)), name, unit, labels)


def _gauge(name: str, unit: str, text: str, **labels: _Labels) -> Gauge:
    return _register(Gauge(_PREFIX + name, text, list(labels)), name, unit, labels)


def _histogram(
    name: str, unit: str, text: str, bounds: Sequence[float], **labels: _Labels
) -> Histogram:
    made = Histogram(_PREFIX + name, text, bounds, **labels)
    REGISTRY.register(made)
    _units[_PREFIX + name] = unit
    return made


def _register(metric: _Metric, name: str, unit: str, labels: dict[str, _Labels]) -> _Metric:
    """With its unit noted and all its children made."""
    _units[_PREFIX + name] = unit
    for values in product(*labels.values()) if labels else ():
        metric.labels(*values)
    return metric


# Requests.
REQUESTS = _counter(
    "requests",
    "requests",
    "Requests by route and status.",
    route=ROUTES,
    status=tuple(str(status) for status in STATUSES),
)
REQUEST_SECONDS = _histogram(
    "request_duration_seconds",
    "seconds",
    "From the request's head to the answer's end.",
    _SECONDS,
    route=ROUTES,
)
IN_FLIGHT = _gauge(
    "requests_in_flight",
    "requests",
    "Requests between head and answer.",
    operation=("write", "read"),
)
SHED = _counter(
    "shed",
    "requests",
    "Requests and connections answered with 503 to keep the others' latency, by reason.",
    reason=("overloaded", "queue-full", "too-many-reads", "too-many-connections", "not-ready"),
)
DENIED = _counter(
    "denied",
    "requests",
    "Requests without a valid key or scope.",
    reason=("unauthorized", "forbidden"),
)
CONNECTIONS = _gauge("connections", "connections", "Open HTTP connections.")
CUT = _counter(
    "connections_cut",
    "connections",
    "Connections that were closed on a client, by reason.",
    reason=("head-timeout", "body-timeout", "idle"),
)

# Events and batches.
EVENTS = _counter(
    "events",
    "events",
    "Events by kind and outcome: accepted, or discarded because older than the retention.",
    kind=("start", "end"),
    outcome=("accepted", "discarded"),
)
REFUSED = _counter(
    "refused",
    "batches",
    "Batches that were refused, once for each reason in them.",
    reason=(INVALID_JSON, INVALID_BATCH, BATCH_SIZE, *EVENT_REASONS),
)
BATCH_EVENTS = _histogram(
    "batch_events", "events", "Events in an accepted batch.", tuple(range(1, 11))
)
EVENT_LAG = _histogram("event_lag_seconds", "seconds", "Receipt minus the event's own time.", _LAGS)

# The writer.
GROUP_ROWS = _histogram("group_commit_rows", "rows", "Rows written by one group commit.", _ROWS)
QUEUED_ROWS = _gauge("queued_rows", "rows", "Rows that wait for a group commit.")
QUEUE_AGE = _gauge("queue_age_seconds", "seconds", "How long the oldest of them has waited.")

# Reads.
SESSIONS = _counter("sessions_returned", "sessions", "Sessions returned to readers.")
INCOMPLETE = _counter("incomplete_ends", "rows", "Ends met by readers whose start is not there.")
NEGATIVE = _counter(
    "negative_durations", "sessions", "Sessions listed whose end lies before their start."
)

# Cassandra, as the service sees it.
STORE_SECONDS = _histogram(
    "store_duration_seconds",
    "seconds",
    "From sending to Cassandra to its answer, by operation.",
    _SECONDS,
    operation=("write", "read"),
)
STORE_ERRORS = _counter(
    "store_errors",
    "requests",
    "Batches and queries that Cassandra failed, by reason.",
    reason=("store-unavailable", "store-timeout", "store-overloaded", "bug"),
)
STORE_EXTRA = _counter(
    "store_extra_requests",
    "requests",
    "Retries, speculation and splits.",
    kind=("retry", "speculation", "split"),
)
DRIVER_CONNECTIONS = _gauge("driver_connections", "connections", "Open connections to Cassandra.")
DRIVER_NODES = _gauge(
    "driver_nodes", "nodes", "Nodes of Cassandra, as the driver sees them.", state=("up", "down")
)
CLOCK_SKEW = _gauge(
    "clock_skew_seconds", "seconds", "The service's clock minus a Cassandra node's."
)

# The process.
BUILD = _gauge("build_info", "info", "Always 1; its label is the version.", version=(__version__,))
BUILD.labels(__version__).set(1)
READY = _gauge("ready", "0 or 1", "1 once started and not draining.")
DRAINING = _gauge("draining", "0 or 1", "1 from SIGTERM on.")
SCHEMA_VERSION = _gauge(
    "schema_version", "number", "Newest migration applied to the database; 0: not known."
)
SCHEMA_MISMATCH = _gauge("schema_mismatch", "0 or 1", "1 while the database's schema does not fit.")
STALLS = _counter("event_loop_stalls", "stalls", "Times the event loop was late by 100 ms or more.")
SPANS_DROPPED = _counter("spans_dropped", "spans", "Spans lost: the exporter was slow or failed.")
LINES_SUPPRESSED = _counter(
    "log_lines_suppressed", "lines", "Log lines left out: above their rate, or not writable."
)


def exposition() -> bytes:
    """All metrics in Prometheus' text form."""
    return generate_latest(REGISTRY)


def describe() -> list[tuple[str, str, str, str, str]]:
    """(name, kind, unit, labels, help) of every metric of ours."""
    rows = []
    for metric in REGISTRY.collect():
        if unit := _units.get(metric.name):
            name = metric.name + "_total" * (metric.type == "counter")
            labels = sorted({label for s in metric.samples for label in s.labels} - {"le"})
            rows.append((name, metric.type, unit, ", ".join(labels), metric.documentation))
    return sorted(rows)
