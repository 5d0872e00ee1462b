"""Traces by OpenTelemetry: a span for each sampled request and for each of its queries.

A group commit has a span too, with links to the sampled requests that it carries. A request that is
not sampled costs one decision. A thread of its own sends the spans from a bounded queue: when the
receiver is slow or away, spans are lost and counted, and nothing else happens.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.resources import (
    SERVICE_NAME,
    SERVICE_VERSION,
    OTELResourceDetector,
    Resource,
)
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Decision
from opentelemetry.trace import Span
from opentelemetry.util.types import Attributes

from player_sessions import __version__
from player_sessions.telemetry import metrics
from player_sessions.telemetry.request_ids import parent_of, span_of_task

_QUEUE = 2048  # spans that may wait
# The SDK logs every failed export without a limit: silence it and count the lost spans.
logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)


class BadTracing(ValueError):
    """An OTEL_* variable is not understood; the message says which."""


class Tracing:
    """The one tracer of a process."""

    def __init__(self, sender: SpanExporter) -> None:
        # `begin` asks the sampler of OTEL_TRACES_SAMPLER before it makes a span, so that a request
        # that is not sampled makes none. Every span that is made is recorded.
        self._sampler = TracerProvider().sampler
        ours = {SERVICE_NAME: "player-sessions", SERVICE_VERSION: __version__}
        resource = Resource.create({**ours, **OTELResourceDetector().detect().attributes})
        self._provider = TracerProvider(
            sampler=ALWAYS_ON, resource=resource, shutdown_on_exit=False
        )
        self._provider.add_span_processor(_Bounded(sender))
        self._tracer = self._provider.get_tracer("player_sessions", __version__)

    def begin(self, scope: dict[str, Any]) -> Span | None:
        """Begin the span of a request if it is sampled, and make it the span of this task."""
        parent, context = parent_of(dict(scope["headers"])), None
        trace_id = random.getrandbits(128)  # a name, not a secret
        if parent is not None:
            trace_id = parent[0]
            flags = trace.TraceFlags(parent[2])
            remote = trace.SpanContext(trace_id, parent[1], is_remote=True, trace_flags=flags)
            context = trace.set_span_in_context(trace.NonRecordingSpan(remote))
        decision = self._sampler.should_sample(context, trace_id, "request").decision
        if decision is not Decision.RECORD_AND_SAMPLE:
            return None
        host, port = scope["server"] or ("", None)
        span = self._tracer.start_span(
            scope["method"],
            context,
            trace.SpanKind.SERVER,
            {
                "http.request.method": scope["method"],
                "url.scheme": scope["scheme"],
                "server.address": host,
                "server.port": port or 0,
                "network.protocol.version": scope["http_version"],
            },
        )
        span_of_task.set(span)
        return span

    def end(self, span: Span, route: str, status: int) -> None:
        """End the span of a request; it shows the route, since the path may name a player."""
        _, _, path = route.partition(" ")
        span.set_attribute("http.response.status_code", status)
        if path:
            span.update_name(route)
            span.set_attributes({"http.route": path, "url.path": path})
        if status >= 500:
            span.set_attribute("error.type", str(status))
            span.set_status(trace.StatusCode.ERROR)
        span.end()

    def header(self, span: Span) -> tuple[bytes, bytes]:
        """Return the W3C traceparent header of the answer."""
        context = span.get_span_context()
        text = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
        return b"traceparent", text.encode()

    def begin_query(self, keyspace: str, table: str, parent: Span) -> Span:
        """Begin the span of a SELECT for the request of `parent`."""
        more: Attributes = {"db.operation.name": "SELECT", "db.collection.name": table}
        return self._begin_store(f"SELECT {table}", keyspace, more, parent)

    def begin_batch(self, keyspace: str, rows: int, requests: Sequence[Span]) -> Span:
        """Begin the span of a group commit, in the trace of the first request and linked to all."""
        links = [trace.Link(request.get_span_context()) for request in requests]
        more: Attributes = {"db.operation.name": "BATCH", "db.operation.batch.size": rows}
        return self._begin_store(f"BATCH {keyspace}", keyspace, more, requests[0], links)

    def _begin_store(
        self,
        summary: str,
        keyspace: str,
        more: Attributes,
        parent: Span,
        links: Sequence[trace.Link] = (),
    ) -> Span:
        attributes = {
            "db.system.name": "cassandra",
            "db.namespace": keyspace,
            "db.query.summary": summary,
            **(more or {}),
        }
        context = trace.set_span_in_context(parent)
        return self._tracer.start_span(summary, context, trace.SpanKind.CLIENT, attributes, links)

    def end_store(self, span: Span, error: BaseException | None) -> None:
        """End the span of a query or a group commit."""
        if error is not None:
            reason = getattr(error, "reason", None)
            span.set_attribute("error.type", reason.name if reason else type(error).__qualname__)
            span.set_status(trace.StatusCode.ERROR)
        span.end()

    def close(self, within: float) -> None:
        """Send the spans that are left, for up to `within` seconds."""
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        closing.join(within)


def configure(environ: Mapping[str, str]) -> Tracing:
    """Return the tracing that the `OTEL_*` variables describe; raises BadTracing."""
    name = environ.get("OTEL_TRACES_EXPORTER", "otlp")
    if name != "otlp":
        raise BadTracing(f"OTEL_TRACES_EXPORTER: must be otlp or none, not {name}")
    try:
        return Tracing(_exporter(environ))
    except BadTracing:
        raise
    except Exception as error:  # the SDK's words for a number that is none, for example
        raise BadTracing(f"an OTEL_* variable is bad: {error}") from error


def _exporter(environ: Mapping[str, str]) -> SpanExporter:
    name = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"
    if name not in environ:
        name = "OTEL_EXPORTER_OTLP_PROTOCOL"
    protocol = environ.get(name, "http/protobuf")
    if protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc import trace_exporter as grpc

        return grpc.OTLPSpanExporter()
    if protocol == "http/protobuf":
        from opentelemetry.exporter.otlp.proto.http import trace_exporter as http

        return http.OTLPSpanExporter()
    raise BadTracing(f"{name}: must be grpc or http/protobuf, not {protocol}")


class _Counting(SpanExporter):
    """Counts the spans that left, and of them the lost."""

    def __init__(self, sender: SpanExporter) -> None:
        self._sender = sender
        self.gone = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = SpanExportResult.FAILURE
        try:
            result = self._sender.export(spans)
        finally:
            self.gone += len(spans)
            if result is not SpanExportResult.SUCCESS:
                metrics.SPANS_DROPPED.inc(len(spans))
        return result

    def shutdown(self) -> None:
        self._sender.shutdown()


class _Bounded(BatchSpanProcessor):
    """Take no more spans than the queue holds: the SDK would drop the oldest without a count.

    The count holds as long as the SDK hands each span that it was given to `export` once, and drops
    none while fewer than `max_queue_size` wait: `tests/guards/test_guard_telemetry.py`.
    """

    def __init__(self, sender: SpanExporter) -> None:
        self._counting = _Counting(sender)
        self._taken = 0
        super().__init__(self._counting, max_queue_size=_QUEUE)

    def on_end(self, span: ReadableSpan) -> None:
        if self._taken - self._counting.gone >= _QUEUE:
            metrics.SPANS_DROPPED.inc()
            return
        self._taken += 1
        super().on_end(span)
