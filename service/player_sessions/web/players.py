"""Reads of one player, and the erasure of one."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, delete, get
from litestar.params import Parameter
from litestar.types import ASGIApp

from player_sessions.rules.known_fields import UNDECODABLE, document_of
from player_sessions.rules.players import UUID_PATTERN
from player_sessions.rules.reasons import INVALID_PARAMETER
from player_sessions.rules.sessions import MAX_LIMIT
from player_sessions.web.access import ERASE, READ
from player_sessions.web.answer import Answer
from player_sessions.web.body import read_body
from player_sessions.web.context import Context
from player_sessions.web.documents import (
    ErasedPlayer,
    PlayerBody,
    PlayerDocument,
    PlayerSessions,
    SessionStateDocument,
    moment,
)
from player_sessions.web.headers import NO_STORE
from player_sessions.web.openapi import description
from player_sessions.web.player_ids import PlayerInPath, player_in, player_named
from player_sessions.web.player_reads import OneSession, PlayerPresence, SessionPage
from player_sessions.web.problems import Refused

_PATTERN = UUID_PATTERN.removesuffix("$") + r"\Z"  # in Python, `$` also matches before a last \n
_IN_DOCS = {"pattern": UUID_PATTERN}
SessionId = Annotated[
    str, Parameter(pattern=_PATTERN, description="A UUID.", schema_extra=_IN_DOCS)
]
_PAGE = description.answer(PlayerSessions, "The sessions.")
_BODY = 'must be {"player_id": "…"}'
_encode = msgspec.json.Encoder().encode
_decode_player = msgspec.json.Decoder(PlayerBody).decode


@get(
    "/v1/players/{player_id:str}",
    summary="Tell whether a player is online",
    tags=[description.GAMES, description.ANALYSTS],
    key=READ,
    responses=description.answer(PlayerDocument, "The player.")
    | description.problems(400, 401, 403, 500, 503),
)
async def player(request: Request[Any, Any, Any], player_id: PlayerInPath) -> ASGIApp:
    """Return whether a player is online, and the session with the newest start."""
    return PlayerPresence(_context(request), player_in(request, player_id))


@get(
    "/v1/players/{player_id:str}/sessions",
    summary="List a player's last complete sessions",
    tags=[description.GAMES, description.ANALYSTS],
    key=READ,
    must_be={"limit": f"a whole number from 1 to {MAX_LIMIT}"},
    responses=_PAGE | description.problems(400, 401, 403, 500, 503),
)
async def sessions(
    request: Request[Any, Any, Any],
    player_id: PlayerInPath,
    limit: Annotated[int, Parameter(ge=1, le=MAX_LIMIT, description="Most sessions.")] = MAX_LIMIT,
    cursor: Annotated[
        str | None,
        Parameter(
            description="`next_cursor` of the page before.",
            schema_extra={"pattern": description.CURSOR},
        ),
    ] = None,
) -> ASGIApp:
    """Return a player's complete sessions, newest end first, at most 20 at a time."""
    return SessionPage(_context(request), player_in(request, player_id), limit, cursor)


@get(
    "/v1/players/{player_id:str}/sessions/{session_id:str}",
    summary="Tell what became of a session",
    tags=[description.GAMES, description.ANALYSTS],
    key=READ,
    must_be={"session_id": "a UUID"},
    responses=description.answer(SessionStateDocument, "The session.")
    | description.problems(400, 401, 403, 404, 500, 503),
)
async def session(
    request: Request[Any, Any, Any],
    player_id: PlayerInPath,
    session_id: SessionId,
) -> ASGIApp:
    """Return one session of a player with its status, also when one of its events is missing."""
    return OneSession(_context(request), player_in(request, player_id), UUID(session_id))


@get(
    "/",
    operation_id="Sessions",
    summary="List a player's last complete sessions (original contract)",
    tags=[description.GAMES],
    key=READ,
    operation_class=description.takes_player(PlayerBody),
    responses=_PAGE | description.problems(400, 401, 403, 408, 413, 415, 500, 503),
)
async def original_sessions(request: Request[Any, Any, Any]) -> ASGIApp:
    """Return the last 20 complete sessions of the player that the body names.

    Many proxies and clients drop the body of a GET: prefer `/v1/players/{player_id}/sessions`.
    """
    context = _context(request)
    body = await read_body(dict(request.scope["headers"]), request.receive, context)
    if not body:
        raise Refused(INVALID_PARAMETER, f"the body is empty; it {_BODY}. Did a proxy drop it?")
    try:
        text = _decode_player(document_of(body)).player_id
    except UNDECODABLE:
        raise Refused(INVALID_PARAMETER, f"the body {_BODY}") from None
    return SessionPage(context, player_named(text, context.player_of), MAX_LIMIT, None)


def _context(request: Request[Any, Any, Any]) -> Context:
    context: Context = request.app.state["context"]
    return context


@delete(
    "/v1/players/{player_id:str}",
    status_code=200,
    summary="Erase a player",
    tags=[description.OPERATORS],
    key=ERASE,
    responses=description.answer(ErasedPlayer, "The player is erased.")
    | description.problems(400, 401, 403, 500, 503),
)
async def erase(
    request: Request[Any, Any, Any],
    player_id: PlayerInPath,
) -> ASGIApp:
    """Erase every event of a player whose `ts` is not later than `erased_through`.

    That time is 5 minutes from now, so that events of clocks that run ahead are gone too. Such an
    event stays gone when it is sent again. What begins later than `erased_through` is stored as
    usual. On a 503, the player may be erased or not: send the same request again.
    """
    player = player_in(request, player_id)
    through = await _context(request).store.erase(player.uuid)
    document = ErasedPlayer(player_id=player.shown, erased_through=moment(through))
    return Answer(_encode(document), headers=NO_STORE)
