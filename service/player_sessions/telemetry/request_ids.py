"""The ids of requests, the span of a task, and whether requests are traced at all.

OpenTelemetry's standard `OTEL_*` variables switch tracing on and configure it. This module imports
nothing of OpenTelemetry, so that its libraries are loaded only when tracing is on (`tracing`).
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, MutableMapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentelemetry.trace import Span

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_TRACEPARENT = re.compile(rb"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_REQUEST_ID = re.compile(rb"[\w.:-]{1,64}", re.ASCII)
_request: ContextVar[dict[str, Any] | None] = ContextVar("request", default=None)
span_of_task: ContextVar[Span | None] = ContextVar("span", default=None)


def unset_empty(environ: MutableMapping[str, str]) -> None:
    """Remove the `OTEL_*` variables that are empty, which OpenTelemetry defines to mean unset.

    The SDK and its exporters read the environment themselves and do not all hold to that.
    """
    for name in [
        name for name in environ if name.startswith("OTEL_") and not environ[name].strip()
    ]:
        del environ[name]


def tracing_wanted(environ: Mapping[str, str]) -> bool:
    """Return whether the `OTEL_*` variables ask for traces, which they do by naming an endpoint."""
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    if environ.get("OTEL_TRACES_EXPORTER") == "none":
        return False
    return any(environ.get(name) for name in _ENDPOINTS)


def enter(scope: dict[str, Any]) -> None:
    """Let this task serve this request, so that its log lines carry the request's ids."""
    _request.set(scope)


def ids() -> dict[str, str]:
    """Return request_id and trace_id of this task's request, as sent or else made here."""
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
    """Return (trace id, span id, flags) of a W3C traceparent, or None when it is not valid."""
    match = _TRACEPARENT.fullmatch(headers.get(b"traceparent", b""))
    if match is None:
        return None
    trace, span, flags = (int(part, 16) for part in match.groups())
    return (trace, span, flags) if trace and span else None
