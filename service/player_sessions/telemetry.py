"""Metrics and logs: the one register of what this service says about itself.

Every metric is a constant here, with help, unit and a closed set of label values, whose children
all exist from the start, so that a rate begins at 0 and no request can add a series.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog
from prometheus_client import REGISTRY as REGISTRY
from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics, generate_latest

from player_sessions import __version__
from player_sessions.events import (
    BATCH_SIZE,
    EVENT_REASONS,
    INVALID_BATCH,
    INVALID_JSON,
)

disable_created_metrics()  # type: ignore[no-untyped-call]

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_COUNTS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)

ROUTES = (
    "POST /v1/events",
    "GET /v1/players/{player_id}/sessions",
    "POST /",
    "GET /",
    "other",
)

BUILD = Gauge("player_sessions_build_info", "Always 1; its label is the version.", ["version"])
BUILD.labels(__version__).set(1)
SCHEMA_VERSION = Gauge(
    "player_sessions_schema_version", "Newest migration applied to the database; 0: not known."
)
REQUESTS = Counter("player_sessions_requests", "Requests by route and status.", ["route", "status"])
REQUEST_SECONDS = Histogram(
    "player_sessions_request_duration_seconds",
    "From the request's head to the answer's end.",
    ["route"],
    buckets=_SECONDS,
)
EVENTS = Counter(
    "player_sessions_events",
    "Events by kind and outcome: stored, or discarded because older than the retention.",
    ["kind", "outcome"],
)
REFUSED = Counter("player_sessions_refused", "What batches were refused for.", ["reason"])
STORE_SECONDS = Histogram(
    "player_sessions_store_duration_seconds",
    "From sending to Cassandra to its answer, by operation.",
    ["operation"],
    buckets=_SECONDS,
)
STORE_ERRORS = Counter(
    "player_sessions_store_errors", "Requests that Cassandra failed, by reason.", ["reason"]
)
STORE_EXTRA = Counter(
    "player_sessions_store_extra_requests", "Retries, speculation and splits.", ["kind"]
)
GROUP_ROWS = Histogram(
    "player_sessions_group_commit_rows", "Rows written by one group commit.", buckets=_COUNTS
)
QUEUED_ROWS = Gauge("player_sessions_queued_rows", "Rows that wait for a group commit.")
SESSIONS = Counter("player_sessions_sessions_returned", "Sessions returned to readers.")
INCOMPLETE = Counter(
    "player_sessions_incomplete_ends", "Ends met by readers whose start is not there."
)
NEGATIVE = Counter(
    "player_sessions_negative_durations", "Sessions listed whose end lies before their start."
)

for _kind in ("start", "end"):
    for _outcome in ("stored", "discarded"):
        EVENTS.labels(_kind, _outcome)
for _reason in (INVALID_JSON, INVALID_BATCH, BATCH_SIZE, *EVENT_REASONS):
    REFUSED.labels(_reason)
for _operation in ("write", "read"):
    STORE_SECONDS.labels(_operation)
for _reason in ("store-unavailable", "store-timeout", "store-overloaded", "queue-full", "bug"):
    STORE_ERRORS.labels(_reason)
for _extra in ("retry", "speculation", "split"):
    STORE_EXTRA.labels(_extra)
for _route in ROUTES:
    REQUEST_SECONDS.labels(_route)
    for _status in (200, 400, 408, 413, 415, 422, 500, 503):
        REQUESTS.labels(_route, str(_status))


def exposition() -> bytes:
    """All metrics in Prometheus' text form."""
    return generate_latest(REGISTRY)


def describe() -> list[tuple[str, str, str, str]]:
    """(name, kind, labels, help) of every metric of ours."""
    rows = []
    for metric in REGISTRY.collect():
        if metric.name.startswith("player_sessions_"):
            suffix = "_total" if metric.type == "counter" else ""
            labels = sorted({label for s in metric.samples for label in s.labels} - {"le"})
            rows.append(
                (metric.name + suffix, metric.type, ", ".join(labels), metric.documentation)
            )
    return sorted(rows)


def configure_logging(level: str, form: str) -> None:
    """Log to standard error: one JSON object per line, or readable on a terminal."""
    json = form == "json" or (form == "auto" and not sys.stderr.isatty())
    renderer: Any = structlog.processors.JSONRenderer() if json else structlog.dev.ConsoleRenderer()
    shared: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info if json else structlog.processors.StackInfoRenderer(),
    ]
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level)),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    # The libraries' own log records take the same way out.
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(processor=renderer, foreign_pre_chain=shared)
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("cassandra").setLevel(logging.ERROR)


log: Any = structlog.get_logger()
