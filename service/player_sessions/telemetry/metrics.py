"""The one register of metrics.

Every metric is a constant here, with help, unit and a closed set of label values, whose children
all exist from the start, so that a rate begins at 0 and no request can add a series.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import TypeVar

from prometheus_client import REGISTRY as REGISTRY
from prometheus_client import Counter, Gauge, disable_created_metrics, generate_latest

from player_sessions import __version__
from player_sessions.rules import reasons
from player_sessions.telemetry import tallies

disable_created_metrics()  # type: ignore[no-untyped-call]

_PREFIX = "player_sessions_"
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_ROWS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
_COUNT_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_EVENTS = (*range(1, 11), 20, 50, 100, 200, 500)
_LAGS = (1, 5, 30, 60, 300, 900, 3600, 6 * 3600, 86400, 7 * 86400, 30 * 86400, 365 * 86400)

ROUTES = (
    "POST /v1/events",
    "GET /v1/players/{player_id}",
    "GET /v1/players/{player_id}/sessions",
    "GET /v1/countries/starts",
    "DELETE /v1/players/{player_id}",
    "GET /v1/players/{player_id}/sessions/{session_id}",
    "POST /",
    "GET /",
    "other",
)
STATUSES = (200, 204, 400, 401, 403, 404, 405, 408, 413, 415, 422, 500, 503, "other")


_Labels = tuple[str, ...]
_Metric = TypeVar("_Metric", Counter, Gauge)
_Tallied = TypeVar("_Tallied", tallies.Counter, tallies.Histogram)
_units: dict[str, str] = {}


def _counter(name: str, unit: str, text: str, **labels: _Labels) -> Counter:
    return _register(Counter(_PREFIX + name, text, list(labels)), name, unit, labels)


def _gauge(name: str, unit: str, text: str, **labels: _Labels) -> Gauge:
    return _register(Gauge(_PREFIX + name, text, list(labels)), name, unit, labels)


def _hot_counter(name: str, unit: str, text: str, **labels: _Labels) -> tallies.Counter:
    """Make a counter of what each request counts; only the thread of the event loop may do so."""
    return _tallied(tallies.Counter(_PREFIX + name, text, **labels), name, unit)


def _histogram(
    name: str, unit: str, text: str, bounds: Sequence[float], **labels: _Labels
) -> tallies.Histogram:
    return _tallied(tallies.Histogram(_PREFIX + name, text, bounds, **labels), name, unit)


def _tallied(metric: _Tallied, name: str, unit: str) -> _Tallied:
    """Register a metric that makes its series itself, and note its unit."""
    REGISTRY.register(metric)
    _units[_PREFIX + name] = unit
    return metric


def _register(metric: _Metric, name: str, unit: str, labels: dict[str, _Labels]) -> _Metric:
    """Note the metric's unit and make its series for every combination of label values."""
    _units[_PREFIX + name] = unit
    for values in product(*labels.values()) if labels else ():
        metric.labels(*values)
    return metric


# Requests.
REQUESTS = _hot_counter(
    "requests",
    "requests",
    "Requests by route and status.",
    route=ROUTES,
    status=tuple(str(status) for status in STATUSES),
)
REQUEST_SECONDS = _histogram(
    "request_duration_seconds",
    "seconds",
    "Time from a request's head to the end of its answer.",
    SECONDS,
    route=ROUTES,
)
IN_FLIGHT = _gauge(
    "requests_in_flight",
    "requests",
    "Requests whose answer is not finished.",
    operation=("write", "read"),
)
SHED = _counter(
    "shed",
    "requests",
    "Requests and connections that got 503 because there were too many, by reason.",
    reason=reasons.names(reasons.OF_SHEDDING),
)
DENIED = _counter(
    "denied",
    "requests",
    "Requests refused because their key or its scope was not valid.",
    reason=reasons.names(reasons.OF_ACCESS),
)
CONNECTIONS = _gauge("connections", "connections", "Open HTTP connections.")
# Why a connection is closed without an answer.
HEAD_TIMEOUT, WRITE_TIMEOUT, IDLE, STOP = "head-timeout", "write-timeout", "idle", "stop"
CUT = _counter(
    "connections_cut",
    "connections",
    "Connections that the service closed because the client was too slow, broke a rule of HTTP,"
    " went beyond a limit or was not done when the service had to stop, by reason.",
    reason=(
        HEAD_TIMEOUT,
        reasons.BODY_TIMEOUT.name,
        WRITE_TIMEOUT,
        IDLE,
        STOP,
        *reasons.names(reasons.OF_CONNECTION),
    ),
)

# Events and batches.
EVENTS = _hot_counter(
    "events",
    "events",
    "Events by kind and outcome: accepted, or discarded as older than the retention.",
    kind=("start", "end"),
    outcome=("accepted", "discarded"),
)
REFUSED = _counter(
    "refused",
    "batches",
    "Refused batches, counted once for each reason in a batch.",
    reason=reasons.names(
        (reasons.INVALID_JSON, reasons.INVALID_BATCH, reasons.BATCH_SIZE, *reasons.OF_EVENT)
    ),
)
REJECTED = _counter(
    "rejected_events",
    "events",
    "Events that a lenient batch was stored without, counted once for each reason of an event.",
    reason=reasons.names(reasons.OF_EVENT),
)
BATCH_EVENTS = _histogram("batch_events", "events", "Events in an accepted batch.", _EVENTS)
EVENT_LAG = _histogram(
    "event_lag_seconds", "seconds", "Time of receipt minus the event's own time.", _LAGS
)

# Group commits.
GROUP_ROWS = _histogram("group_commit_rows", "rows", "Rows written by one group commit.", _ROWS)
QUEUED_ROWS = _gauge("queued_rows", "rows", "Rows that wait for a group commit.")
QUEUE_AGE = _gauge("queue_age_seconds", "seconds", "How long the oldest waiting row has waited.")

# Reads.
SESSIONS = _hot_counter("sessions_returned", "sessions", "Sessions returned to readers.")
INCOMPLETE = _hot_counter("incomplete_ends", "rows", "Ends without a start that reads met.")
NEGATIVE = _hot_counter(
    "negative_durations", "sessions", "Sessions listed whose end lies before their start."
)

# Starts per country.
COUNTRY_HOURS = _counter(
    "country_hours",
    "hours",
    "Hours of starts per country that requests asked for, by where their counts came from: memory,"
    " a count kept in Cassandra, or a new count.",
    kind=("memory", "kept", "counted"),
)
COUNTRY_ROWS = _counter(
    "country_rows_read",
    "rows",
    "Rows that new counts per country read; each has the starts of one group commit.",
)
COUNTRY_SECONDS = _histogram(
    "country_count_duration_seconds",
    "seconds",
    "Time to count one hour.",
    _COUNT_SECONDS,
)

# Erasures.
ERASURES = _counter(
    "erasures",
    "erasures",
    "Erasures of players by outcome: done, or failed, so that the client must send them again.",
    outcome=("done", "failed"),
)

# Cassandra, as the service sees it.
STORE_SECONDS = _histogram(
    "store_duration_seconds",
    "seconds",
    "Time from sending to Cassandra to its answer, by operation.",
    SECONDS,
    operation=("write", "read", "erase"),
)
STORE_ERRORS = _counter(
    "store_errors",
    "requests",
    "Failed batches and queries, by reason.",
    reason=(*reasons.names(reasons.OF_STORE), "bug"),
)
STORE_EXTRA = _counter(
    "store_extra_requests",
    "requests",
    "Retries, speculative requests and splits of batches.",
    kind=("retry", "speculation", "split"),
)
DRIVER_CONNECTIONS = _gauge("driver_connections", "connections", "Open connections to Cassandra.")
DRIVER_NODES = _gauge(
    "driver_nodes",
    "nodes",
    "Nodes of Cassandra that the driver sees as up or down.",
    state=("up", "down"),
)
CLOCK_SKEW = _gauge(
    "clock_skew_seconds", "seconds", "The service's clock minus the clock of a Cassandra node."
)

# The process.
BUILD = _gauge("build_info", "info", "Always 1; the label is the version.", version=(__version__,))
BUILD.labels(__version__).set(1)
READY = _gauge("ready", "0 or 1", "1 when the service has started and is not draining.")
DRAINING = _gauge("draining", "0 or 1", "1 from SIGTERM on.")
SCHEMA_VERSION = _gauge(
    "schema_version",
    "number",
    "Number of the newest migration in the database, or 0 while it is not known.",
)
SCHEMA_MISMATCH = _gauge("schema_mismatch", "0 or 1", "1 while the database's schema does not fit.")
STALLS = _counter(
    "event_loop_stalls", "stalls", "How often the event loop was late by 100 ms or more."
)
SPANS_DROPPED = _counter(
    "spans_dropped", "spans", "Spans that were lost because the exporter was slow or failed."
)
LINES_SUPPRESSED = _counter(
    "log_lines_suppressed",
    "lines",
    "Log lines left out because of their rate, or because they could not be written.",
)


def exposition() -> bytes:
    """Return all metrics in the text format of Prometheus."""
    return generate_latest(REGISTRY)


def describe() -> list[tuple[str, str, str, str, str]]:
    """Return (name, kind, unit, labels, help) of every metric of ours."""
    rows = []
    for metric in REGISTRY.collect():
        if unit := _units.get(metric.name):
            name = metric.name + "_total" * (metric.type == "counter")
            labels = sorted({label for s in metric.samples for label in s.labels} - {"le"})
            rows.append((name, metric.type, unit, ", ".join(labels), metric.documentation))
    return sorted(rows)
