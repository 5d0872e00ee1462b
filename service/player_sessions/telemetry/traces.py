"""The ids of requests, and whether they are traced.

Tracing is switched on and shaped by OpenTelemetry's standard `OTEL_*` variables. While it is off
nothing of OpenTelemetry is imported; what it does when on stands in `otlp`.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from player_sessions.telemetry.otlp import Tracing

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_TRACEPARENT = re.compile(rb"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_REQUEST_ID = re.compile(rb"[\w.:-]{1,64}", re.ASCII)
_request: ContextVar[dict[str, Any] | None] = ContextVar("request", default=None)
span_of_task: ContextVar[Span | None] = ContextVar("span", default=None)


class BadTracing(ValueError):
    """An OTEL_* variable is not understood; the message says which."""


def configure(environ: Mapping[str, str]) -> Tracing | None:
    """Tracing if the variables ask for it, which they do by naming an endpoint; else None."""
    exporter = environ.get("OTEL_TRACES_EXPORTER", "otlp")
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or exporter == "none":
        return None
    if not any(environ.get(name) for name in _ENDPOINTS):
        return None
    if exporter != "otlp":
        raise BadTracing(f"OTEL_TRACES_EXPORTER: must be otlp or none, not {exporter}")
    from player_sessions.telemetry import otlp

    return otlp.Tracing(otlp.exporter(environ))


def enter(scope: dict[str, Any]) -> None:
    """This task serves this request: its log lines carry the request's ids."""
    _request.set(scope)


def ids() -> dict[str, str]:
    """request_id and trace_id of this task's request: as they were sent, or else made here."""
    scope = _request.get()
    if scope is None:
        return {}
    state = scope["state"]
    if "ids" not in state:
        headers = dict(scope["headers"])
        sent, parent, span = (
            headers.get(b"x-request-id", b""),
            parent_of(headers),
            span_of_task.get(),
        )
        if span is not None:
            trace = f"{span.get_span_context().trace_id:032x}"
        else:
            trace = f"{parent[0]:032x}" if parent else secrets.token_hex(16)
        request = sent.decode() if _REQUEST_ID.fullmatch(sent) else trace
        state["ids"] = {"request_id": request, "trace_id": trace}
    found: dict[str, str] = state["ids"]
    return found


def parent_of(headers: Mapping[bytes, bytes]) -> tuple[int, int, int] | None:
    """(trace id, span id, flags) of a valid W3C traceparent."""
    match = _TRACEPARENT.fullmatch(headers.get(b"traceparent", b""))
    if match is None:
        return None
    trace, span, flags = (int(part, 16) for part in match.groups())
    return (trace, span, flags) if trace and span else None
