"""What errors look like on the wire: RFC 9457 problems, one stable type per reason."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar.exceptions import HTTPException, ValidationException
from litestar.response import Response

from player_sessions import telemetry
from player_sessions.driver import StoreError
from player_sessions.events import INVALID_JSON, BatchRefused, EventError
from player_sessions.openapi import PROBLEM_TYPE, Problem
from player_sessions.sessions import InvalidCursor
from player_sessions.telemetry import log

BODY_TOO_LARGE = "body-too-large"
BODY_TIMEOUT = "body-timeout"
UNSUPPORTED_MEDIA_TYPE = "unsupported-media-type"
INVALID_PARAMETER = "invalid-parameter"
NOT_FOUND = "not-found"
METHOD_NOT_ALLOWED = "method-not-allowed"
HTTP_ERROR = "http-error"
INTERNAL_ERROR = "internal-error"
_RETRY_AFTER = "1"

_encode = msgspec.json.Encoder().encode


class Refused(Exception):
    """A request that is answered with a problem of this status and reason."""

    def __init__(self, status: int, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.reason = reason


def problem(
    status: int,
    reason: str,
    detail: str,
    errors: tuple[EventError, ...] = (),
    headers: dict[str, str] | None = None,
) -> Response[bytes]:
    """An RFC 9457 answer; 503 carries Retry-After."""
    document = Problem(
        type=PROBLEM_TYPE + reason,
        title=reason.replace("-", " ").capitalize(),
        status=status,
        detail=detail,
        errors=errors or msgspec.UNSET,
    )
    headers = dict(headers or {})
    if status == 503:
        headers["Retry-After"] = _RETRY_AFTER
    return Response(
        _encode(document),
        status_code=status,
        media_type="application/problem+json",
        headers=headers,
    )


def _on_batch_refused(_: Any, error: BatchRefused) -> Response[bytes]:
    for reason in {e.reason for e in error.errors} or {error.reason}:
        telemetry.REFUSED.labels(reason).inc()
    status = 400 if error.reason == INVALID_JSON else 422
    return problem(status, error.reason, error.detail, error.errors)


def _on_refused(_: Any, error: Refused) -> Response[bytes]:
    # What is left of the body is not read: the connection must not be used again.
    headers = {"Connection": "close"} if error.status in (408, 413) else None
    return problem(error.status, error.reason, str(error), headers=headers)


def _on_store_error(_: Any, error: StoreError) -> Response[bytes]:
    return problem(503, error.reason, str(error))


def _on_invalid_cursor(_: Any, __: InvalidCursor) -> Response[bytes]:
    return problem(400, INVALID_PARAMETER, "cursor: must be the next_cursor of an earlier answer")


def _on_validation(_: Any, error: ValidationException) -> Response[bytes]:
    faults = [e for e in (error.extra or []) if isinstance(e, dict)]
    detail = "; ".join(f"{e.get('key')}: {e.get('message')}" for e in faults) or error.detail
    return problem(400, INVALID_PARAMETER, detail)


def _on_http_exception(_: Any, error: HTTPException) -> Response[bytes]:
    reason = {404: NOT_FOUND, 405: METHOD_NOT_ALLOWED}.get(error.status_code, HTTP_ERROR)
    return problem(error.status_code, reason, error.detail, headers=dict(error.headers or {}))


def _on_bug(_: Any, error: Exception) -> Response[bytes]:
    log.error("unexpected error", exc_info=error)
    return problem(500, INTERNAL_ERROR, "the service failed; the log says why")


HANDLERS: Any = {
    BatchRefused: _on_batch_refused,
    Refused: _on_refused,
    StoreError: _on_store_error,
    InvalidCursor: _on_invalid_cursor,
    ValidationException: _on_validation,
    HTTPException: _on_http_exception,
    Exception: _on_bug,
}
