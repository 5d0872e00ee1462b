"""Player ids in requests: in a path, where they are percent-encoded, and in the body of `GET /`."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple
from urllib.parse import unquote
from uuid import UUID

from litestar import Request
from litestar.params import Parameter

from player_sessions.rules.players import (
    PLAYER_ID_SCHEMA,
    PLAYER_ID_WORDS,
    InvalidPlayerId,
    PlayerOf,
    shown,
)
from player_sessions.rules.reasons import INVALID_PLAYER_ID

# The type of a handler's parameter `player_id`, for `player_in`.
PlayerInPath = Annotated[str, Parameter(description=PLAYER_ID_WORDS, schema_extra=PLAYER_ID_SCHEMA)]
# A doubled slash changes nothing, so without this check an empty id would be taken for "sessions".
_EMPTY = b"/players//sessions"


class Player(NamedTuple):
    """A player: the UUID under which they are stored, and their id as the answer shows it."""

    uuid: UUID
    shown: str


def player_in(request: Request[Any, Any, Any], player_id: str) -> Player:
    """Return the player whose id is a segment of the path; raises InvalidPlayerId."""
    if _EMPTY in request.scope["raw_path"]:
        player_id = ""
    try:
        text = unquote(player_id, errors="strict")
    except UnicodeDecodeError:
        raise InvalidPlayerId(INVALID_PLAYER_ID, "must be percent-encoded UTF-8") from None
    return player_named(text, request.app.state["context"].player_of)


def player_named(text: str, player_of: PlayerOf) -> Player:
    """Return the player with this id; raises InvalidPlayerId."""
    return Player(player_of(text), shown(text))
