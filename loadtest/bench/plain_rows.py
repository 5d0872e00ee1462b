"""The rows of an event as values for the plain driver: the same rows that the service packs."""

from __future__ import annotations

from typing import Any, NamedTuple

from player_sessions.rules.countries import HOUR_MS
from player_sessions.rules.events import Event, Start
from player_sessions.settings import Settings
from player_sessions.store.rows import start_key
from player_sessions.store.statements import CQL

STATEMENTS = ("start", "start_of_hour", "end")
_SETTINGS = Settings()
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
    """Return the rows of an event at the default settings; none if the event is too old."""
    at, player, session = event.at_ms, event.player_id, event.session_id
    ttl = _seconds_until(at + _RETENTION_MS, now)
    if ttl <= 0:
        return []
    if not isinstance(event, Start):
        return [Row("end", (player, event.ts, session, ttl, at * 1000))]
    country = event.country
    stamp = at * 1000 + (ord(country[0]) - ord("A")) * 26 + ord(country[1]) - ord("A")
    latest = event.ts, session, country
    made = [Row("start", (player, event.ts, session, country, latest, ttl, stamp))]
    ttl = _seconds_until(at + _COUNTRY_RETENTION_MS, now)
    if ttl > 0:
        made.append(Row("start_of_hour", (*hour_key(event), ttl, stamp)))
    return made


def hour_key(event: Start) -> tuple[int, int, str, int]:
    """Return the hour, shard, country and key of a start among the starts of its hour."""
    at = event.at_ms
    key = start_key(event.player_id.bytes, event.session_id.bytes)
    return at - at % HOUR_MS, key % _SETTINGS.country_shards, event.country, key


def _seconds_until(expires: int, now: int) -> int:
    """Return the TTL of a row; 0 or less if it has expired."""
    return -(-expires // 1000) - now // 1000 if expires > now else 0
