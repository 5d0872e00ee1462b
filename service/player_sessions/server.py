"""One process, one event loop: how the service starts, listens and ends.

The server library closes its listener at once on SIGTERM; the drain is ours: not ready, serve on
for the drain delay, close, let the requests in flight and the writer end, disconnect.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
from collections.abc import Iterator

import uvicorn
import uvloop

from player_sessions import __version__, telemetry
from player_sessions.api import Service, create_app
from player_sessions.settings import Settings
from player_sessions.store import Store
from player_sessions.telemetry import log


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:  # the signals are handled below
        yield


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; the process's exit code."""
    telemetry.configure_logging(settings.log_level, settings.log_format)
    log.info("starting", version=__version__, **settings.masked())
    try:
        listener = socket.create_server(
            (settings.http_host, settings.http_port),
            family=socket.AF_INET6 if ":" in settings.http_host else socket.AF_INET,
            backlog=2048,
        )
    except OSError as error:
        log.error(
            "cannot listen: choose another PLAYER_SESSIONS_HTTP_PORT or _HTTP_HOST",
            host=settings.http_host,
            port=settings.http_port,
            cause=str(error),
        )
        return 1
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, listener))
    return 0


async def _serve(settings: Settings, listener: socket.socket) -> None:
    store = Store(settings)
    service = Service(settings, store)
    server = _Server(
        uvicorn.Config(
            create_app(service),
            http="httptools",
            lifespan="off",
            ws="none",
            access_log=False,
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=round(settings.drain_timeout),
        )
    )
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, _stop, server, stop)
    # What exists now stays: do not look at it again and again. Requests leave no cycles, so that
    # the collector need not come every few requests either.
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    connecting = asyncio.create_task(store.run())
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    host, port = listener.getsockname()[:2]
    log.info("listening", url=f"http://{host}:{port}", docs=f"http://{host}:{port}/docs")
    await stop.wait()
    log.info("draining", delay=settings.drain_delay)
    service.draining = True
    await _pause(server, settings.drain_delay)
    server.should_exit = True
    await serving
    connecting.cancel()
    await asyncio.gather(connecting, return_exceptions=True)
    await store.close(settings.drain_timeout)
    log.info("stopped")


def _stop(server: _Server, stop: asyncio.Event) -> None:
    """The first signal begins the drain, the second ends it at once."""
    server.force_exit = stop.is_set()
    stop.set()


async def _pause(server: _Server, seconds: float) -> None:
    until = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < until and not server.force_exit:
        await asyncio.sleep(0.05)
