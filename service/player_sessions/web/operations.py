"""Liveness, readiness and metrics, for the kubelet and Prometheus.

These routes are not for games: a setting gives them a port of their own.
"""

from __future__ import annotations

from typing import Any

from litestar import Request, get
from litestar.response import Response

from player_sessions.telemetry import metrics
from player_sessions.web.openapi import description

_COMMON: dict[str, Any] = {
    "sync_to_thread": False,
    "tags": [description.OPERATORS],
    "operations": True,
    "security": [{}],
}


@get(
    "/health/live",
    operation_id="live",
    summary="Check that the process is alive",
    **_COMMON,
)
def live() -> dict[str, str]:
    """Answer 200 as long as the process answers at all."""
    return {"status": "live"}


@get(
    "/health/ready",
    operation_id="ready",
    summary="Check that the service takes requests",
    **_COMMON,
)
def ready(request: Request[Any, Any, Any]) -> Response[dict[str, str]]:
    """Answer 200 once the service has started and is not draining; otherwise 503 with the reason.

    The answer does not follow Cassandra's health: a shared outage must not take every pod out of
    the Service.
    """
    reason = request.app.state["context"].unready
    if reason is None:
        return Response({"status": "ready"})
    return Response({"status": "not ready", "reason": reason}, status_code=503)


@get(
    "/metrics",
    operation_id="metrics",
    summary="Export metrics for Prometheus",
    media_type="text/plain; version=0.0.4",
    **_COMMON,
)
def prometheus() -> bytes:
    """Return all metrics as Prometheus text."""
    return metrics.exposition()
