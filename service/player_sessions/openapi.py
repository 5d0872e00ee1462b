"""The documents of the interface, and what Litestar cannot derive of their OpenAPI description.

Kept apart from `api`, whose handlers read bodies themselves. Nothing here runs while a request is
served, but the encoding of the structs.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example, OpenAPIMediaType, Operation, RequestBody, Schema
from litestar.openapi.spec.enums import OpenAPIFormat, OpenAPIType
from msgspec import Meta

from player_sessions.events import MAX_EVENTS, EventError

_HEX = "[0-9a-fA-F]"
PLAYER_ID = f"^({_HEX}{{32}}|{_HEX}{{8}}(-{_HEX}{{4}}){{3}}-{_HEX}{{12}})$"
CURSOR = "^AQAA[0-9A-Za-z_-]{30}$"
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
PROBLEM_TYPE = "urn:player-sessions:problem:"


class Problem(msgspec.Struct, frozen=True):
    """RFC 9457. `type` is stable per reason; `errors` names the wrong events of a batch."""

    type: str
    title: str
    status: int
    detail: str
    errors: tuple[EventError, ...] | msgspec.UnsetType = msgspec.UNSET


class Stored(msgspec.Struct, frozen=True):
    """`discarded` events are older than the retention: counted, never an error."""

    accepted: Annotated[int, Meta(ge=0, le=MAX_EVENTS)]
    discarded: Annotated[int, Meta(ge=0, le=MAX_EVENTS)]


class SessionDocument(msgspec.Struct, frozen=True):
    session_id: UUID
    country: Annotated[str, Meta(pattern="^[A-Z]{2}$")]
    started_at: datetime
    ended_at: datetime
    duration_seconds: Annotated[float, Meta(ge=0)]


class PlayerSessions(msgspec.Struct, frozen=True):
    player_id: Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]
    sessions: list[SessionDocument]
    next_cursor: str | None


class PlayerBody(msgspec.Struct, frozen=True):
    """The body of the original contract's `GET /`."""

    player_id: UUID


def problems(*statuses: int) -> dict[int, ResponseSpec]:
    texts = {
        400: "Not JSON, not gzip, or a bad parameter.",
        401: "Where keys are asked for: none or a wrong one was sent.",
        403: "The key may not do that.",
        408: "The body took too long to arrive.",
        413: "The body is too large.",
        415: "The body is not application/json, plain or gzip.",
        422: "Some events cannot be stored; none was.",
        500: "A fault of the service.",
        503: "Not now: send the same request again after Retry-After seconds.",
    }
    return {
        status: ResponseSpec(
            Problem,
            description=texts[status],
            media_type="application/problem+json",
            generate_examples=False,
        )
        for status in statuses
    }


def answer(document: Any, description: str, media_type: str = "application/json") -> Any:
    return {
        200: ResponseSpec(
            document,
            description=description,
            media_type=media_type,
            generate_examples=False,
        )
    }


_PLAYER = "0a2d12a1a7e145de8bae44c0c6e06629"
_SESSION = "4a0c43c9-c43a-42ff-ba55-67563dfa35d4"


def _string(description: str, **more: Any) -> Schema:
    return Schema(type=OpenAPIType.STRING, description=description, **more)


def _event_schema() -> Schema:
    country = _string("Required on a start.", pattern="^[A-Z]{2}$")
    common = {
        "player_id": _string("32 hexadecimal digits, dashes allowed.", pattern=PLAYER_ID),
        "session_id": _string("A UUID, dashes optional.", pattern=PLAYER_ID),
        "ts": _string(
            "RFC 3339, or without offset: UTC. Milliseconds are kept. At most 5 minutes ahead.",
            format=OpenAPIFormat.DATE_TIME,
        ),
    }

    def kind(name: str, more: list[str]) -> Schema:
        event = _string("What happened.", enum=[name])
        null = Schema(type=OpenAPIType.NULL)
        return Schema(
            type=OpenAPIType.OBJECT,
            properties={
                **common,
                "event": event,
                "country": country if more else Schema(one_of=[country, null]),
            },
            required=["player_id", "session_id", "event", "ts", *more],
        )

    return Schema(one_of=[kind("start", ["country"]), kind("end", [])])


def _batch_body(key: str) -> RequestBody:
    now = datetime.now(UTC).replace(microsecond=0)
    common = {"player_id": _PLAYER, "session_id": _SESSION}
    start = {**common, "event": "start", "country": "FI", "ts": _text(now, -3600)}
    end = {**common, "event": "end", "ts": _text(now, -60)}
    schema = Schema(
        type=OpenAPIType.OBJECT,
        properties={
            key: Schema(
                type=OpenAPIType.ARRAY, items=_event_schema(), min_items=1, max_items=MAX_EVENTS
            )
        },
        required=[key],
    )
    return _json_body(schema, "A session that began and ended.", {key: [start, end]})


def _text(now: datetime, seconds: int) -> str:
    moment = datetime.fromtimestamp(now.timestamp() + seconds, UTC)
    return moment.isoformat().replace("+00:00", "Z")


def _json_body(schema: Schema, summary: str, example: Any) -> RequestBody:
    media = OpenAPIMediaType(
        schema=schema, examples={"example": Example(summary=summary, value=example)}
    )
    return RequestBody(content={"application/json": media}, required=True)


@dataclass
class Ingest(Operation):
    def __post_init__(self) -> None:
        self.request_body = _batch_body("events")


@dataclass
class OriginalIngest(Operation):
    def __post_init__(self) -> None:
        self.request_body = _batch_body("rows")


@dataclass
class OriginalSessions(Operation):
    def __post_init__(self) -> None:
        player = _string("32 hexadecimal digits.", pattern=PLAYER_ID)
        schema = Schema(
            type=OpenAPIType.OBJECT, properties={"player_id": player}, required=["player_id"]
        )
        self.request_body = _json_body(schema, "A player.", {"player_id": _PLAYER})


@dataclass
class LogLevel(Operation):
    def __post_init__(self) -> None:
        level = _string("Least level to log.", enum=LEVELS)
        schema = Schema(type=OpenAPIType.OBJECT, properties={"level": level}, required=["level"])
        self.request_body = _json_body(schema, "Each request.", {"level": "DEBUG"})
