"""The JSON documents of the interface, other than events.

The types describe all of them. A page of sessions is written as text at once: objects of its types
would cost four times as much. `tests/property/test_documents.py` checks that the text is the same.
"""

from __future__ import annotations

import functools
from datetime import datetime, timedelta
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta

from player_sessions.rules.events import EventError
from player_sessions.rules.players import MAX_LENGTH, PLAYER_ID_SCHEMA, PLAYER_ID_WORDS
from player_sessions.rules.session_state import Status
from player_sessions.rules.sessions import Page, Session, duration_seconds, encode_cursor

_EPOCH = datetime(1970, 1, 1)
# The parts of a time of day, ready to be joined, which takes a quarter of formatting it.
_MINUTES = [f"T{hour:02}:{minute:02}:" for hour in range(24) for minute in range(60)]
_SECONDS = [f"{second:02}." for second in range(60)]
_MILLISECONDS = [f"{ms:03}Z" for ms in range(1000)]
_to_json = msgspec.json.Encoder().encode
Moment = Annotated[  # a time in UTC, always with milliseconds
    str,
    Meta(
        pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$",
        extra_json_schema={"extra": {"format": "date-time"}},  # where Litestar looks for more
    ),
]

# As it was asked for; a UUID as 32 lower-case digits.
ShownPlayerId = Annotated[str, Meta(min_length=1, max_length=MAX_LENGTH)]


def moment(ms: int) -> str:
    """Return a time in milliseconds since 1970 as answers have it: `2026-11-25T12:00:00.000Z`."""
    seconds, ms = divmod(ms, 1000)
    minutes, second = divmod(seconds, 60)
    day, minute = divmod(minutes, 24 * 60)
    return _date(day) + _MINUTES[minute] + _SECONDS[second] + _MILLISECONDS[ms]


@functools.lru_cache(1024)
def _date(day: int) -> str:
    return (_EPOCH + timedelta(day)).date().isoformat()


class Problem(msgspec.Struct, frozen=True):
    """A problem of RFC 9457. `type` is stable per reason; `errors` names a batch's wrong events."""

    type: str
    title: str
    status: int
    detail: str
    errors: tuple[EventError, ...] | msgspec.UnsetType = msgspec.UNSET


class Stored(msgspec.Struct, frozen=True):
    """How many events of a batch were stored, and how many discarded.

    An event that is older than the retention is discarded, which is not an error. In a lenient
    answer, `rejected` has an entry for every error of every event that was not stored.
    """

    accepted: Annotated[int, Meta(ge=0)]
    discarded: Annotated[int, Meta(ge=0)]
    rejected: tuple[EventError, ...] | msgspec.UnsetType = msgspec.UNSET


class SessionDocument(msgspec.Struct, frozen=True):
    """A complete session."""

    session_id: UUID
    country: Annotated[str, Meta(pattern="^[A-Z]{2}$")]
    started_at: Moment
    ended_at: Moment
    duration_seconds: Annotated[float, Meta(ge=0)]


class SessionStateDocument(msgspec.Struct, frozen=True):
    """A session of which the start, the end or both are stored; what is not known is null.

    `complete`: both are stored. `open`: it has no end yet. `unstarted`: it has an end alone.
    """

    session_id: UUID
    status: Status
    country: Annotated[str, Meta(pattern="^[A-Z]{2}$")] | None
    started_at: Moment | None
    ended_at: Moment | None
    duration_seconds: Annotated[float, Meta(ge=0)] | None


class PlayerDocument(msgspec.Struct, frozen=True):
    """Whether a player is online, and the session with the newest start, or null if none is known.

    `online`: that session has no end yet and began less than a day ago (a setting).
    """

    player_id: ShownPlayerId
    online: bool
    latest_session: SessionStateDocument | None


class PlayerSessions(msgspec.Struct, frozen=True):
    """A page of a player's complete sessions, newest end first."""

    player_id: ShownPlayerId
    sessions: list[SessionDocument]
    next_cursor: str | None


class CountryCount(msgspec.Struct, frozen=True):
    """How many sessions began in a country."""

    country: Annotated[str, Meta(pattern="^[A-Z]{2}$")]
    starts: Annotated[int, Meta(ge=1)]


class HourOfStarts(msgspec.Struct, frozen=True):
    """The session starts of one hour, which `hour` begins."""

    hour: Moment
    total: Annotated[int, Meta(ge=0)]
    countries: list[CountryCount]


class StartsByCountry(msgspec.Struct, frozen=True, rename={"since": "from", "until": "to"}):
    """Session starts per country from `from` to just before `to`, most first.

    Every start that was stored before `as_of` is counted. `hours` is there if it was asked for.
    """

    since: Moment
    until: Moment
    as_of: Moment
    total: Annotated[int, Meta(ge=0)]
    countries: list[CountryCount]
    hours: list[HourOfStarts] | msgspec.UnsetType = msgspec.UNSET


class ErasedPlayer(msgspec.Struct, frozen=True):
    """A player of whom every event up to `erased_through` is gone and stays gone.

    `erased_through` lies as far in the future as the time of an event may, 5 minutes.
    """

    player_id: ShownPlayerId
    erased_through: Moment


def player_sessions(player_id: str, page: Page) -> bytes:
    """Return the `PlayerSessions` of a page as JSON."""
    sessions = ",".join([_session(session) for session in page.sessions])
    cursor = page.next_position and encode_cursor(page.next_position)
    text = b'{"player_id":%b,"sessions":[%b],"next_cursor":%b}'
    return text % (_to_json(player_id), sessions.encode(), _to_json(cursor))


def _session(session: Session) -> str:
    """Return the `SessionDocument` of a session as JSON."""
    digits = session.session_id.hex()
    uuid = f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
    lasted = duration_seconds(session.started_at, session.ended_at)
    return (
        f'{{"session_id":"{uuid}","country":{_country(session.country)}'
        f',"started_at":"{moment(session.started_at)}","ended_at":"{moment(session.ended_at)}"'
        f',"duration_seconds":{lasted}}}'
    )


@functools.lru_cache(26 * 26)
def _country(country: bytes | None) -> str:
    """Return a country as JSON. We write two letters, but an operator may write anything."""
    return _to_json(None if country is None else country.decode()).decode()


class PlayerBody(msgspec.Struct, frozen=True):
    """The body of the original contract's `GET /`."""

    player_id: Annotated[str, Meta(description=PLAYER_ID_WORDS, extra_json_schema=PLAYER_ID_SCHEMA)]
