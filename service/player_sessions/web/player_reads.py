"""The way of a read of one player: check the key, ask the store, answer.

Litestar's router and its checks of parameters would cost more than the rest of a read. So the
middleware calls these applications directly where path and query are plain. Litestar's routes lead
to the same applications. They also get all that is not plain, so that only they say what is wrong
with a parameter.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from typing import Any
from uuid import UUID

import msgspec

from player_sessions.rules.players import UUID_PATTERN, InvalidPlayerId
from player_sessions.rules.reasons import SESSION_NOT_FOUND
from player_sessions.rules.session_state import SessionState
from player_sessions.rules.sessions import MAX_LIMIT, decode_cursor
from player_sessions.web.access import READ
from player_sessions.web.answer import Answer
from player_sessions.web.context import Context
from player_sessions.web.documents import (
    PlayerDocument,
    SessionStateDocument,
    moment,
    player_sessions,
)
from player_sessions.web.headers import NO_STORE
from player_sessions.web.player_ids import Player, player_named
from player_sessions.web.problems import Refused, answer_for

_UUID = UUID_PATTERN.removeprefix("^(").removesuffix(")$")
_PATH = re.compile(rf"/v1/players/([\w.~-]+)(?:(/sessions)(?:/({_UUID}))?)?", re.ASCII)
_QUERY = re.compile(rb"(?:limit=([1-9]|1[0-9]|20)(?:&|\Z))?(?:cursor=([A-Za-z0-9_-]+))?")
_encode = msgspec.json.Encoder().encode


class PlayerRead(ABC):
    """Answers one read of one player."""

    def __init__(self, context: Context, player: Player) -> None:
        self._context = context
        self._player = player

    @abstractmethod
    async def document(self) -> bytes:
        """Return the document of the answer; raises StoreError, InvalidCursor or Refused."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            self._context.permit(scope, key=READ, operations=False)
            answer = Answer(await self.document(), headers=NO_STORE)
        except Exception as error:
            answer = answer_for(error)
        await answer(scope, receive, send)


class SessionPage(PlayerRead):
    """Answers with a page of the player's complete sessions."""

    def __init__(self, context: Context, player: Player, limit: int, cursor: str | None) -> None:
        super().__init__(context, player)
        self._limit = limit
        self._cursor = cursor

    async def document(self) -> bytes:
        after = None if self._cursor is None else decode_cursor(self._cursor)
        page = await self._context.store.read(self._player.uuid, self._limit, after)
        return player_sessions(self._player.shown, page)


class PlayerPresence(PlayerRead):
    """Answers whether the player is online, and with the session that has the newest start."""

    async def document(self) -> bytes:
        online, latest = await self._context.store.presence(self._player.uuid)
        document = PlayerDocument(
            player_id=self._player.shown,
            online=online,
            latest_session=None if latest is None else _state_document(latest),
        )
        return _encode(document)


class OneSession(PlayerRead):
    """Answers what became of one session of the player."""

    def __init__(self, context: Context, player: Player, session_id: UUID) -> None:
        super().__init__(context, player)
        self._session_id = session_id

    async def document(self) -> bytes:
        state = await self._context.store.session(self._player.uuid, self._session_id)
        if state is None:
            raise Refused(SESSION_NOT_FOUND, "neither a start nor an end of this session is stored")
        return _encode(_state_document(state))


def _state_document(state: SessionState) -> SessionStateDocument:
    return SessionStateDocument(
        session_id=state.session_id,
        status=state.status,
        country=state.country,
        started_at=None if state.started_at is None else moment(state.started_at),
        ended_at=None if state.ended_at is None else moment(state.ended_at),
        duration_seconds=state.duration_seconds,
    )


def plain_read(context: Context, path: str, query: bytes) -> PlayerRead | None:
    """Return the application for a GET of this path; None where it takes Litestar's route."""
    named = _PATH.fullmatch(path)
    if named is None:
        return None
    text, sessions, session_id = named.group(1, 2, 3)
    if query and (session_id is not None or sessions is None):
        return None
    asked = _QUERY.fullmatch(query)
    if asked is None:
        return None
    try:
        player = player_named(text, context.player_of)
    except InvalidPlayerId:
        return None
    if sessions is None:
        return PlayerPresence(context, player)
    if session_id is not None:
        return OneSession(context, player, UUID(session_id))
    limit, cursor = asked.groups()
    return SessionPage(
        context,
        player,
        MAX_LIMIT if limit is None else int(limit),
        None if cursor is None else cursor.decode(),
    )
