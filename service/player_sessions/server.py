"""The process: boot, listen, drain.

uvicorn closes its listener at once on SIGTERM, so the drain is ours: report not ready, serve on for
the drain delay, close the listeners, finish what is in flight, disconnect.

Of uvicorn we rely on what it does not document: `Server.capture_signals()`, a context manager
around all of `serve`; `Server.servers`, the listeners while it serves; `Server.should_exit`, which
ends `serve` once all connections and tasks have ended, within `timeout_graceful_shutdown`; and that
`Config` takes a function for `http`.
`tests/guards/test_guard_uvicorn.py` fails when a version of uvicorn changes any of these.
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
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import uvicorn
import uvloop

from player_sessions import __version__
from player_sessions.settings import PREFIX, Settings
from player_sessions.store.store import Store
from player_sessions.telemetry import logs
from player_sessions.telemetry.logs import log
from player_sessions.telemetry.request_ids import tracing_wanted, unset_empty
from player_sessions.web.access import InvalidKeys, Keys
from player_sessions.web.app import create_app
from player_sessions.web.connections import Connection
from player_sessions.web.context import Context
from player_sessions.web.sweep import cut_all, sweep

if TYPE_CHECKING:
    from player_sessions.telemetry.tracing import Tracing

_LINGER_SECONDS = 0.5  # after the listeners close, requests may still be on their way
_OTHER_FILES = 100  # open files that are not connections of clients


class _Server(uvicorn.Server):
    """uvicorn's server without its signal handlers: `_serve` sets ours."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _CannotServe(Exception):
    """The service cannot start; the message says what to change."""


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; return the process's exit code."""
    logs.configure(settings.log_level, settings.log_format)
    log.info("starting", version=__version__, **settings.masked())
    _raise_file_limit(settings.max_connections)
    try:
        keys = _keys(settings)
        tracing = _tracing()
        listeners = _listen(settings.http_host, settings.http_port)
        operations = []
        if settings.operations_port is not None:
            operations = _listen(settings.http_host, settings.operations_port)
    except _CannotServe as error:
        log.error(str(error))
        return 1
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, keys, tracing, listeners, operations))
    return 0


def _raise_file_limit(connections: int) -> None:
    """Raise the limit of open files as far as it may go; the usual limit of 1024 is too low."""
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
            log.warning(f"anyone may call, since {PREFIX}AUTH=off")
        return None
    try:
        return Keys(settings.keys_file)
    except (OSError, InvalidKeys, UnicodeDecodeError) as error:
        raise _CannotServe(f"{PREFIX}KEYS_FILE cannot be read: {error}") from error


def _tracing() -> Tracing | None:
    """Return the tracing that the environment asks for; OpenTelemetry is imported only then."""
    unset_empty(os.environ)
    if not tracing_wanted(os.environ):
        return None
    from player_sessions.telemetry import tracing

    try:
        return tracing.configure(os.environ)
    except tracing.BadTracing as error:
        raise _CannotServe(str(error)) from error


def _listen(hosts: Sequence[str], port: int) -> list[socket.socket]:
    """Return a listener at each address, all on the same port.

    An IPv6 listener takes IPv4 as well where no IPv4 address is named and the system can do it; in
    fact only the one at `::` then gets IPv4 connections.
    """
    listeners: list[socket.socket] = []
    dual = all(":" in host for host in hosts) and socket.has_dualstack_ipv6()
    for host in hosts:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            listener = socket.create_server(
                (host, port), family=family, backlog=2048, dualstack_ipv6=dual
            )
        except OSError as error:
            raise _CannotServe(
                f"cannot listen at {host}, port {port}: {error}; choose another"
                f" {PREFIX}HTTP_HOST, {PREFIX}HTTP_PORT or {PREFIX}OPERATIONS_PORT"
            ) from error
        listeners.append(listener)
        port = listener.getsockname()[1]  # the system has chosen one where it was 0
    return listeners


async def _serve(
    settings: Settings,
    keys: Keys | None,
    tracing: Tracing | None,
    listeners: list[socket.socket],
    operations: list[socket.socket],
) -> None:
    """Serve until a signal. With `operations`, health and metrics are only on these listeners."""
    context = Context(settings, Store(settings, tracing), keys, tracing)
    if operations:
        context.operations_port = operations[0].getsockname()[1]
    context.expose()
    server = _Server(_uvicorn_config(context))
    stop = _stop_signal()
    # Everything alive now lives as long as the process: exempt it from garbage collection. Requests
    # leave no reference cycles, so the collector may also run rarely.
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    background_tasks = [
        asyncio.create_task(context.store.run()),
        asyncio.create_task(sweep(context)),
    ]
    serving = asyncio.create_task(server.serve(sockets=[*listeners, *operations]))
    _announce(listeners, operations)
    await stop.wait()
    await _drain(context, server, serving)
    for task in background_tasks:
        task.cancel()
    await asyncio.gather(*background_tasks, return_exceptions=True)
    await context.store.close(settings.drain_timeout)
    if tracing is not None:
        tracing.close(settings.drain_timeout)
    log.info("stopped")


def _uvicorn_config(context: Context) -> uvicorn.Config:
    settings = context.settings
    return uvicorn.Config(
        create_app(context),
        http=functools.partial(Connection, context),  # type: ignore[arg-type]
        lifespan="off",
        ws="none",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=round(settings.drain_timeout),
    )


async def _drain(context: Context, server: _Server, serving: asyncio.Task[None]) -> None:
    """Report not ready, serve on for the drain delay, then close and finish what is in flight."""
    settings, loop = context.settings, asyncio.get_running_loop()
    log.info("draining", delay=settings.drain_delay)
    context.draining = True
    await asyncio.sleep(settings.drain_delay)
    loop.call_later(settings.drain_timeout + _LINGER_SECONDS + 1, _give_up)
    for listener in server.servers:
        listener.close()
    # A request that is on its way on an open connection is answered with `Connection: close`.
    until = loop.time() + _LINGER_SECONDS
    while context.connections and loop.time() < until:
        await asyncio.sleep(0.02)
    server.should_exit = True
    # uvicorn would cancel what is still in flight at the end, and log each request as an error.
    loop.call_later(settings.drain_timeout * 0.8, cut_all, context)
    await serving


def _announce(listeners: list[socket.socket], operations: list[socket.socket]) -> None:
    """Log where the service listens: the first address, and all of them if there are several."""
    urls = [_url(listener) for listener in listeners]
    more: dict[str, Any] = {"urls": urls} if len(urls) > 1 else {}
    if operations:
        more["operations"] = _url(operations[0])
    log.info("listening", url=urls[0], docs=f"{urls[0]}/docs", **more)


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _give_up() -> None:
    log.error("stopped at once: the drain took too long; requests may have been cut")
    os._exit(1)


def _stop_signal() -> asyncio.Event:
    """Return an event that SIGTERM or SIGINT sets; a second signal ends the process at once."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal(signum: int) -> None:
        if stop.is_set():
            log.warning("stopped at once by a second signal; requests may have been cut")
            os._exit(128 + signum)
        stop.set()

    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, on_signal, signum)
    return stop
