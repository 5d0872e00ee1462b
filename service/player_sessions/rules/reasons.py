"""Every reason for which a request or an event is refused, each defined once.

The problem's `type`, the label of the metric, the field of the log line and the tables in
docs/api.md (`make docs` writes them) all come from here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

PROBLEM_TYPE = "urn:player-sessions:problem:"


@dataclass(frozen=True, eq=False, slots=True)
class Reason:
    """One reason of refusal.

    name: never changes once released, since callers compare it.
    status: the HTTP status of the answer; a reason for one event has the status of its batch.
    title: a few words for people.
    advice: what the caller should do next.
    """

    name: str
    status: int
    title: str
    advice: str

    @property
    def type(self) -> str:
        """The `type` of the problem (RFC 9457)."""
        return PROBLEM_TYPE + self.name


_SEND_AGAIN = "Send the same request again after `Retry-After` seconds"
_PARTLY_STORED = f"{_SEND_AGAIN}. Part of the batch may be stored already, which does no harm."
_NOT_STORED = f"{_SEND_AGAIN}. Nothing was stored."

# A connection that is closed because of what came over it.
MALFORMED_REQUEST = Reason(
    "malformed-request",
    400,
    "Malformed request",
    "Send valid HTTP/1.1 with one `Host`, as `detail` says.",
)
HEAD_TOO_LARGE = Reason(
    "head-too-large",
    431,
    "Head too large",
    "Send at most 64 KiB and 100 headers outside the body.",
)
TOO_MANY_PIPELINED = Reason(
    "too-many-pipelined",
    503,
    "Too many pipelined requests",
    "Wait for answers: at most 32 requests of one connection may be unanswered. Send the requests"
    " without an answer again; nothing of them was stored.",
)

# A body that cannot be read.
INVALID_JSON = Reason("invalid-json", 400, "Invalid JSON", "Fix the body: it must be JSON.")
INVALID_ENCODING = Reason(
    "invalid-encoding",
    400,
    "Invalid encoding",
    "Send whole gzip members, at most 100, or no `Content-Encoding`.",
)
BODY_TIMEOUT = Reason(
    "body-timeout", 408, "Body timeout", "Send the body faster: it must arrive within 5 s."
)
BODY_TOO_LARGE = Reason(
    "body-too-large",
    413,
    "Body too large",
    "Send at most 64 KiB in one body, counted after inflating.",
)
UNSUPPORTED_MEDIA_TYPE = Reason(
    "unsupported-media-type",
    415,
    "Unsupported media type",
    "Send `application/json`, plain or compressed with gzip.",
)

# A request that cannot be served as it is.
INVALID_PARAMETER = Reason(
    "invalid-parameter",
    400,
    "Invalid parameter",
    "Fix the path, its parameters, or the body of `GET /`, as `detail` says.",
)
UNAUTHORIZED = Reason(
    "unauthorized", 401, "Unauthorized", "Send `Authorization: Bearer <key>` with a valid key."
)
FORBIDDEN = Reason("forbidden", 403, "Forbidden", "Use a key that has the scope for this call.")
NOT_FOUND = Reason("not-found", 404, "Not found", "Fix the path.")
SESSION_NOT_FOUND = Reason(
    "session-not-found",
    404,
    "Session not found",
    "Check both ids: neither a start nor an end of this session is stored. An event that is older"
    " than the retention is gone.",
)
METHOD_NOT_ALLOWED = Reason(
    "method-not-allowed", 405, "Method not allowed", "Use one of the methods in `Allow`."
)
HTTP_ERROR = Reason("http-error", 400, "HTTP error", "Fix what `detail` says.")

# A batch that cannot be stored.
INVALID_BATCH = Reason(
    "invalid-batch", 422, "Invalid batch", "Send an object with the events under the right key."
)
BATCH_SIZE = Reason(
    "batch-size", 422, "Batch size", "Send 1-10 events in one batch, or as many as `detail` says."
)
INVALID_EVENTS = Reason(
    "invalid-events",
    422,
    "Invalid events",
    "Fix the events that `errors` names, or send the others without them, for instance by"
    " `Prefer: handling=lenient`.",
)

# One event of a batch that cannot be stored.
NOT_AN_OBJECT = Reason("not-an-object", 422, "Not an object", "Send each event as a JSON object.")
MISSING_FIELD = Reason("missing-field", 422, "Missing field", "Send the field that `field` names.")
INVALID_PLAYER_ID = Reason(
    "invalid-player-id",
    422,
    "Invalid player id",
    "Send 1-128 printable characters. Where the service takes only UUIDs, send 32 hexadecimal"
    " digits, with or without dashes.",
)
PLACEHOLDER_PLAYER_ID = Reason(
    "placeholder-player-id",
    422,
    "Placeholder player id",
    "Fix the client: it sent the text of a missing value as the id, such as `null` or `undefined`.",
)
INVALID_SESSION_ID = Reason("invalid-session-id", 422, "Invalid session id", "Send a UUID.")
INVALID_EVENT = Reason("invalid-event", 422, "Invalid event", 'Send `"start"` or `"end"`.')
INVALID_TIMESTAMP = Reason(
    "invalid-timestamp",
    422,
    "Invalid timestamp",
    "Send a time of RFC 3339, or without an offset in UTC.",
)
INVALID_COUNTRY = Reason("invalid-country", 422, "Invalid country", "Send two capital letters.")
MISSING_COUNTRY = Reason(
    "missing-country", 422, "Missing country", "Send the country of every start."
)
TIMESTAMP_IN_FUTURE = Reason(
    "timestamp-in-future",
    422,
    "Timestamp in future",
    "Set the client's clock: it may be at most 5 minutes ahead.",
)

# Not now: the same request may succeed a moment later.
STORE_UNAVAILABLE = Reason("store-unavailable", 503, "Store unavailable", _PARTLY_STORED)
STORE_TIMEOUT = Reason("store-timeout", 503, "Store timeout", _PARTLY_STORED)
STORE_OVERLOADED = Reason("store-overloaded", 503, "Store overloaded", _PARTLY_STORED)
OVERLOADED = Reason("overloaded", 503, "Overloaded", _NOT_STORED)
QUEUE_FULL = Reason("queue-full", 503, "Queue full", _NOT_STORED)
TOO_MANY_READS = Reason("too-many-reads", 503, "Too many reads", _NOT_STORED)
STILL_COUNTING = Reason(
    "still-counting",
    503,
    "Still counting",
    f"{_SEND_AGAIN}: it goes on from what has been counted.",
)
TOO_MANY_CONNECTIONS = Reason("too-many-connections", 503, "Too many connections", _NOT_STORED)
NOT_READY = Reason("not-ready", 503, "Not ready", _NOT_STORED)

INTERNAL_ERROR = Reason(
    "internal-error", 500, "Internal error", "Tell the operators: the service has an error."
)

OF_CONNECTION = (MALFORMED_REQUEST, HEAD_TOO_LARGE, TOO_MANY_PIPELINED)
OF_BODY = (
    INVALID_JSON,
    INVALID_ENCODING,
    BODY_TIMEOUT,
    BODY_TOO_LARGE,
    UNSUPPORTED_MEDIA_TYPE,
)
OF_ACCESS = (UNAUTHORIZED, FORBIDDEN)
OF_REQUEST = (
    INVALID_PARAMETER,
    *OF_ACCESS,
    NOT_FOUND,
    SESSION_NOT_FOUND,
    METHOD_NOT_ALLOWED,
    HTTP_ERROR,
)
OF_BATCH = (INVALID_BATCH, BATCH_SIZE, INVALID_EVENTS)
OF_EVENT = (
    NOT_AN_OBJECT,
    MISSING_FIELD,
    INVALID_PLAYER_ID,
    PLACEHOLDER_PLAYER_ID,
    INVALID_SESSION_ID,
    INVALID_EVENT,
    INVALID_TIMESTAMP,
    INVALID_COUNTRY,
    MISSING_COUNTRY,
    TIMESTAMP_IN_FUTURE,
)
OF_STORE = (STORE_UNAVAILABLE, STORE_TIMEOUT, STORE_OVERLOADED)
# The surplus is refused at once, so that accepted requests keep their latency.
OF_SHEDDING = (OVERLOADED, QUEUE_FULL, TOO_MANY_READS, TOO_MANY_CONNECTIONS, NOT_READY)
OF_PROBLEMS = (
    *OF_CONNECTION,
    *OF_BODY,
    *OF_REQUEST,
    *OF_BATCH,
    *OF_STORE,
    *OF_SHEDDING,
    STILL_COUNTING,
    INTERNAL_ERROR,
)
BY_NAME = {reason.name: reason for reason in (*OF_PROBLEMS, *OF_EVENT)}


def names(reasons: Iterable[Reason]) -> tuple[str, ...]:
    """Return the names of `reasons`, for instance as the values of a metric's label."""
    return tuple(reason.name for reason in reasons)
