"""The sweep: twice a second it looks at all connections and cuts those that are too slow.

So no request needs a timer of its own.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

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
        _cut_slow_heads(context.connections, loop.time(), context.settings.head_timeout)
        _cut_slow_readers(context.connections, loop.time(), _write_timeout(context))
        _cut_slow_bodies(context, time.monotonic())
        if context.keys is not None:
            context.keys.refresh()


def _write_timeout(context: Context) -> float:
    """Return how long a client may take to read; a stop must not wait for it in vain."""
    settings = context.settings
    if context.draining:
        return min(settings.write_timeout, settings.drain_timeout / 3)
    return settings.write_timeout


def _cut_slow_heads(connections: set[Any], now: float, timeout: float) -> None:
    for connection in list(connections):
        if not connection.waits_for_head():
            connection.head_since = None
        elif connection.head_since is None:
            connection.head_since = now
        elif now - connection.head_since > timeout:
            connection.cut(metrics.HEAD_TIMEOUT)


def _cut_slow_readers(connections: set[Any], now: float, timeout: float) -> None:
    for connection in list(connections):
        if not connection.has_unread():
            connection.unread_since = None
        elif connection.unread_since is None:
            connection.unread_since = now
        elif now - connection.unread_since > timeout:
            connection.cut(metrics.WRITE_TIMEOUT)


def cut_all(context: Context) -> None:
    """Cut the connections that are still open near the end of the drain."""
    for connection in list(context.connections):
        connection.cut(metrics.STOP)


def _cut_slow_bodies(context: Context, now: float) -> None:
    for task, since in list(context.reading.items()):
        if now - since > context.settings.body_timeout and task not in context.too_slow:
            metrics.CUT.labels(BODY_TIMEOUT.name).inc()
            context.too_slow.add(task)
            task.cancel()
