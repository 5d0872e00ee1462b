"""The rows of an event as values for the plain driver: the same rows that the service packs."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from os import urandom
from typing import Any, NamedTuple
from uuid import UUID

from cassandra.query import BatchStatement

from player_sessions.rules.countries import COUNTRIES, HOUR_MS
from player_sessions.rules.events import Event, Start
from player_sessions.settings import Settings
from player_sessions.store.hour_rows import shard_of, start_key
from player_sessions.store.rows import Inserts
from player_sessions.store.statements import CQL

STATEMENTS = ("start", "starts_of_hour", "end")
_SETTINGS = Settings()
SHARDS = _SETTINGS.country_shards
_RETENTION_MS = _SETTINGS.retention_ms
_COUNTRY_RETENTION_MS = _SETTINGS.country_hours * HOUR_MS


class Row(NamedTuple):
    """The name of a prepared statement, and the values to bind to it."""

    statement: str
    values: tuple[Any, ...]


def prepare(session: Any, keyspace: str) -> dict[str, Any]:
    """Return the service's INSERTs, prepared by the plain driver, by name."""
    return {name: session.prepare(CQL[name].format(keyspace)) for name in STATEMENTS}


def rows(event: Event, now: int) -> list[Row]:
    """Return the rows of an event at the default settings; none if the event is too old.

    A start has a row of its own among the starts of its hour, as in a group commit of one event.
    """
    at, player, session = event.at_ms, event.player_id, event.session_id
    ttl = _seconds_until(at + _RETENTION_MS, now)
    if ttl <= 0:
        return []
    if not isinstance(event, Start):
        return [Row("end", (player, event.ts, session, ttl, at * 1000))]
    country = event.country
    stamp = at * 1000 + COUNTRIES.index(country)
    latest = event.ts, session, country
    made = [Row("start", (player, event.ts, session, country, latest, ttl, stamp))]
    ttl = _seconds_until(at + _COUNTRY_RETENTION_MS, now)
    if ttl > 0:
        hour, key = hour_key(event)
        group_commit = urandom(16)
        place = hour, shard_of(group_commit, SHARDS), UUID(bytes=group_commit)
        values = *place, packed_keys([key]), ttl
        made.append(Row("starts_of_hour", values))
    return made


def packed_batch(inserts: Inserts, events: Sequence[Event], now: int) -> BatchStatement:
    """Return the group commit of these events as the service packs it, for `RowsProtocol`."""
    rows = [row for event in events for row in inserts.rows(event, event.at_ms, now)]
    return inserts.batch(inserts.joined(rows, now), events[0].player_id.bytes)


def hour_key(event: Start) -> tuple[int, int]:
    """Return the hour of a start (ms), and its key among the starts of this hour."""
    at, country = event.at_ms, COUNTRIES.index(event.country)
    key = start_key(event.player_id.bytes, event.session_id.bytes, country)
    return at - at % HOUR_MS, key


def packed_keys(keys: Sequence[int]) -> bytes:
    """Return keys as the bytes of `start_keys`."""
    return struct.pack(f">{len(keys)}Q", *keys)


def _seconds_until(expires: int, now: int) -> int:
    """Return the TTL of a row; 0 or less if it has expired."""
    return -(-expires // 1000) - now // 1000 if expires > now else 0
