"""Measure what each part of handling a request costs, in one process without network or Cassandra.

Each line is the minimum processor time of many repeats, which other programs on the machine hardly
change. For batches, a client that acknowledges at once replaces the driver. For reads, given by
`--sessions`, the driver runs, and a node in this process answers it. `python -m loadtest.bench`
measures what the kernel costs, and for batches the driver.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import sys
import time
from collections import defaultdict
from typing import Any
from unittest import mock

import prometheus_client
import uvloop
from cassandra.query import PreparedStatement
from litestar import Litestar, asgi
from litestar.types import Receive, Scope, Send

from loadtest.bench import read_parts, variants
from loadtest.bench.generator import Job, make_writes
from loadtest.bench.in_process import application, http
from player_sessions.settings import load
from player_sessions.store import store
from player_sessions.store.rows import Inserts
from player_sessions.telemetry.tallies import Histogram
from player_sessions.web import app as api
from player_sessions.web.context import Context
from player_sessions.web.middleware import Middleware

_PATH = "/v1/events"


class Parts:
    """All measurements of batches of `events` events."""

    def __init__(self, events: int) -> None:
        self.requests = _requests(events)

    async def measure(self, repeats: int) -> list[tuple[str, float]]:
        """Return what was measured and its microseconds, mostly per request."""
        service = self._service()
        app = api.create_app(service)
        handler = variants.bare(service)
        through_litestar = Middleware(api.build(service), {}, lambda *_: None, service)
        lines = [
            ("the handler on bare ASGI", await application(handler, self.requests, repeats)),
            (
                "the service's: the same behind the middleware",
                await application(app, self.requests, repeats),
            ),
            (
                "the same through Litestar's router instead",
                await application(through_litestar, self.requests, repeats),
            ),
            (
                "the same through a bare `@asgi` route of Litestar's",
                await application(_asgi_route(service), self.requests, repeats),
            ),
        ]
        for name, each in (("bare ASGI", variants.asgi(service)), ("the service", app)):
            lines.append((f"{name}, with HTTP", await http(service, each, self.requests, repeats)))
        return lines

    def _service(self) -> Context:
        settings = load({})
        with mock.patch.object(store, "Connector", _Connected):
            return Context(settings, store.Store(settings))


class _Connected:
    """Replaces the store's connection by a client that acknowledges every batch at once."""

    reason = None
    batch_rows = 192

    def __init__(self, *_: Any) -> None:
        self.connected = self
        prepared = PreparedStatement([], b"0123456789abcdef", [], "INSERT", "parts", 5, [], None)
        self.inserts = Inserts(defaultdict(lambda: prepared), load({}))
        self.client = self

    def ready(self) -> _Connected:
        return self

    def send(self, batch: Any, deadline: float, done: Any) -> None:  # noqa: ARG002
        asyncio.get_running_loop().call_soon(done, (), None)


def _asgi_route(service: Context) -> Any:
    """Return the middleware around a Litestar with nothing but the one route, made by `@asgi`."""
    handler = api.build(service).state["ingests"][_PATH]

    @asgi(_PATH, copy_scope=False)
    async def ingest(scope: Scope, receive: Receive, send: Send) -> None:
        await handler(scope, receive, send)

    litestar = Litestar([ingest], openapi_config=None, logging_config=None)
    return Middleware(litestar, {}, lambda *_: None, service)


def _requests(events: int) -> list[bytes]:
    job = Job(port=0, server=0, cassandra=0, connections=0, warm_up=0, seconds=0)
    job.path, job.key, job.batch, job.requests = _PATH, "events", events, 200
    return make_writes(job, b"parts...")


def observations(repeats: int) -> list[tuple[str, float]]:
    """Measure one observation of a histogram: ours and prometheus-client's."""
    bounds = [0.0005 * 2**n for n in range(14)]
    ours = Histogram("parts", "ours", bounds).labels()
    theirs = prometheus_client.Histogram("parts", "the same", buckets=bounds, registry=None)
    lines = []
    for name, observe in (("ours", ours.observe), ("prometheus-client's", theirs.observe)):
        least = float("inf")
        for _ in range(repeats):
            begun = time.process_time()
            for _ in range(1000):
                observe(0.0123)
            least = min(least, time.process_time() - begun)
        lines.append((f"one observation of a histogram, {name}", 1e3 * least))
    return lines


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m loadtest.bench.parts",
        description=__doc__,
        epilog="Example: python -m loadtest.bench.parts --sessions 20",
    )
    made.add_argument("--events", type=int, default=10, help="events in a request (%(default)s)")
    made.add_argument(
        "--sessions", type=int, help="measure reads of so many sessions instead of batches"
    )
    made.add_argument(
        "--repeats", type=int, default=400, help="repeats of each measurement (%(default)s)"
    )
    return made


def main() -> int:
    options = parser().parse_args()
    gc.disable()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        if options.sessions is None:
            lines = runner.run(Parts(options.events).measure(options.repeats))
            lines += observations(options.repeats)
        else:
            lines = runner.run(read_parts.measure(options.sessions, options.repeats))
    for what, micros in lines:
        print(f"{micros:8.2f} µs  {what}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
