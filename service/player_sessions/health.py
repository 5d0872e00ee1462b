"""Liveness, readiness and metrics: for the kubelet and Prometheus, not for games."""

from __future__ import annotations

from typing import Any

from litestar import Request, get
from litestar.response import Response

from player_sessions import telemetry

DRAINING = "draining"


@get("/health/live", sync_to_thread=False, operation_id="live", tags=["operations"])
def live() -> dict[str, str]:
    """200 as long as the process answers at all."""
    return {"status": "live"}


@get("/health/ready", sync_to_thread=False, operation_id="ready", tags=["operations"])
def ready(request: Request[Any, Any, Any]) -> Response[dict[str, str]]:
    """200 once started and not draining, else 503 with the reason.

    It does not follow Cassandra's health: a shared outage must not take every pod out of service.
    """
    service = request.app.state["service"]
    reason = DRAINING if service.draining else service.store.reason
    if reason is None:
        return Response({"status": "ready"})
    return Response({"status": "not ready", "reason": reason}, status_code=503)


@get(
    "/metrics",
    sync_to_thread=False,
    operation_id="metrics",
    tags=["operations"],
    media_type="text/plain; version=0.0.4",
)
def metrics() -> bytes:
    """Prometheus' text form."""
    return telemetry.exposition()
