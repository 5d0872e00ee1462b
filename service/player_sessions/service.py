"""What the requests of one process share: settings, store, keys, and what is under way."""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Any

from player_sessions.keys import FORBIDDEN, UNAUTHORIZED, Keys
from player_sessions.problems import NOT_FOUND, Refused
from player_sessions.settings import Settings
from player_sessions.store import Store
from player_sessions.telemetry import metrics

if TYPE_CHECKING:
    from player_sessions.telemetry.otlp import Tracing

DRAINING = "draining"
_DETAILS = {
    UNAUTHORIZED: (401, "send `Authorization: Bearer <key>` with a valid key"),
    FORBIDDEN: (403, "this key may not do that"),
}


class Service:
    """`operations_port` is None where health and metrics share the one port."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        keys: Keys | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self.settings = settings
        self.store = store
        self.keys = keys
        self.tracing = tracing
        self.operations_port: int | None = None
        self.draining = False
        self.in_flight = {"write": 0, "read": 0, "other": 0}
        # When each task began to read its body, and those whose client was too slow.
        self.reading: dict[asyncio.Task[Any], float] = {}
        self.too_slow: set[asyncio.Task[Any]] = set()

    def expose(self) -> None:
        """From now on the gauges speak of this service."""
        for operation in ("write", "read"):
            gauge = metrics.IN_FLIGHT.labels(operation)
            gauge.set_function(functools.partial(self.in_flight.__getitem__, operation))
        metrics.READY.set_function(lambda: self.unready is None)
        metrics.DRAINING.set_function(lambda: self.draining)

    @property
    def unready(self) -> str | None:
        """Why no requests should be sent here, or None."""
        return DRAINING if self.draining else self.store.reason

    def permit(self, scope: Any, *, key: str | None, operations: bool) -> None:
        """Raise Refused where this request came to the wrong port or lacks the key's scope."""
        if self.operations_port is not None and operations != (
            scope["server"][1] == self.operations_port
        ):
            raise Refused(404, NOT_FOUND, "not on this port")
        if self.keys is None or key is None:
            return
        authorization = dict(scope["headers"]).get(b"authorization", b"")
        if reason := self.keys.refusal(authorization, key):
            metrics.DENIED.labels(reason).inc()
            status, detail = _DETAILS[reason]
            raise Refused(status, reason, detail)
