"""Lenient batches: the valid events of a batch are taken, and the others are named.

An event is taken exactly when a batch of it alone would be. A body that is no batch is refused as
always: its reader cannot know what else was in it.
"""

from __future__ import annotations

from collections.abc import Callable

from player_sessions.rules import known_fields
from player_sessions.rules.events import (
    EVENT_FIELDS,
    BatchRefused,
    Event,
    EventError,
    convert_events,
    explain_event,
)
from player_sessions.rules.known_fields import UNDECODABLE
from player_sessions.rules.players import PlayerOf
from player_sessions.rules.reasons import INVALID_EVENTS, INVALID_JSON

Read = Callable[[bytes, int, int, PlayerOf], list[Event]]


def read_leniently(
    read: Read, key: str, body: bytes, latest_ms: int, max_events: int, player_of: PlayerOf
) -> tuple[list[Event], tuple[EventError, ...]]:
    """Return the valid events of a body, and every error of its other events.

    `read` reads the events under `key` strictly; nothing else runs while all events are valid.
    Raises BatchRefused for a body that is no batch, or none of 1 to `max_events` events.
    """
    try:
        return read(body, latest_ms, max_events, player_of), ()
    except BatchRefused as refused:
        if refused.reason not in (INVALID_EVENTS, INVALID_JSON):
            raise
        items = _items_of(body, key)
        if items is None:  # not JSON at all
            raise
    explained = (explain_event(i, item, latest_ms, player_of) for i, item in enumerate(items))
    errors = tuple(error for each in explained for error in each)
    wrong = {error.index for error in errors}
    valid = [item for index, item in enumerate(items) if index not in wrong]
    return convert_events(valid, player_of), errors


def _items_of(body: bytes, key: str) -> list[object] | None:
    """Return the events of a batch, not checked yet; None for a body that is not JSON.

    A field with a value that Python cannot hold, such as half an emoji, makes only its own event
    wrong. `read` has checked how many events there are.
    """
    try:
        items = known_fields.items_under(key, body) or ()
        read_field = known_fields.plain_or_no_value
        return [known_fields.event_of(item, EVENT_FIELDS, read_field) for item in items]
    except UNDECODABLE:
        return None
