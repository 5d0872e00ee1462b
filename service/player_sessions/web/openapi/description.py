"""The parts of the OpenAPI description that Litestar cannot derive.

The handlers read bodies themselves, so Litestar does not know the bodies' types. Nothing here runs
while a request is served.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import (
    Example,
    OpenAPI,
    OpenAPIHeader,
    OpenAPIMediaType,
    OpenAPIType,
    Operation,
    Parameter,
    RequestBody,
    Schema,
)

from player_sessions.web.documents import Problem, Stored

CURSOR = "^AQAA[0-9A-Za-z_-]{30}$"
# The tags of /docs say for whom a call is.
GAMES = "games"
ANALYSTS = "analysts"
OPERATORS = "operators"


def problems(*statuses: int) -> dict[int, ResponseSpec]:
    """Describe the problems with which a call may be answered."""
    texts = {
        400: "The body is not JSON or not gzip, or a parameter is bad.",
        401: "The service asks for keys, and no valid key was sent.",
        403: "The key does not have the scope for this call.",
        404: "Nothing is stored under these ids.",
        408: "The body took too long to arrive.",
        413: "The body is too large.",
        415: "The body is not application/json, plain or gzip.",
        422: "Some events cannot be stored, so none was stored.",
        500: "The service has an error.",
        503: "Not now. Send the same request again after Retry-After seconds.",
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
    """Describe an answer of status 200."""
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


class _TypeSchema(Schema):
    """The JSON Schema that msgspec makes of a type."""

    def __init__(self, kind: type) -> None:
        super().__init__()
        (root,), types = msgspec.json.schema_components([kind], ref_template="{name}")
        self._document: dict[str, Any] = _for_openapi(root, types)

    def to_schema(self) -> dict[str, Any]:
        return self._document


def _for_openapi(schema: Any, types: dict[str, Any]) -> Any:
    """Return a schema of msgspec's as OpenAPI has it.

    Each type stands where it is used, since Litestar keeps the list of shared ones to itself. A
    pattern ends in `$`, which in JSON Schema means the end of the text, unlike in Python. An id
    has its pattern instead of the format `uuid`, which demands dashes.
    """
    if isinstance(schema, list):
        return [_for_openapi(part, types) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _for_openapi(types[schema["$ref"]], types)
    made = {key: _for_openapi(part, types) for key, part in schema.items()}
    made.pop("discriminator", None)
    if isinstance(made.get("pattern"), str):
        made["pattern"] = made["pattern"].replace(r"\Z", "$")
        made.pop("format", None)
    return made


def takes(kind: type, summary: str, example: Callable[[], Any]) -> type[Operation]:
    """Return the class of the operations that take a `kind` as their body, with an example."""

    @dataclass
    class Takes(Operation):
        def __post_init__(self) -> None:
            examples: dict[str, Any] = {"example": Example(summary=summary, value=example())}
            media = OpenAPIMediaType(schema=_TypeSchema(kind), examples=examples)
            self.request_body = RequestBody(content={"application/json": media}, required=True)

    return Takes


def takes_player(kind: type) -> type[Operation]:
    """Return the class of the operations whose body names a player."""
    return takes(kind, "A player.", lambda: {"player_id": _PLAYER})


def takes_batch(kind: type, key: str) -> type[Operation]:
    """Return the class of the operations that take a batch of events under `key`.

    They also take the header `Prefer`, which in both contracts leads to an answer in JSON.
    """

    def example() -> dict[str, Any]:
        ids = {"player_id": _PLAYER, "session_id": _SESSION}
        start = {**ids, "event": "start", "country": "FI", "ts": _ago(3600)}
        return {key: [start, {**ids, "event": "end", "ts": _ago(60)}]}

    @dataclass
    class TakesBatch(takes(kind, "A session that began and ended.", example)):  # type: ignore[misc]
        def __post_init__(self) -> None:
            super().__post_init__()
            # The page /docs sends the first example unless another is chosen.
            examples: Any = {value: Example(value=value) for value in (_STRICT, _LENIENT)}
            self.parameters = [Parameter("Prefer", "header", _TEXT, _PREFER, examples=examples)]
            stored = self.responses["200"]
            stored.content["application/json"] = OpenAPIMediaType(schema=_TypeSchema(Stored))
            stored.headers = {"Preference-Applied": OpenAPIHeader(_TEXT, description=_APPLIED)}

    return TakesBatch


_TEXT = Schema(type=OpenAPIType.STRING)
_STRICT, _LENIENT = "handling=strict", "handling=lenient"
_PREFER = f"RFC 7240. `{_LENIENT}` stores the valid events and names the others in `rejected`."
_APPLIED = f"`{_LENIENT}` when the request asked for that."


class Description(OpenAPI):
    """The description of a service whose batches have at most `max_events` events."""

    max_events = 0

    def to_schema(self) -> dict[str, Any]:
        document = super().to_schema()
        for path, key in (("/v1/events", "events"), ("/", "rows")):
            body = document["paths"][path]["post"]["requestBody"]
            schema = body["content"]["application/json"]["schema"]
            schema["properties"][key]["maxItems"] = self.max_events
        return document


def _ago(seconds: int) -> str:
    moment = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=seconds)
    return moment.isoformat().replace("+00:00", "Z")
