"""The sweep: twice a second it looks at all connections and cuts those that are too slow.

So no request needs a timer of its own.
"""

from __future__ import annotations

import asyncio
import time

from player_sessions.rules.reasons import BODY_TIMEOUT
from player_sessions.telemetry import metrics
from player_sessions.telemetry.logs import log
from player_sessions.web.context import Context

SWEEP_SECONDS = 0.5
_STALL_SECONDS = 0.1


async def sweep(context: Context) -> None:
    """Cut what is too slow, read changed keys and count the loop's stalls, until cancelled."""
    loop = asyncio.get_running_loop()
    metrics.CONNECTIONS.set_function(lambda: len(context.connections))
    while True:
        slept = time.monotonic()
        await asyncio.sleep(SWEEP_SECONDS)
        late = time.monotonic() - slept - SWEEP_SECONDS
        if late >= _STALL_SECONDS:
            metrics.STALLS.inc()
            log.warning("the event loop was late", seconds=round(late, 3))
        _cut_slow(context, loop.time())
        if context.keys is not None:
            context.keys.refresh()


def _write_timeout(context: Context) -> float:
    """Return how long a client may take to read; a stop must not wait for it in vain."""
    settings = context.settings
    if context.draining:
        return min(settings.write_timeout, settings.drain_timeout / 3)
    return settings.write_timeout


def _cut_slow(context: Context, now: float) -> None:
    settings = context.settings
    limits = {
        metrics.HEAD_TIMEOUT: settings.head_timeout,
        metrics.IDLE: settings.idle_timeout,
        metrics.WRITE_TIMEOUT: _write_timeout(context),
        BODY_TIMEOUT.name: settings.body_timeout,
    }
    for connection in list(context.connections):
        before = connection.waiting
        connection.waiting = {reason: before.get(reason, now) for reason in connection.waits_for()}
        for reason, since in connection.waiting.items():
            if now - since <= limits[reason]:
                continue
            if reason == BODY_TIMEOUT.name:
                connection.end_body()
            else:
                connection.cut(reason)
                break


def cut_all(context: Context) -> None:
    """Cut the connections that are still open near the end of the drain."""
    for connection in list(context.connections):
        connection.cut(metrics.STOP)
