"""Another door of this room, for the command line: reads all events, page by page.

A scan is cut into parts: ranges of tokens of one table, or one player's rows of it. A part is read
in pages. The position after a page is Cassandra's own, so a part can be gone on with later, also by
another process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from itertools import pairwise
from typing import Any, NamedTuple
from uuid import UUID

from cassandra import ConsistencyLevel, InvalidRequest
from cassandra.protocol import ProtocolException
from cassandra.query import SimpleStatement

from player_sessions.rules.events import End, Event, Start, to_ms
from player_sessions.rules.reasons import STORE_TIMEOUT
from player_sessions.settings import Settings
from player_sessions.store.budget import Budget
from player_sessions.store.connector import Connector
from player_sessions.store.errors import StoreError, translate
from player_sessions.store.loop_connection import call_soon

PAGE_ROWS = 1000
_PAGE_SECONDS = 30.0  # more than a node itself waits for the replicas of a range
_TABLES = {
    "start": ("session_starts", "player_id, session_id, started_at, country"),
    "end": ("session_ends", "player_id, session_id, ended_at"),
}
_MIN_TOKEN, _MAX_TOKEN = -(1 << 63), (1 << 63) - 1  # no row has the least token


class Part(NamedTuple):
    """A part of all events: those of `kind` that meet the condition `where`."""

    kind: str
    where: str


class Page(NamedTuple):
    """Some events of a part, and the position at which the next page begins, or None at the end."""

    events: list[Event]
    next: bytes | None


class PositionRefused(Exception):
    """Cassandra does not take a position, as after an upgrade to another format."""


def parts_of_all(ranges: int) -> list[Part]:
    """Return the parts of all players' events, with the tokens cut into equal ranges."""
    bounds = [_MIN_TOKEN + (i << 64) // ranges for i in range(ranges)] + [_MAX_TOKEN]
    return [
        Part(kind, f"token(player_id) > {low} AND token(player_id) <= {high}")
        for low, high in pairwise(bounds)
        for kind in _TABLES
    ]


def parts_of_players(players: Iterable[UUID]) -> list[Part]:
    """Return the parts of these players' events."""
    return [Part(kind, f"player_id = {player}") for player in players for kind in _TABLES]


class Scan:
    """Reads parts of the store, and stays connected while it runs."""

    def __init__(self, settings: Settings) -> None:
        self._connector = Connector(settings, Budget(0))
        self._retention = settings.retention_ms
        self._consistency = ConsistencyLevel.name_to_value[settings.read_consistency]

    @property
    def reason(self) -> str | None:
        """Why nothing can be read now, or None."""
        return self._connector.reason

    async def run(self) -> None:
        """Stay connected until cancelled; no error of Cassandra's ends this."""
        await self._connector.run()

    async def close(self) -> None:
        """Disconnect."""
        await self._connector.close()

    async def page(self, part: Part, position: bytes | None, now: int) -> Page:
        """Return the page of `part` at `position`, without what is older than the retention.

        Raises StoreError, or PositionRefused.
        """
        connected = self._connector.ready()
        table, columns = _TABLES[part.kind]
        statement = SimpleStatement(
            f"SELECT {columns} FROM {connected.keyspace}.{table} WHERE {part.where}",
            fetch_size=PAGE_ROWS,
            consistency_level=self._consistency,
            is_idempotent=True,
        )
        try:
            rows, after = await _fetch(connected.client.session, statement, position)
        except (InvalidRequest, ProtocolException) as error:
            if position is None:
                raise
            raise PositionRefused(str(error)) from error
        except StoreError:
            raise
        except Exception as error:
            raise translate(error) from error
        return Page(_events(part.kind, rows, now - self._retention), after)


async def _fetch(
    session: Any, statement: SimpleStatement, position: bytes | None
) -> tuple[list[Any], bytes | None]:
    """Return the rows of one page, and the position after it; raises the driver's errors."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[tuple[list[Any], bytes | None]] = loop.create_future()
    # The driver's own timeout would keep the rows in memory until it ends, even after the answer.
    asked = session.execute_async(statement, timeout=None, paging_state=position)

    def answered() -> None:
        if not done.done():
            result = asked.result()
            done.set_result((result.current_rows, result.paging_state))

    def failed(error: BaseException) -> None:
        if not done.done():
            done.set_exception(error)

    asked.add_callbacks(
        lambda _: call_soon(loop, answered), lambda error: call_soon(loop, failed, error)
    )
    try:
        async with asyncio.timeout(
            _PAGE_SECONDS
        ):  # wait_for may lose a cancellation in Python 3.11
            return await done
    except TimeoutError as error:
        raise StoreError(STORE_TIMEOUT, "Cassandra did not answer in time") from error


def _events(kind: str, rows: Iterable[Any], oldest: int) -> list[Event]:
    """Return the events of rows that are newer than `oldest` (ms).

    A partition whose only cell is static has a row without a session.
    """
    if kind == "end":
        return [
            End(player, session, ended_at)
            for player, session, ended_at in rows
            if to_ms(ended_at) > oldest
        ]
    return [
        Start(player, session, started_at, country)
        for player, session, started_at, country in rows
        if session is not None and to_ms(started_at) > oldest
    ]
