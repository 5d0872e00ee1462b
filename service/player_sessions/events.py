"""What an event is and when one is refused: pure rules, with `now` passed in.

A body is decoded and checked in one pass; only when that fails is it looked at again, slowly, to
say which events are wrong and why. Both passes use the same types, so they cannot disagree on
what is valid. Nothing here does I/O or knows of HTTP and Cassandra.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec

MAX_EVENTS = 10
_EPOCH_NAIVE = datetime(1970, 1, 1)
_EPOCH = _EPOCH_NAIVE.replace(tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)

# Each refusal has one constant: it is the problem's type, the metric's label and the log's field.
INVALID_JSON = "invalid-json"
INVALID_BATCH = "invalid-batch"
BATCH_SIZE = "batch-size"
INVALID_EVENTS = "invalid-events"
MISSING_FIELD = "missing-field"
NOT_AN_OBJECT = "not-an-object"
INVALID_PLAYER_ID = "invalid-player-id"
INVALID_SESSION_ID = "invalid-session-id"
INVALID_EVENT = "invalid-event"
INVALID_TIMESTAMP = "invalid-timestamp"
INVALID_COUNTRY = "invalid-country"
MISSING_COUNTRY = "missing-country"
TIMESTAMP_IN_FUTURE = "timestamp-in-future"

EVENT_REASONS = (
    NOT_AN_OBJECT,
    MISSING_FIELD,
    INVALID_PLAYER_ID,
    INVALID_SESSION_ID,
    INVALID_EVENT,
    INVALID_TIMESTAMP,
    INVALID_COUNTRY,
    MISSING_COUNTRY,
    TIMESTAMP_IN_FUTURE,
)

Country = Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{2}\Z")]


class Event(msgspec.Struct, frozen=True, gc=False):
    """One event as it stands in a body; `country` may be None on an end only."""

    player_id: UUID
    session_id: UUID
    event: Literal["start", "end"]
    ts: datetime
    country: Country | None = None

    @property
    def at_ms(self) -> int:
        """The event's own time, in whole milliseconds since 1970 UTC; no offset means UTC."""
        return to_ms(self.ts)


_Events = Annotated[list[Event], msgspec.Meta(min_length=1, max_length=MAX_EVENTS)]


class EventsBody(msgspec.Struct, frozen=True, gc=False):
    events: _Events


class RowsBody(msgspec.Struct, frozen=True, gc=False):
    """The body of the original contract, `POST /`."""

    rows: _Events


class EventError(msgspec.Struct, frozen=True):
    """Why event `index` (from 0) of a batch is refused; `reason` is one of EVENT_REASONS."""

    index: int
    field: str
    reason: str
    detail: str


class BatchRefused(Exception):
    """The batch cannot be stored as it is: `reason`, a sentence, and the wrong events if any."""

    def __init__(self, reason: str, detail: str, errors: tuple[EventError, ...] = ()) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.errors = errors


def to_ms(moment: datetime) -> int:
    """Whole milliseconds since 1970 UTC; a moment without an offset is in UTC."""
    return (moment - (_EPOCH_NAIVE if moment.tzinfo is None else _EPOCH)) // _MILLISECOND


def from_ms(ms: int) -> datetime:
    """The inverse of `to_ms`, in UTC."""
    return _EPOCH + timedelta(milliseconds=ms)


MAX_MS = to_ms(datetime.max) - 1  # a bound for those who take any time

_decode_events = msgspec.json.Decoder(EventsBody).decode
_decode_rows = msgspec.json.Decoder(RowsBody).decode
_decode_any = msgspec.json.Decoder().decode


def read_events(body: bytes, latest_ms: int) -> list[Event]:
    """The 1-10 events of `{"events": […]}`, none later than `latest_ms`.

    Raises BatchRefused, naming every wrong event.
    """
    try:
        return check(_decode_events(body).events, latest_ms)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _explain(body, "events", latest_ms) from None


def read_rows(body: bytes, latest_ms: int) -> list[Event]:
    """As `read_events`, for the original contract's `{"rows": […]}`."""
    try:
        return check(_decode_rows(body).rows, latest_ms)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _explain(body, "rows", latest_ms) from None


def check(events: list[Event], latest_ms: int) -> list[Event]:
    """The same events, if each also keeps the rules that span fields; else raises BatchRefused."""
    too_late = from_ms(latest_ms + 1)  # times compare in half the time that `at_ms` takes
    too_late_naive = too_late.replace(tzinfo=None)
    for event in events:
        ts = event.ts
        if ts >= (too_late_naive if ts.tzinfo is None else too_late):
            break
        if event.country is None and event.event == "start":
            break
    else:
        return events
    raise _refused([e for i, event in enumerate(events) for e in _rules(i, event, latest_ms)])


def _rules(index: int, event: Event, latest_ms: int) -> Iterator[EventError]:
    if event.country is None and event.event == "start":
        yield EventError(index, "country", MISSING_COUNTRY, "a start needs a country")
    if event.at_ms > latest_ms:
        detail = "lies further in the future than clocks may differ"
        yield EventError(index, "ts", TIMESTAMP_IN_FUTURE, detail)


def _refused(errors: list[EventError]) -> BatchRefused:
    wrong = len({error.index for error in errors})
    detail = f"{wrong} of the batch's events cannot be stored, so none was"
    return BatchRefused(INVALID_EVENTS, detail, tuple(errors))


# The slow pass: only for a body that was refused already.

_FIELDS: dict[str, tuple[Any, str, str]] = {
    "player_id": (UUID, INVALID_PLAYER_ID, "must be 32 hexadecimal digits, with or without dashes"),
    "session_id": (UUID, INVALID_SESSION_ID, "must be a UUID"),
    "event": (Literal["start", "end"], INVALID_EVENT, 'must be "start" or "end"'),
    "ts": (datetime, INVALID_TIMESTAMP, 'must be a time like "2016-12-02T05:36:16" or RFC 3339'),
    "country": (Country | None, INVALID_COUNTRY, "must be two capital letters"),
}


def _explain(body: bytes, key: str, latest_ms: int) -> BatchRefused:
    """Why the body was refused."""
    try:
        document = _decode_any(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return BatchRefused(INVALID_JSON, f"the body is not JSON: {error}")
    if not isinstance(document, dict) or not isinstance(document.get(key), list):
        return BatchRefused(INVALID_BATCH, f'the body must be {{"{key}": [1-{MAX_EVENTS} events]}}')
    items = document[key]
    if not 1 <= len(items) <= MAX_EVENTS:
        return BatchRefused(BATCH_SIZE, f"a batch has 1-{MAX_EVENTS} events, not {len(items)}")
    return _refused([e for i, item in enumerate(items) for e in explain_event(i, item, latest_ms)])


def explain_event(index: int, item: object, latest_ms: int) -> Iterator[EventError]:
    """Every fault of one decoded event."""
    if not isinstance(item, dict):
        yield EventError(index, "", NOT_AN_OBJECT, "an event must be a JSON object")
        return
    faults = list(_field_faults(index, item))
    yield from faults
    if not faults:
        yield from _rules(index, msgspec.convert(item, Event), latest_ms)


def _field_faults(index: int, item: dict[str, object]) -> Iterator[EventError]:
    for name, (kind, reason, detail) in _FIELDS.items():
        if name not in item:
            if name != "country":
                yield EventError(index, name, MISSING_FIELD, f"an event needs {name}")
            elif item.get("event") == "start":
                yield EventError(index, name, MISSING_COUNTRY, "a start needs a country")
        elif not _converts(item[name], kind):
            yield EventError(index, name, reason, detail)


def _converts(value: object, kind: Callable[..., object]) -> bool:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True
