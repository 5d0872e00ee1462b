"""One process, one event loop: how the service starts, listens and ends.

The server library closes its listener at once on SIGTERM; the drain is ours: not ready, serve on
for the drain delay, close, let the requests in flight and the writer end, disconnect.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import os
import resource
import signal
import socket
from collections.abc import Iterator
from typing import Any

import uvicorn
import uvloop

from player_sessions import __version__
from player_sessions.api import create_app
from player_sessions.connections import Connection, sweep
from player_sessions.keys import InvalidKeys, Keys
from player_sessions.service import Service
from player_sessions.settings import PREFIX, Settings
from player_sessions.store import Store
from player_sessions.telemetry import logs, traces
from player_sessions.telemetry.logs import log

_LINGER_SECONDS = 0.5
_OTHER_FILES = 100  # open files that are not connections of clients


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:  # the signals are handled below
        yield


class _CannotServe(Exception):
    """The message says what to change."""


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; the process's exit code."""
    logs.configure(settings.log_level, settings.log_format)
    log.info("starting", version=__version__, **settings.masked())
    _raise_file_limit(settings.max_connections)
    try:
        keys = _keys(settings)
        tracing = traces.configure(os.environ)
        main = _listen(settings, settings.http_port)
        operations = None
        if settings.operations_port is not None:
            operations = _listen(settings, settings.operations_port)
    except (_CannotServe, traces.BadTracing) as error:
        log.error(str(error))
        return 1

    def service() -> Service:
        made = Service(settings, Store(settings, tracing), keys, tracing)
        if operations is not None:
            made.operations_port = operations.getsockname()[1]
        return made

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(service, [main, *([operations] if operations else [])]))
    return 0


def _raise_file_limit(connections: int) -> None:
    """As many open files as the system allows; many give a process 1024 unless it asks."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # macOS calls more than it can do unlimited
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed != resource.RLIM_INFINITY and allowed < connections + _OTHER_FILES:
        log.warning(
            f"only {allowed} files may be open, too few for {PREFIX}MAX_CONNECTIONS={connections}:"
            " raise the process's limit (ulimit -n) or lower the setting"
        )


def _keys(settings: Settings) -> Keys | None:
    if not settings.keys_file:
        if settings.auth == "off":
            log.warning(f"no keys are asked for: {PREFIX}AUTH=off")
        return None
    try:
        return Keys(settings.keys_file)
    except (OSError, InvalidKeys, UnicodeDecodeError) as error:
        raise _CannotServe(f"{PREFIX}KEYS_FILE cannot be read: {error}") from error


def _listen(settings: Settings, port: int) -> socket.socket:
    host = settings.http_host
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise _CannotServe(
            f"cannot listen at {host}, port {port}: {error}; choose another"
            f" {PREFIX}HTTP_HOST, {PREFIX}HTTP_PORT or {PREFIX}OPERATIONS_PORT"
        ) from error


async def _serve(make: Any, listeners: list[socket.socket]) -> None:
    service: Service = make()
    service.expose()
    settings, store = service.settings, service.store
    server = _Server(
        uvicorn.Config(
            create_app(service),
            http=functools.partial(Connection, service),  # type: ignore[arg-type]
            lifespan="off",
            ws="none",
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=settings.idle_timeout,  # type: ignore[arg-type]
            timeout_graceful_shutdown=round(settings.drain_timeout),
        )
    )
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, _stop, signum, stop)
    # What exists now stays: do not look at it again and again. Requests leave no cycles, so that
    # the collector need not come every few requests either.
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    beside = [
        asyncio.create_task(store.run()),
        asyncio.create_task(sweep(service, server.server_state.connections)),
    ]
    serving = asyncio.create_task(server.serve(sockets=listeners))
    _announce(listeners)
    await stop.wait()
    log.info("draining", delay=settings.drain_delay)
    service.draining = True
    await asyncio.sleep(settings.drain_delay)
    loop.call_later(settings.drain_timeout + _LINGER_SECONDS + 1, _give_up)
    for listener in server.servers:
        listener.close()
    # A request on its way on a connection that is kept is answered, with `Connection: close`.
    until = loop.time() + _LINGER_SECONDS
    while server.server_state.connections and loop.time() < until:
        await asyncio.sleep(0.02)
    server.should_exit = True
    await serving
    for task in beside:
        task.cancel()
    await asyncio.gather(*beside, return_exceptions=True)
    await store.close(settings.drain_timeout)
    if service.tracing is not None:
        service.tracing.close(settings.drain_timeout)
    log.info("stopped")


def _announce(listeners: list[socket.socket]) -> None:
    urls = []
    for listener in listeners:
        host, port = listener.getsockname()[:2]
        urls.append(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")
    operations = {"operations": urls[1]} if len(urls) > 1 else {}
    log.info("listening", url=urls[0], docs=f"{urls[0]}/docs", **operations)


def _give_up() -> None:
    log.error("stopped at once: the drain took too long; requests may have been cut")
    os._exit(1)


def _stop(signum: int, stop: asyncio.Event) -> None:
    """The first signal begins the drain, the second ends the process at once."""
    if stop.is_set():
        log.warning("stopped at once by a second signal; requests may have been cut")
        os._exit(128 + signum)
    stop.set()
