"""What the errors of Cassandra and its driver mean to a caller."""

from __future__ import annotations

from cassandra import (
    AuthenticationFailed,
    OperationTimedOut,
    ReadFailure,
    ReadTimeout,
    Unauthorized,
    Unavailable,
    UnresolvableContactPoints,
    WriteFailure,
    WriteTimeout,
)
from cassandra.cluster import NoHostAvailable
from cassandra.connection import ConnectionException
from cassandra.protocol import (
    IsBootstrappingErrorMessage,
    OverloadedErrorMessage,
    ServerError,
    TruncateError,
)

from player_sessions.rules.reasons import (
    STORE_OVERLOADED,
    STORE_TIMEOUT,
    STORE_UNAVAILABLE,
    Reason,
)
from player_sessions.telemetry import metrics
from player_sessions.telemetry.logs import Limited, log

_limited = Limited(1)


class StoreError(Exception):
    """Cassandra could not do it now, or should not be asked; sending it again is safe.

    `one_range` is true when only some partitions of a batch may have failed.
    """

    def __init__(self, reason: Reason, detail: str, *, one_range: bool = False) -> None:
        super().__init__(detail)
        self.reason = reason
        self.one_range = one_range


def describe(error: BaseException) -> str:
    """Return what happened in words, which are never empty, also for an error without a text."""
    if isinstance(error, UnresolvableContactPoints):
        return "no contact point has an address"
    if isinstance(error, OperationTimedOut):
        return _causes(error.errors) or "no answer in time"
    if isinstance(error, NoHostAvailable):
        return _causes(error.errors) or str(error.args[0]) or "no node could be asked"
    text = str(error).replace("None", "").strip()
    return str(error) if any(map(str.isalpha, text)) else type(error).__name__


def _causes(errors: object) -> str:
    """Return the reasons of all nodes, each different one once; `errors` is the driver's."""
    reasons = errors.values() if isinstance(errors, dict) else ()
    return "; ".join(
        sorted({describe(each) if isinstance(each, Exception) else str(each) for each in reasons})
    )


def login_refused(error: BaseException) -> bool:
    """Return whether a node answered and refused user name and password."""
    errors = getattr(error, "errors", None)
    causes = errors.values() if isinstance(errors, dict) else ()
    return any(isinstance(cause, AuthenticationFailed) for cause in causes)


def translate(error: BaseException) -> BaseException:
    """Return the StoreError that an error of the driver amounts to, or a bug of ours unchanged."""
    if isinstance(error, StoreError):
        return error
    if isinstance(error, Unavailable):
        return StoreError(STORE_UNAVAILABLE, "too few replicas are up", one_range=True)
    if isinstance(error, WriteTimeout | ReadTimeout):
        return StoreError(STORE_TIMEOUT, "too few replicas answered in time", one_range=True)
    if isinstance(error, WriteFailure | ReadFailure):
        return StoreError(STORE_UNAVAILABLE, "too few replicas succeeded", one_range=True)
    if isinstance(error, OverloadedErrorMessage):
        return StoreError(STORE_OVERLOADED, "Cassandra is overloaded")
    if isinstance(error, OperationTimedOut):
        return StoreError(STORE_TIMEOUT, "Cassandra did not answer in time")
    # A node also answers this when it cannot read the role's grants because their quorum is lost.
    if isinstance(error, Unauthorized):
        return StoreError(STORE_UNAVAILABLE, "Cassandra does not permit it")
    if isinstance(
        error,
        NoHostAvailable
        | UnresolvableContactPoints
        | ConnectionException
        | IsBootstrappingErrorMessage
        | ServerError
        | TruncateError
        | AuthenticationFailed,
    ):
        return StoreError(STORE_UNAVAILABLE, "no node of Cassandra could do it")
    return error


def counted(error: BaseException) -> BaseException:
    """Translate an error of a statement, and count it once in the metrics."""
    translated = translate(error)
    if isinstance(error, Unauthorized):
        _limited(
            log.error,
            "Cassandra does not permit the service's role to do it",
            cause=describe(error),
        )
    label = translated.reason.name if isinstance(translated, StoreError) else "bug"
    metrics.STORE_ERRORS.labels(label).inc()
    return translated
