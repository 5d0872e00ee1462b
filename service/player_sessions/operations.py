"""Liveness, readiness, metrics and the log's level: for the kubelet, Prometheus and operators.

Not for games: a setting gives these routes a port of their own.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from litestar import Request, get, put
from litestar.response import Response

from player_sessions import openapi
from player_sessions.ingest import read_body
from player_sessions.keys import ADMIN
from player_sessions.problems import INVALID_PARAMETER, Refused
from player_sessions.telemetry import logs, metrics

_COMMON: dict[str, Any] = {"sync_to_thread": False, "tags": ["operations"], "operations": True}


class Level(msgspec.Struct, frozen=True):
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"]  # openapi.LEVELS


_decode_level = msgspec.json.Decoder(Level).decode


@get("/health/live", operation_id="live", security=[{}], **_COMMON)
def live() -> dict[str, str]:
    """200 as long as the process answers at all."""
    return {"status": "live"}


@get("/health/ready", operation_id="ready", security=[{}], **_COMMON)
def ready(request: Request[Any, Any, Any]) -> Response[dict[str, str]]:
    """200 once started and not draining, else 503 with the reason.

    It does not follow Cassandra's health: a shared outage must not take every pod out of service.
    """
    reason = request.app.state["service"].unready
    if reason is None:
        return Response({"status": "ready"})
    return Response({"status": "not ready", "reason": reason}, status_code=503)


@get(
    "/metrics",
    operation_id="metrics",
    media_type="text/plain; version=0.0.4",
    security=[{}],
    **_COMMON,
)
def prometheus() -> bytes:
    """Prometheus' text form."""
    return metrics.exposition()


@put(
    "/admin/log-level",
    operation_id="log-level",
    operation_class=openapi.LogLevel,
    key=ADMIN,
    responses=openapi.problems(400, 401, 403, 408, 413, 415, 500),
    tags=["operations"],
    operations=True,
)
async def log_level(request: Request[Any, Any, Any]) -> Level:
    """Log from this level on, until the process ends. At DEBUG each request has a line."""
    body = await read_body(request.scope, request.receive, request.app.state["service"])
    try:
        wanted = _decode_level(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        detail = f'the body must be {{"level": one of {", ".join(openapi.LEVELS)}}}: {error}'
        raise Refused(400, INVALID_PARAMETER, detail) from None
    logs.set_level(wanted.level)
    logs.log.warning("log level set", level=wanted.level)
    return wanted


HANDLERS = [live, ready, prometheus, log_level]
