"""A history, as Jepsen records it: what concurrent clients asked, the answers, and when.

Times are seconds of one process's monotonic clock. Failed reads are left out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

ACKNOWLEDGED = "acknowledged"
UNKNOWN = "unknown"  # it may be stored now, later or never
REFUSED = "refused"  # the service said that nothing was stored


class Event(msgspec.Struct, frozen=True, array_like=True):
    kind: Literal["start", "end"]
    session: str
    at_ms: int
    country: str = ""


class Session(msgspec.Struct, frozen=True, array_like=True):
    """A session as a read lists it."""

    session: str
    country: str
    started_ms: int
    ended_ms: int


class Write(msgspec.Struct, frozen=True, tag="write"):
    client: int
    begun: float
    ended: float
    player: str
    events: list[Event]
    outcome: Literal["acknowledged", "unknown", "refused"]


class Read(msgspec.Struct, frozen=True, tag="read"):
    """A read of all complete sessions of a player, in the order of the answer."""

    client: int
    begun: float
    ended: float
    player: str
    sessions: list[Session]


Operation = Write | Read
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Operation).decode


def save(path: Path, history: list[Operation]) -> None:
    """Write the history, one operation per line."""
    path.write_bytes(b"".join(_encode(operation) + b"\n" for operation in history))


def load(path: Path) -> list[Operation]:
    return [_decode(line) for line in path.read_bytes().splitlines()]
