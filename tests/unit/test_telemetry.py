"""The register of metrics, the form of the log, and the ids of requests."""

from __future__ import annotations

import itertools
import json
import logging
import os
from collections.abc import Iterator
from typing import Any

import prometheus_client
import pytest
import structlog
from opentelemetry.sdk import environment_variables

from player_sessions.telemetry import logs, metrics, request_ids, tracing
from player_sessions.telemetry.tallies import Counter, Histogram

OURS = [m for m in metrics.REGISTRY.collect() if m.name.startswith("player_sessions_")]
LABELS = {"le", "route", "status", "kind", "outcome", "reason", "operation", "version", "state"}


@pytest.mark.parametrize("metric", OURS, ids=lambda metric: metric.name)
def test_every_metric_says_what_it_is_and_exists_from_the_start(metric: Any) -> None:
    assert metric.documentation.endswith(".")
    assert metric.samples, "a labelled metric without children"


def test_every_metric_is_in_the_register_with_its_unit_in_base_units() -> None:
    described = {row[0].removesuffix("_total"): row for row in metrics.describe()}
    assert set(described) == {metric.name for metric in OURS}
    for name, _, unit, _, _ in described.values():
        assert unit
        assert ("_seconds" in name) == (unit == "seconds")


def test_no_request_can_add_a_label_value() -> None:
    labels = {label for metric in OURS for sample in metric.samples for label in sample.labels}
    assert labels <= LABELS


def test_a_request_to_no_route_of_ours_is_counted_as_other() -> None:
    assert metrics.ROUTES[-1] == "other"


def test_the_exposition_is_prometheus_text() -> None:
    assert b"# TYPE player_sessions_requests_total counter" in metrics.exposition()


def test_our_histogram_says_what_the_librarys_would_say() -> None:
    bounds, values = (0.5, 1.0, 2.0), (0.0, 0.5, 0.7, 1.0, 1.5, 2.0, 9.0)
    theirs = prometheus_client.Histogram("h", "x", buckets=bounds, registry=None)
    ours = Histogram("h", "x", bounds)
    for value in values:
        theirs.observe(value)
        ours.labels().observe(value)

    def samples(made: Any) -> dict[tuple[str, str], float]:
        (family,) = made.collect()
        found = {(s.name, s.labels.get("le", "")): s.value for s in family.samples}
        return {key: value for key, value in found.items() if not key[0].endswith("_created")}

    assert samples(ours) == samples(theirs)


def test_our_counter_says_what_the_librarys_would_say() -> None:
    labels = {"kind": ("start", "end"), "outcome": ("good", "bad")}
    theirs = prometheus_client.Counter("c", "x", list(labels), registry=None)
    ours = Counter("c", "x", **labels)
    for values in itertools.product(*labels.values()):
        theirs.labels(*values)
    for made in (ours, theirs):
        made.labels("start", "good").inc()
        made.labels("end", "bad").inc(3)

    def samples(made: Any) -> list[tuple[str, dict[str, str], float]]:
        (family,) = made.collect()
        return [(s.name, s.labels, s.value) for s in family.samples if "_created" not in s.name]

    assert samples(ours) == samples(theirs)
    with pytest.raises(KeyError):
        ours.labels("start", "unheard-of")


@pytest.fixture
def logging_restored() -> Iterator[None]:
    yield
    structlog.reset_defaults()
    logging.basicConfig(handlers=[], force=True)


@pytest.mark.usefixtures("logging_restored")
@pytest.mark.parametrize("form", ["auto", "json"])
def test_without_a_terminal_a_log_line_is_one_json_object(
    capfd: pytest.CaptureFixture[str], form: str
) -> None:
    logs.configure("INFO", form)
    log = structlog.get_logger()
    log.debug("hidden")
    log.info("shown", n=1)
    try:
        raise ValueError("in\ntwo lines")
    except ValueError as error:
        log.error("failed", exc_info=error)
    logging.getLogger("library").warning("from a library")
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert [line["event"] for line in lines] == ["shown", "failed", "from a library"]
    assert (lines[0]["n"], lines[0]["level"]) == (1, "info")
    assert "ValueError" in lines[1]["exception"]


@pytest.mark.usefixtures("logging_restored")
def test_on_demand_a_log_line_is_for_people(capfd: pytest.CaptureFixture[str]) -> None:
    logs.configure("INFO", "console")
    structlog.get_logger().info("shown", n=1)
    said = capfd.readouterr().err
    assert "shown" in said
    assert not said.startswith("{")


@pytest.mark.usefixtures("logging_restored")
def test_a_line_below_the_level_is_left_out_also_of_a_library(
    capfd: pytest.CaptureFixture[str],
) -> None:
    log = structlog.get_logger()
    for level in ("ERROR", "DEBUG"):
        logs.configure(level, "json")
        log.debug("debug", level_set=level)
        log.warning("warning", level_set=level)
        logging.getLogger("library").debug("library", extra={})
    said = [json.loads(line)["event"] for line in capfd.readouterr().err.splitlines()]
    assert said == ["debug", "warning", "library"]
    assert logs.debugging()
    logs.configure("INFO", "json")
    assert not logs.debugging()


def test_lines_above_their_rate_are_left_out_and_counted() -> None:
    now = [0.0]
    said: list[dict[str, int]] = []

    def write(_: str, **more: int) -> None:
        said.append(more)

    limited = logs.Limited(2, lambda: now[0])
    for _ in range(5):
        limited(write, "refused")
    now[0] += 1
    limited(write, "refused")
    assert said == [{}, {}, {"left_out": 3}]


TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize(
    ("header", "parent"),
    [
        (f"00-{TRACE}-{SPAN}-01", (int(TRACE, 16), int(SPAN, 16), 1)),
        (f"00-{TRACE}-{SPAN}-00", (int(TRACE, 16), int(SPAN, 16), 0)),
        (f"00-{'0' * 32}-{SPAN}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE}-{SPAN}-01-more", None),
        (f"ff-{TRACE}-{SPAN}-01", None),
        (f"00-{TRACE.upper()}-{SPAN}-01", None),
        ("", None),
    ],
)
def test_a_traceparent_is_taken_as_w3c_writes_it(header: str, parent: object) -> None:
    assert request_ids.parent_of({b"traceparent": header.encode()}) == parent


@pytest.mark.parametrize(
    ("sent", "request_id", "trace_id"),
    [
        ({}, None, None),
        ({b"x-request-id": b"abc-1"}, "abc-1", None),
        ({b"x-request-id": b"a b\n"}, None, None),
        ({b"traceparent": f"00-{TRACE}-{SPAN}-00".encode()}, TRACE, TRACE),
    ],
)
def test_ids_are_those_that_were_sent_or_else_made_once(
    sent: dict[bytes, bytes], request_id: str | None, trace_id: str | None
) -> None:
    request_ids.enter({"headers": list(sent.items()), "state": {}})
    found = request_ids.ids()
    request_ids.enter(None)  # type: ignore[arg-type]
    assert request_ids.ids() == {}
    assert len(found["trace_id"]) == 32
    assert found["trace_id"] == (trace_id or found["trace_id"])
    assert found["request_id"] == (request_id or found["trace_id"])


@pytest.mark.parametrize(
    ("environ", "fault"),
    [
        ({"OTEL_TRACES_EXPORTER": "console"}, "OTEL_TRACES_EXPORTER"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}, "OTEL_EXPORTER_OTLP_PROTOCOL"),
        (
            {
                "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "smoke",
            },
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
        ),
    ],
)
def test_a_tracing_variable_that_is_not_understood_is_refused(
    environ: dict[str, str], fault: str
) -> None:
    with pytest.raises(tracing.BadTracing, match=fault):
        tracing.configure({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", **environ})


STANDARD = [name for name in vars(environment_variables) if name.startswith("OTEL_")]


@pytest.mark.parametrize("empty", ["", " "])
@pytest.mark.parametrize("protocol", ["", "grpc"])
def test_an_empty_variable_of_opentelemetry_counts_as_unset(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, empty: str, protocol: str
) -> None:
    for name in [*STANDARD, "OTEL_OF_A_LATER_VERSION"]:
        monkeypatch.setenv(name, empty)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    if protocol:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    logging.getLogger("opentelemetry").setLevel(logging.WARNING)
    request_ids.unset_empty(os.environ)
    left = {name for name in os.environ if name.startswith("OTEL_")}
    assert left <= {"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_PROTOCOL"}
    assert request_ids.tracing_wanted(os.environ)
    tracing.configure(os.environ).close(5)
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    assert [record.getMessage() for record in caplog.records] == []


def test_empty_endpoints_leave_tracing_off(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in STANDARD:
        monkeypatch.setenv(name, "")
    request_ids.unset_empty(os.environ)
    assert not request_ids.tracing_wanted(os.environ)


@pytest.mark.parametrize(
    "name",
    ["OTEL_EXPORTER_OTLP_TIMEOUT", "OTEL_EXPORTER_OTLP_COMPRESSION", "OTEL_SPAN_LINK_COUNT_LIMIT"],
)
def test_a_value_that_the_sdk_cannot_read_is_refused_without_a_stack_trace(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "soon")
    with pytest.raises(tracing.BadTracing, match="soon"):
        tracing.configure({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"})


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_tracing_is_off_until_an_endpoint_is_named(environ: dict[str, str]) -> None:
    assert not request_ids.tracing_wanted(environ)
