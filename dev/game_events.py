"""Events as a game sends them, for tests and load tools that call the service over HTTP."""

from __future__ import annotations

import time
import uuid
from datetime import UTC, datetime
from typing import Any

DAY_MS = 86_400_000


def now_ms() -> int:
    """Return the current time in milliseconds since 1970 UTC."""
    return time.time_ns() // 1_000_000


def iso(ms: int) -> str:
    """Return a time in the form that games use, such as `2016-12-02T05:36:16.000Z`."""
    moment = datetime.fromtimestamp(ms / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def start(player: uuid.UUID, session: uuid.UUID, at: int, country: str = "FI") -> dict[str, Any]:
    """Return the start of a session."""
    return {**_event("start", player, session, at), "country": country}


def end(player: uuid.UUID, session: uuid.UUID, at: int, **more: Any) -> dict[str, Any]:
    """Return the end of a session; `more` adds fields."""
    return {**_event("end", player, session, at), **more}


def _event(kind: str, player: uuid.UUID, session: uuid.UUID, at: int) -> dict[str, Any]:
    return {"player_id": player.hex, "event": kind, "session_id": str(session), "ts": iso(at)}
