"""Guard what we rely on in OpenTelemetry, prometheus-client and structlog beyond plain use.

Each message names our file that must be looked at again when a version changes the behaviour.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import Any

import pytest
import structlog
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Decision
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

OTLP = "service/player_sessions/telemetry/tracing.py relies on this behaviour of OpenTelemetry"
METRICS = "service/player_sessions/telemetry/tallies.py relies on this in prometheus-client"
LOGS = "service/player_sessions/telemetry/logs.py relies on this behaviour of structlog"


class Receiver(SpanExporter):
    """An exporter that takes spans once `go` is set."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.go = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.go.wait(10)
        self.taken += [span.name for span in spans]
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        self.go.set()


class Counting(BatchSpanProcessor):
    """A processor that overrides the same method as ours."""

    ended = 0

    def on_end(self, span: ReadableSpan) -> None:
        self.ended += 1
        super().on_end(span)


def test_each_span_that_ends_is_exported_once_and_a_full_queue_loses_none() -> None:
    receiver = Receiver()
    processor = Counting(receiver, max_queue_size=4, max_export_batch_size=2)
    provider = TracerProvider(sampler=ALWAYS_ON, shutdown_on_exit=False)
    provider.add_span_processor(processor)
    tracer = provider.get_tracer("guard", "1")
    names = [str(number) for number in range(4)]
    for name in names:
        tracer.start_span(name).end()
    receiver.go.set()
    provider.shutdown()
    assert processor.ended == 4, OTLP
    assert receiver.taken == names, OTLP


def test_a_providers_sampler_decides_without_a_span(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    sampler = TracerProvider(shutdown_on_exit=False).sampler
    assert sampler.should_sample(None, 1, "request").decision is Decision.DROP, OTLP


def test_all_loggers_of_the_sdk_are_below_one_name() -> None:
    from opentelemetry.sdk.trace import export

    assert export.logger.name.startswith("opentelemetry."), OTLP
    assert isinstance(logging.getLogger("opentelemetry"), logging.Logger), OTLP


def test_a_collector_of_ours_makes_a_histogram_and_a_counter() -> None:
    class Ours(Collector):
        def collect(self) -> Any:
            family = HistogramMetricFamily("own", "text", labels=["of"])
            family.add_metric(["x"], [("1.0", 1), ("+Inf", 3)], 7.0)
            yield family
            counter = CounterMetricFamily("own_count_of", "text", labels=["of"])
            counter.add_metric(("x",), 4)
            yield counter

    registry = CollectorRegistry()
    registry.register(Ours())
    lines = generate_latest(registry).decode().splitlines()
    assert 'own_bucket{le="1.0",of="x"} 1.0' in lines, METRICS
    assert 'own_bucket{le="+Inf",of="x"} 3.0' in lines, METRICS
    assert 'own_count{of="x"} 3.0' in lines, METRICS
    assert 'own_sum{of="x"} 7.0' in lines, METRICS
    assert 'own_count_of_total{of="x"} 4.0' in lines, METRICS


def test_a_labelled_series_exists_from_its_first_mention_and_describes_itself() -> None:
    registry = CollectorRegistry()
    Counter("own", "text", ["of"], registry=registry).labels("x")
    Gauge("own_gauge", "text", registry=registry).set_function(lambda: 3)
    (counter, gauge) = registry.collect()
    assert (counter.name, counter.type, counter.documentation) == ("own", "counter", "text"), (
        METRICS
    )
    (sample,) = [s for s in counter.samples if s.name == "own_total"]
    assert (sample.labels, sample.value) == ({"of": "x"}, 0), METRICS
    assert gauge.samples[0].value == 3, METRICS


def test_log_records_of_libraries_are_written_like_ours() -> None:
    lines: list[str] = []

    class Output:
        def write(self, line: str) -> None:
            lines.append(line)

        def flush(self) -> None:
            pass

    output: Any = Output()
    renderer = structlog.processors.JSONRenderer()
    made = structlog.wrap_logger(
        structlog.WriteLoggerFactory(output)(),
        [_drop_low, structlog.processors.add_log_level, renderer],
    )
    made.info("low")
    made.info("ours")
    handler = logging.StreamHandler(output)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processor=renderer, foreign_pre_chain=[structlog.processors.add_log_level]
        )
    )
    record = logging.LogRecord("library", logging.INFO, "", 0, "theirs", (), None)
    handler.handle(record)
    text = "".join(lines)
    assert "low" not in text, LOGS
    assert '{"event": "ours", "level": "info"}\n' in text, LOGS
    assert '"event": "theirs"' in text, LOGS


def _drop_low(_: Any, __: str, event: Any) -> Any:
    if event["event"] == "low":
        raise structlog.DropEvent
    return event
