"""What the requests of one process share: settings, store, keys, and what is in flight."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from player_sessions.rules.players import PLAYER_OF
from player_sessions.rules.reasons import NOT_FOUND
from player_sessions.settings import Settings
from player_sessions.store.store import Store
from player_sessions.telemetry import metrics
from player_sessions.web.access import Keys
from player_sessions.web.problems import Refused

if TYPE_CHECKING:
    from player_sessions.telemetry.tracing import Tracing

DRAINING = "draining"


class Context:
    """The one object that all requests share.

    `operations_port` is None when health and metrics are served on the HTTP port.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        keys: Keys | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self.settings = settings
        self.player_of = PLAYER_OF[settings.player_ids]
        self.store = store
        self.keys = keys
        self.tracing = tracing
        self.operations_port: int | None = None
        self.draining = False
        self.in_flight = {"write": 0, "read": 0, "other": 0}
        self.connections: set[Any] = set()  # open connections of clients, on both ports

    def expose(self) -> None:
        """Let the gauges show the state of this context."""
        for operation in ("write", "read"):
            gauge = metrics.IN_FLIGHT.labels(operation)
            gauge.set_function(functools.partial(self.in_flight.__getitem__, operation))
        metrics.READY.set_function(lambda: self.unready is None)
        metrics.DRAINING.set_function(lambda: self.draining)

    @property
    def unready(self) -> str | None:
        """Why no requests should be sent to this process, or None."""
        return DRAINING if self.draining else self.store.reason

    def permit(self, scope: Any, *, key: str | None, operations: bool) -> None:
        """Raise Refused when a request came to the wrong port or lacks a key for what it asks.

        `key` is the scope that its key must have; None asks for no key. `operations` says whether
        the route belongs to the operations port.
        """
        if self.operations_port is not None and operations != (
            scope["server"][1] == self.operations_port
        ):
            raise Refused(NOT_FOUND, "not on this port")
        if self.keys is None or key is None:
            return
        authorization = dict(scope["headers"]).get(b"authorization", b"")
        if reason := self.keys.refusal(authorization, key):
            metrics.DENIED.labels(reason.name).inc()
            raise Refused(reason, reason.advice)
