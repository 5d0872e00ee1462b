"""The types of an event's fields other than the player id. They are the rules of these fields."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from msgspec import Meta

from player_sessions.rules.players import UUID_PATTERN

# The JSON Schema of a type is what /docs shows.
SessionId = Annotated[
    UUID,
    Meta(
        description="A UUID, with or without dashes.",
        extra_json_schema={"pattern": UUID_PATTERN},
    ),
]
Timestamp = Annotated[
    datetime,
    Meta(
        description="A time of RFC 3339, or without an offset in UTC. Milliseconds are kept."
        " At most 5 minutes ahead.",
        extra_json_schema={"format": "date-time"},
    ),
]
Country = Annotated[
    str,
    Meta(
        pattern=r"^[A-Z]{2}\Z",
        description="Two capital letters, whatever the game sends.",
    ),
]
