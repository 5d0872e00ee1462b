"""What errors look like on the wire: RFC 9457 problems, one stable type per reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self

import msgspec
from litestar.exceptions import HTTPException, ValidationException

from player_sessions.driver import StoreError
from player_sessions.events import INVALID_JSON, BatchRefused, EventError
from player_sessions.link import NOT_READY
from player_sessions.openapi import PROBLEM_TYPE, Problem
from player_sessions.sessions import InvalidCursor
from player_sessions.store import TOO_MANY_READS
from player_sessions.telemetry import metrics
from player_sessions.telemetry.logs import Limited, log
from player_sessions.telemetry.traces import ids
from player_sessions.writer import OVERLOADED, QUEUE_FULL

BODY_TOO_LARGE = "body-too-large"
BODY_TIMEOUT = "body-timeout"
INVALID_ENCODING = "invalid-encoding"
UNSUPPORTED_MEDIA_TYPE = "unsupported-media-type"
INVALID_PARAMETER = "invalid-parameter"
NOT_FOUND = "not-found"
METHOD_NOT_ALLOWED = "method-not-allowed"
HTTP_ERROR = "http-error"
INTERNAL_ERROR = "internal-error"
_RETRY_AFTER = "1"
SHED = (QUEUE_FULL, OVERLOADED, TOO_MANY_READS, NOT_READY)

_encode = msgspec.json.Encoder().encode
_limited = Limited(5)


class Answer:
    """A ready answer; Litestar's own response would cost 5 µs more."""

    __slots__ = ("body", "headers", "status")

    def __init__(
        self,
        body: bytes,
        media_type: bytes = b"application/json",
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.body = body
        self.status = status
        self.headers = [(b"content-type", media_type), (b"content-length", b"%d" % len(body))]
        if headers:
            self.headers += [(k.lower().encode(), v.encode()) for k, v in headers.items()]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG002
        begin = {"type": "http.response.start", "status": self.status, "headers": self.headers}
        await send(begin)
        await send({"type": "http.response.body", "body": self.body})

    def to_asgi_response(self, *_: Any, **__: Any) -> Self:
        """What Litestar asks of what an exception handler returns."""
        return self


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
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """An RFC 9457 answer; 503 carries Retry-After, and each the id to find it in the log by."""
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
    if request_id := ids().get("request_id"):
        headers["X-Request-Id"] = request_id
    return Answer(_encode(document), b"application/problem+json", status, headers)


def _of_batch(error: BatchRefused) -> Answer:
    reasons = sorted({e.reason for e in error.errors} or {error.reason})
    for reason in reasons:
        metrics.REFUSED.labels(reason).inc()
    _limited(log.info, "batch refused", reasons=reasons, wrong_events=len(error.errors))
    status = 400 if error.reason == INVALID_JSON else 422
    return problem(status, error.reason, error.detail, error.errors)


def _of_refused(error: Refused) -> Answer:
    headers = {}
    if error.status in (408, 413):  # what is left of the body is not read
        headers["Connection"] = "close"
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return problem(error.status, error.reason, str(error), headers=headers)


def _of_store(error: StoreError) -> Answer:
    if error.reason in SHED:
        metrics.SHED.labels(error.reason).inc()
    return problem(503, error.reason, str(error))


def _of_validation(error: ValidationException) -> Answer:
    faults = [e for e in (error.extra or []) if isinstance(e, dict)]
    detail = "; ".join(f"{e.get('key')}: {e.get('message')}" for e in faults) or error.detail
    return problem(400, INVALID_PARAMETER, detail)


def _of_http_exception(error: HTTPException) -> Answer:
    reason = {404: NOT_FOUND, 405: METHOD_NOT_ALLOWED}.get(error.status_code, HTTP_ERROR)
    return problem(error.status_code, reason, error.detail, headers=error.headers)


def _of_bug(error: Exception) -> Answer:
    _limited(log.error, "unexpected error", exc_info=error)
    return problem(500, INTERNAL_ERROR, "the service failed; the log says why")


_ANSWERS: dict[type[Exception], Callable[[Any], Answer]] = {
    BatchRefused: _of_batch,
    Refused: _of_refused,
    StoreError: _of_store,
    InvalidCursor: lambda _: problem(
        400, INVALID_PARAMETER, "cursor: must be the next_cursor of an earlier answer"
    ),
    ValidationException: _of_validation,
    HTTPException: _of_http_exception,
    Exception: _of_bug,
}


def answer(error: Exception) -> Answer:
    """The problem that this error is to the client."""
    return next(_ANSWERS[kind] for kind in type(error).__mro__ if kind in _ANSWERS)(error)


HANDLERS: Any = {kind: lambda _, error: answer(error) for kind in _ANSWERS}
