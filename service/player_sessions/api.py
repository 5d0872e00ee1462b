"""HTTP: all routes of the interface in one place, and what each error looks like on the wire.

From socket to store there are three hops: a handler here, the rules in `events`, the store. The
handlers read the body themselves, since its size and time are bounded before anything decodes it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Controller, HttpMethod, Litestar, Request, get, post, route
from litestar.datastructures import State
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import SwaggerRenderPlugin
from litestar.params import Parameter
from litestar.response import Response
from litestar.types import ASGIApp, Receive, Scope, Send

from player_sessions import __version__, health, openapi, telemetry
from player_sessions.events import Event, from_ms, read_events, read_rows
from player_sessions.problems import (
    BODY_TIMEOUT,
    BODY_TOO_LARGE,
    HANDLERS,
    INVALID_PARAMETER,
    UNSUPPORTED_MEDIA_TYPE,
    Refused,
)
from player_sessions.sessions import (
    MAX_LIMIT,
    Page,
    decode_cursor,
    encode_cursor,
)
from player_sessions.settings import Settings
from player_sessions.store import Store, now_ms

_problems = openapi.problems
_REFUSALS = _problems(400, 408, 413, 415, 422, 500, 503)
_READ_REFUSALS = _problems(400, 408, 413, 415, 500, 503)
_JSON = b"application/json"
_encode = msgspec.json.Encoder().encode
_decode_player = msgspec.json.Decoder(openapi.PlayerBody).decode


class Answer:
    """A 200 with a ready body; Litestar's own response would cost 5 µs more."""

    __slots__ = ("_body", "_media_type")

    def __init__(self, body: bytes, media_type: bytes = _JSON) -> None:
        self._body = body
        self._media_type = media_type

    async def __call__(self, _: Scope, __: Receive, send: Send) -> None:
        length = b"%d" % len(self._body)
        headers = [(b"content-type", self._media_type), (b"content-length", length)]
        begin: Any = {"type": "http.response.start", "status": 200, "headers": headers}
        end: Any = {"type": "http.response.body", "body": self._body}
        await send(begin)
        await send(end)


class Service:
    """What the handlers share: the settings, the store, and whether the process is draining."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self.settings = settings
        self.store = store
        self.draining = False


def _service(request: Request[Any, Any, Any]) -> Service:
    service: Service = request.app.state["service"]
    return service


async def read_body(request: Request[Any, Any, Any], settings: Settings) -> bytes:
    """The whole body; raises Refused when it is of another type, too large or too slow."""
    media_type, encoding = _JSON, b"identity"
    for name, value in request.scope["headers"]:  # Litestar's Headers would cost 10 µs
        if name == b"content-type":
            media_type = value
        elif name == b"content-encoding":
            encoding = value
    if media_type != _JSON and media_type.partition(b";")[0].strip().lower() != _JSON:
        raise Refused(415, UNSUPPORTED_MEDIA_TYPE, "the body must be application/json")
    if encoding.lower() != b"identity":
        raise Refused(415, UNSUPPORTED_MEDIA_TYPE, "the body must have no Content-Encoding")
    body: bytes = b""
    try:
        async with asyncio.timeout(settings.body_timeout):
            while True:
                message: Any = await request.receive()
                if message["type"] == "http.disconnect":
                    raise Refused(400, BODY_TIMEOUT, "the client went away")
                body += message.get("body", b"")
                if len(body) > settings.max_body_bytes:
                    detail = f"a body has at most {settings.max_body_bytes} bytes"
                    raise Refused(413, BODY_TOO_LARGE, detail)
                if not message.get("more_body"):
                    return body
    except TimeoutError:
        raise Refused(408, BODY_TIMEOUT, "the body took too long to arrive") from None


async def _ingest(
    request: Request[Any, Any, Any], read: Callable[[bytes, int], list[Event]]
) -> tuple[int, int]:
    service = _service(request)
    body = await read_body(request, service.settings)
    latest = now_ms() + round(service.settings.future_tolerance * 1000)
    return await service.store.write(read(body, latest))


@post(
    "/v1/events",
    status_code=200,
    operation_class=openapi.Ingest,
    responses=openapi.answer(openapi.Stored, "All events are stored or discarded.") | _REFUSALS,
)
async def ingest(request: Request[Any, Any, Any]) -> ASGIApp:
    """Store a batch of 1-10 events, all or none.

    `200` means that every event is stored, or was discarded for being older than the retention.
    Sending the same events again is always safe.
    """
    stored, discarded = await _ingest(request, read_events)
    return Answer(b'{"accepted":%d,"discarded":%d}' % (stored, discarded))


@get(
    "/v1/players/{player_id:str}/sessions",
    responses=openapi.answer(openapi.PlayerSessions, "The sessions.") | _problems(400, 500, 503),
)
async def sessions(
    request: Request[Any, Any, Any],
    player_id: Annotated[str, Parameter(pattern=openapi.PLAYER_ID, description="32 hex digits.")],
    limit: Annotated[int, Parameter(ge=1, le=MAX_LIMIT, description="Most sessions.")] = MAX_LIMIT,
    cursor: Annotated[
        str | None,
        Parameter(
            description="`next_cursor` of the page before.",
            schema_extra={"pattern": openapi.CURSOR},
        ),
    ] = None,
) -> ASGIApp:
    """A player's complete sessions, newest end first, at most 20 at a time."""
    after = None if cursor is None else decode_cursor(cursor)
    player = UUID(player_id)
    page = await _service(request).store.read(player, limit, after)
    return Answer(_encode(_document(player, page)))


class Original(Controller):
    """The original contract, whose two calls share the path `/`."""

    path = "/"

    # Litestar's own answer to OPTIONS names the methods of the first handler at a path only; ours
    # must be that first one, and a controller's handlers are taken in the order of their names.
    @route(http_method=[HttpMethod.OPTIONS], include_in_schema=False, sync_to_thread=False)
    def allow(self) -> Response[None]:
        return Response(None, status_code=204, headers={"Allow": "GET, OPTIONS, POST"})

    @post(
        status_code=200,
        operation_class=openapi.OriginalIngest,
        responses=openapi.answer(str, "All events are stored or discarded.", "text/plain")
        | _REFUSALS,
    )
    async def ingest(self, request: Request[Any, Any, Any]) -> ASGIApp:
        """As `POST /v1/events`, with `rows` for `events`."""
        await _ingest(request, read_rows)
        return Answer(b"POST success", b"text/plain; charset=utf-8")

    @get(
        operation_class=openapi.OriginalSessions,
        responses=openapi.answer(openapi.PlayerSessions, "The sessions.") | _READ_REFUSALS,
    )
    async def sessions(self, request: Request[Any, Any, Any]) -> ASGIApp:
        """The last 20 complete sessions of the player in the body.

        Many proxies and clients drop the body of a GET: prefer `/v1/players/{player_id}/sessions`.
        """
        service = _service(request)
        body = await read_body(request, service.settings)
        try:
            player = _decode_player(body).player_id
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            detail = (
                f'the body must be {{"player_id": 32 hex digits}}: {error}; did a proxy drop it?'
            )
            raise Refused(400, INVALID_PARAMETER, detail) from None
        return Answer(_encode(_document(player, await service.store.read(player, 20, None))))


def _document(player: UUID, page: Page) -> openapi.PlayerSessions:
    return openapi.PlayerSessions(
        player_id=player.hex,
        sessions=[
            openapi.SessionDocument(
                session_id=session.session_id,
                country=session.country,
                started_at=from_ms(session.started_at),
                ended_at=from_ms(session.ended_at),
                duration_seconds=session.duration_seconds,
            )
            for session in page.sessions
        ],
        next_cursor=page.next_position and encode_cursor(page.next_position),
    )


def observed(app: ASGIApp, service: Service) -> ASGIApp:
    """Counts and times each request by route and status; says `Connection: close` in a drain."""
    clock = time.perf_counter
    seconds = {route: telemetry.REQUEST_SECONDS.labels(route) for route in telemetry.ROUTES}
    counts: dict[tuple[str, int], Any] = {}

    async def observe(scope: Any, receive: Receive, send: Send) -> None:
        begun = clock()
        status = 500

        async def sending(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if service.draining:
                    message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        try:
            await app(scope, receive, sending)
        finally:
            route = f"{scope['method']} {scope.get('path_template') or '/'}"
            if route not in seconds:
                route = "other"
            seconds[route].observe(clock() - begun)
            if (route, status) not in counts:
                counts[route, status] = telemetry.REQUESTS.labels(route, str(status))
            counts[route, status].inc()

    return observe


def create_app(service: Service) -> ASGIApp:
    """The ASGI application, measured."""
    return observed(build(service), service)


def build(service: Service) -> Litestar:
    """All routes and errors."""
    return Litestar(
        route_handlers=[
            ingest, sessions, Original,
            health.live, health.ready, health.metrics,
        ],
        exception_handlers=HANDLERS,
        openapi_config=OpenAPIConfig(
            title="player-sessions",
            version=__version__,
            description="Start and end events in, the last 20 complete sessions of a player out.",
            path="/docs",
            use_handler_docstrings=True,
            render_plugins=[SwaggerRenderPlugin()],
        ),
        state=State({"service": service}),
        logging_config=None,
        debug=False,
    )  # fmt: skip
