"""HTTP: all routes of the interface in one place, and what each error looks like on the wire.

From socket to store there are three hops: a handler here, the rules in `events`, the store. The
handlers read the body themselves, since its size and time are bounded before anything decodes it.
"""

from __future__ import annotations

import functools
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Controller, HttpMethod, Litestar, Request, get, post, route
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.handlers import BaseRouteHandler
from litestar.params import Parameter
from litestar.response import Response
from litestar.types import ASGIApp

from player_sessions import docs, openapi, operations
from player_sessions.events import from_ms, read_events, read_rows
from player_sessions.front import Front
from player_sessions.ingest import Ingest, read_body
from player_sessions.keys import INGEST, READ
from player_sessions.problems import HANDLERS, INVALID_PARAMETER, Answer, Refused
from player_sessions.service import Service
from player_sessions.sessions import MAX_LIMIT, Page, decode_cursor, encode_cursor

_problems = openapi.problems
_REFUSALS = _problems(400, 401, 403, 408, 413, 415, 422, 500, 503)
_READ_REFUSALS = _problems(400, 401, 403, 408, 413, 415, 500, 503)
_encode = msgspec.json.Encoder().encode
_decode_player = msgspec.json.Decoder(openapi.PlayerBody).decode
_POST_SUCCESS = Answer(b"POST success", b"text/plain; charset=utf-8")


def _service(request: Request[Any, Any, Any]) -> Service:
    service: Service = request.app.state["service"]
    return service


def _ingest(request: Request[Any, Any, Any], path: str) -> ASGIApp:
    app: ASGIApp = request.app.state["ingests"][path]
    return app


@functools.cache
def _stored(accepted: int, discarded: int) -> Answer:
    return Answer(b'{"accepted":%d,"discarded":%d}' % (accepted, discarded))


def _ingests(service: Service) -> dict[str, ASGIApp]:
    """The applications that take batches, by path."""
    return {
        "/v1/events": Ingest(service, read_events, _stored),
        "/": Ingest(service, read_rows, lambda _, __: _POST_SUCCESS),
    }


@post(
    "/v1/events",
    status_code=200,
    key=INGEST,
    operation_class=openapi.Ingest,
    responses=openapi.answer(openapi.Stored, "All events are stored or discarded.") | _REFUSALS,
)
async def ingest(request: Request[Any, Any, Any]) -> ASGIApp:
    """Store a batch of 1-10 events, all or none.

    `200` means that every event is stored, or was discarded for being older than the retention.
    Sending the same events again is always safe.
    """
    return _ingest(request, "/v1/events")


@get(
    "/v1/players/{player_id:str}/sessions",
    key=READ,
    responses=openapi.answer(openapi.PlayerSessions, "The sessions.")
    | _problems(400, 401, 403, 500, 503),
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
        key=INGEST,
        operation_class=openapi.OriginalIngest,
        responses=openapi.answer(str, "All events are stored or discarded.", "text/plain")
        | _REFUSALS,
    )
    async def ingest(self, request: Request[Any, Any, Any]) -> ASGIApp:
        """As `POST /v1/events`, with `rows` for `events`."""
        return _ingest(request, "/")

    @get(
        key=READ,
        operation_class=openapi.OriginalSessions,
        responses=openapi.answer(openapi.PlayerSessions, "The sessions.") | _READ_REFUSALS,
    )
    async def sessions(self, request: Request[Any, Any, Any]) -> ASGIApp:
        """The last 20 complete sessions of the player in the body.

        Many proxies and clients drop the body of a GET: prefer `/v1/players/{player_id}/sessions`.
        """
        service = _service(request)
        body = await read_body(request.scope, request.receive, service)
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


def _permit(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    connection.app.state["service"].permit(
        connection.scope,
        key=handler.opt.get("key"),
        operations=handler.opt.get("operations", False),
    )


def create_app(service: Service) -> ASGIApp:
    """The ASGI application: Litestar's behind `front`, which calls the ingest past its router."""
    app = build(service)
    return Front(app, app.state["ingests"], service)


def build(service: Service) -> Litestar:
    """All routes and errors."""
    keys: list[dict[str, list[str]]] = [] if service.keys is None else [{"key": []}]
    return Litestar(
        route_handlers=[ingest, sessions, Original, *operations.HANDLERS],
        guards=[_permit],
        exception_handlers=HANDLERS,
        openapi_config=docs.config(keys) if service.settings.docs else None,
        state=State({"service": service, "ingests": _ingests(service)}),
        logging_config=None,
        debug=False,
    )
