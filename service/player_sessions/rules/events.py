"""What an event is, and when it is refused: pure rules, with the time of now passed in.

A body is decoded and checked in one fast pass. When that fails, a slow pass looks at each event by
itself and says which events are wrong and why. The slow pass takes whatever the fast pass takes,
and what JSON allows beyond that: see `known_fields`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import Meta

from player_sessions.rules import known_fields, reasons
from player_sessions.rules.fields import Country, SessionId, Timestamp
from player_sessions.rules.known_fields import UNDECODABLE
from player_sessions.rules.players import InvalidPlayerId, PlayerId, PlayerOf, player_uuid
from player_sessions.rules.reasons import Reason
from player_sessions.rules.sent_events import PLAYER_ID, SentEvents

MAX_EVENTS = 10  # of a batch, unless the setting says otherwise
_EPOCH_NAIVE = datetime(1970, 1, 1)
_EPOCH = _EPOCH_NAIVE.replace(tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


class _Event(msgspec.Struct, frozen=True, gc=False, tag_field="event"):
    player_id: PlayerId
    session_id: SessionId
    ts: Timestamp

    @property
    def at_ms(self) -> int:
        """The event's own time in whole milliseconds since 1970 UTC."""
        return to_ms(self.ts)


class Start(_Event, frozen=True, gc=False, tag="start"):
    """A player began a session in a country."""

    country: Country

    kind: ClassVar[str] = "start"


class End(_Event, frozen=True, gc=False, tag="end"):
    """A player ended a session. The session's country is the start's, not this one."""

    country: Country | None = None

    kind: ClassVar[str] = "end"


Event = Start | End
Events = Annotated[list[Event], Meta(min_length=1)]


class EventsBody(msgspec.Struct, frozen=True, gc=False):
    """The body of `POST /v1/events`."""

    events: Events


class RowsBody(msgspec.Struct, frozen=True, gc=False):
    """The body of the original contract, `POST /`."""

    rows: Events


class EventError(msgspec.Struct, frozen=True):
    """Why event `index` (from 0) of a batch is refused; `reason` is the name of one OF_EVENT."""

    index: int
    field: str
    reason: str
    detail: str


class BatchRefused(Exception):
    """The batch cannot be stored as it is: a reason, a sentence, and the wrong events if any."""

    def __init__(self, reason: Reason, detail: str, errors: tuple[EventError, ...] = ()) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.errors = errors


def to_ms(moment: datetime) -> int:
    """Return whole milliseconds since 1970 UTC; a moment without an offset is in UTC."""
    return (moment - (_EPOCH_NAIVE if moment.tzinfo is None else _EPOCH)) // _MILLISECOND


def from_ms(ms: int) -> datetime:
    """Return the moment in UTC; the inverse of `to_ms`."""
    return _EPOCH + timedelta(milliseconds=ms)


MAX_MS = to_ms(datetime.max) - 1  # as `latest_ms`: any time is early enough
_decode_events = msgspec.json.Decoder(EventsBody).decode
_decode_rows = msgspec.json.Decoder(RowsBody).decode
_sent = SentEvents(Start, End)
decode_event = _sent.decode_one
convert_events = _sent.convert  # the items must be such that `explain_event` finds no error
_decode_sent_events, _decode_sent_rows = _sent.decoder("events"), _sent.decoder("rows")


def read_events(
    body: bytes,
    latest_ms: int,
    max_events: int = MAX_EVENTS,
    player_of: PlayerOf = player_uuid,
) -> list[Event]:
    """Return the 1 to `max_events` events of `{"events": […]}`, none later than `latest_ms`.

    `player_of` says what a player id is. Raises BatchRefused, which names every wrong event.
    """
    try:
        events = _decode_events(body).events
    except UNDECODABLE:
        events = _decode_sent_events(body, player_of)
    if not 1 <= len(events) <= max_events:
        events = _read_slowly(body, "events", latest_ms, max_events, player_of)
    return check(events, latest_ms)


def read_rows(
    body: bytes,
    latest_ms: int,
    max_events: int = MAX_EVENTS,
    player_of: PlayerOf = player_uuid,
) -> list[Event]:
    """Return the events of the original contract's `{"rows": […]}`, like `read_events`."""
    try:
        events = _decode_rows(body).rows
    except UNDECODABLE:
        events = _decode_sent_rows(body, player_of)
    if not 1 <= len(events) <= max_events:
        events = _read_slowly(body, "rows", latest_ms, max_events, player_of)
    return check(events, latest_ms)


def check(events: list[Event], latest_ms: int) -> list[Event]:
    """Return the same events if none is later than `latest_ms`; raises BatchRefused otherwise."""
    too_late = from_ms(latest_ms + 1)  # comparing datetimes takes half the time of `to_ms`
    too_late_naive = too_late.replace(tzinfo=None)
    for event in events:
        if event.ts >= (too_late_naive if event.ts.tzinfo is None else too_late):
            raise _refused([_too_late(i) for i, e in enumerate(events) if e.at_ms > latest_ms])
    return events


def _too_late(index: int) -> EventError:
    detail = "lies further in the future than clocks may differ"
    return _error(index, "ts", reasons.TIMESTAMP_IN_FUTURE, detail)


def _error(index: int, field: str, reason: Reason, detail: str) -> EventError:
    return EventError(index, field, reason.name, detail)


def _refused(errors: list[EventError]) -> BatchRefused:
    wrong = len({error.index for error in errors})
    detail = f"{wrong} of the batch's events cannot be stored, so none was"
    return BatchRefused(reasons.INVALID_EVENTS, detail, tuple(errors))


# The slow pass runs only for a body that the fast pass could not read, or that has too many events.

_FIELDS: dict[str, tuple[Any, Reason, str]] = {
    PLAYER_ID: (str, reasons.INVALID_PLAYER_ID, "must be text"),
    "session_id": (SessionId, reasons.INVALID_SESSION_ID, "must be a UUID"),
    "event": (Literal["start", "end"], reasons.INVALID_EVENT, 'must be "start" or "end"'),
    "ts": (Timestamp, reasons.INVALID_TIMESTAMP, "must be a time such as 2016-12-02T05:36:16Z"),
    "country": (Country | None, reasons.INVALID_COUNTRY, "must be two capital letters"),
}
EVENT_FIELDS = tuple(_FIELDS)


def _read_slowly(
    body: bytes, key: str, latest_ms: int, max_events: int, player_of: PlayerOf
) -> list[Event]:
    """Return the events if they are valid after all; raises BatchRefused, which says why not."""
    try:
        items = _items_of(body, key, max_events)
    except UNDECODABLE as error:
        raise BatchRefused(reasons.INVALID_JSON, f"the body is not JSON: {error}") from None
    explained = (explain_event(i, item, latest_ms, player_of) for i, item in enumerate(items))
    if errors := [error for errors in explained for error in errors]:
        raise _refused(errors)
    return convert_events(items, player_of)


def _items_of(body: bytes, key: str, max_events: int) -> list[object]:
    items = known_fields.items_under(key, body)
    if items is None:
        detail = f'the body must be {{"{key}": [1-{max_events} events]}}'
        raise BatchRefused(reasons.INVALID_BATCH, detail)
    if not 1 <= len(items) <= max_events:
        detail = f"a batch has 1-{max_events} events, not {len(items)}"
        raise BatchRefused(reasons.BATCH_SIZE, detail)
    return [known_fields.event_of(item, EVENT_FIELDS) for item in items]


def explain_event(
    index: int, item: object, latest_ms: int, player_of: PlayerOf = player_uuid
) -> Iterator[EventError]:
    """Yield every error of one event, as JSON decodes it; nothing when the event is valid."""
    if not isinstance(item, dict):
        yield _error(index, "", reasons.NOT_AN_OBJECT, "an event must be a JSON object")
        return
    yield from _field_errors(index, item, player_of)
    if _converts(item.get("ts"), datetime):
        ts: datetime = msgspec.convert(item["ts"], datetime)
        if to_ms(ts) > latest_ms:
            yield _too_late(index)


def _field_errors(index: int, item: dict[str, object], player_of: PlayerOf) -> Iterator[EventError]:
    is_start = item.get("event") == "start"
    for name, (kind, reason, detail) in _FIELDS.items():
        if name == "country" and is_start and item.get(name) is None:
            yield _error(index, name, reasons.MISSING_COUNTRY, "a start needs a country")
        elif name in item:
            if not _converts(item[name], kind):
                yield _error(index, name, reason, detail)
            elif name == PLAYER_ID and (refused := _refusal(str(item[name]), player_of)):
                yield _error(index, name, refused.reason, str(refused))
        elif name != "country":
            yield _error(index, name, reasons.MISSING_FIELD, f"an event needs {name}")


def _refusal(text: str, player_of: PlayerOf) -> InvalidPlayerId | None:
    try:
        player_of(text)
    except InvalidPlayerId as refused:
        return refused
    return None


def _converts(value: object, kind: Callable[..., object]) -> bool:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True
