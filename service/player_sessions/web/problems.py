"""How errors are answered: problems of RFC 9457, with one stable type per reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from litestar import Request
from litestar.exceptions import HTTPException, ValidationException
from litestar.response import Response

from player_sessions.rules.events import BatchRefused, EventError
from player_sessions.rules.players import InvalidPlayerId
from player_sessions.rules.reasons import (
    HTTP_ERROR,
    INTERNAL_ERROR,
    INVALID_PARAMETER,
    METHOD_NOT_ALLOWED,
    NOT_FOUND,
    NOT_READY,
    OF_SHEDDING,
    Reason,
)
from player_sessions.rules.sessions import InvalidCursor
from player_sessions.store.store import StoreError
from player_sessions.telemetry import metrics
from player_sessions.telemetry.logs import Limited, log
from player_sessions.telemetry.request_ids import ids
from player_sessions.web.answer import Answer
from player_sessions.web.documents import Problem
from player_sessions.web.headers import NO_STORE, allow

_RETRY_AFTER = "1"
_NOT_READY = "the service is not ready; its log and /health/ready say why"

_encode = msgspec.json.Encoder().encode
_limited = Limited(5)
_OF_STATUS = {
    404: (NOT_FOUND, "the service has no such path"),
    405: (METHOD_NOT_ALLOWED, "this path takes other methods; the header Allow names them"),
}


class Refused(Exception):
    """A request that is answered with a problem: its reason, and a sentence about this case."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def problem(
    reason: Reason,
    detail: str,
    errors: tuple[EventError, ...] = (),
    *,
    status: int | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Return the RFC 9457 answer for `reason`, with its own status unless another is given.

    A 503 carries `Retry-After`. `X-Request-Id` names the id by which the log has the request. No
    cache may store the answer: it is about one request, and perhaps about a player.
    """
    status = reason.status if status is None else status
    document = Problem(
        type=reason.type,
        title=reason.title,
        status=status,
        detail=detail,
        errors=errors or msgspec.UNSET,
    )
    headers = {**NO_STORE, **(headers or {})}
    if status == 503:
        headers["Retry-After"] = _RETRY_AFTER
    if request_id := ids().get("request_id"):
        headers["X-Request-Id"] = request_id
    return Answer(_encode(document), b"application/problem+json", status, headers)


def _of_batch(error: BatchRefused) -> Answer:
    names = sorted({e.reason for e in error.errors} or {error.reason.name})
    for name in names:
        metrics.REFUSED.labels(name).inc()
    _limited(log.info, "batch refused", reasons=names, wrong_events=len(error.errors))
    return problem(error.reason, error.detail, error.errors)


def _of_refused(error: Refused) -> Answer:
    headers = {}
    if error.reason.status in (408, 413):  # the rest of the body is not read
        headers["Connection"] = "close"
    if error.reason.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return problem(error.reason, str(error), headers=headers)


def _of_store(error: StoreError) -> Answer:
    if error.reason in OF_SHEDDING:
        metrics.SHED.labels(error.reason.name).inc()
    # The reason names addresses inside the cluster, so it is not for whoever may call.
    detail = _NOT_READY if error.reason == NOT_READY else str(error)
    return problem(error.reason, detail)


def _of_http_exception(error: HTTPException) -> Answer:
    reason, detail = _OF_STATUS.get(error.status_code, (HTTP_ERROR, error.detail))
    headers = {name.lower(): value for name, value in (error.headers or {}).items()}
    if methods := headers.get("allow"):
        headers["allow"] = allow(methods.split(", "))
    return problem(reason, detail, status=error.status_code, headers=headers)


def _of_bug(error: Exception) -> Answer:
    _limited(log.error, "unexpected error", exc_info=error)
    return problem(INTERNAL_ERROR, "the service failed; the log says why")


_ANSWERS: dict[type[Exception], Callable[[Any], Answer]] = {
    BatchRefused: _of_batch,
    Refused: _of_refused,
    StoreError: _of_store,
    InvalidCursor: lambda _: problem(
        INVALID_PARAMETER, "cursor: must be the next_cursor of an earlier answer"
    ),
    InvalidPlayerId: lambda error: problem(INVALID_PARAMETER, f"player_id: {error}"),
    HTTPException: _of_http_exception,
    Exception: _of_bug,
}


def answer_for(error: Exception) -> Answer:
    """Return the problem that this error is to the client."""
    return next(_ANSWERS[kind] for kind in type(error).__mro__ if kind in _ANSWERS)(error)


def _of_validation(request: Request[Any, Any, Any], error: ValidationException) -> Response[bytes]:
    """Say what each wrong parameter must be, in the words of the route's option `must_be`."""
    words = request.route_handler.opt["must_be"]
    names = [wrong["key"] for wrong in error.extra or [] if isinstance(wrong, dict)]
    detail = "; ".join(f"{name}: must be {words[name]}" for name in names)
    return problem(INVALID_PARAMETER, detail).as_response()


HANDLERS: Any = {
    **{kind: lambda _, error: answer_for(error).as_response() for kind in _ANSWERS},
    ValidationException: _of_validation,
}
