"""What the parts of the path of a batch cost, in one process, without a network or Cassandra.

Each line is the least processor time of many repeats, which another program on the same machine
hardly moves. A client that acknowledges at once stands for the driver: what it and the kernel cost
is what `python -m loadtest.bench` measures.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import gc
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import prometheus_client
import uvicorn
import uvloop
from cassandra import ConsistencyLevel
from cassandra.query import PreparedStatement

from loadtest.bench import variants
from loadtest.bench.generator import Job, make_writes
from player_sessions.api import create_app
from player_sessions.connections import Connection
from player_sessions.front import Front
from player_sessions.rows import Inserts
from player_sessions.service import Service
from player_sessions.settings import load
from player_sessions.store import Store
from player_sessions.telemetry import metrics

_PATH = "/v1/events"


class _Transport(asyncio.Transport):
    """A client's connection that only counts the answers."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self.answered = b""

    def write(self, data: Any) -> None:
        self.answered = data

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


class Parts:
    """All that is measured, on batches of `events`."""

    def __init__(self, events: int) -> None:
        self.requests = _requests(events)

    async def measure(self, repeats: int) -> list[tuple[str, float]]:
        """(what, microseconds of each), most of them per request."""
        service = self._service()
        app = create_app(service)
        handler = variants.bare(service)
        through_litestar: Any = _past(app)
        lines = [
            ("the handler on bare ASGI", await self._application(handler, repeats)),
            ("the service's: the same behind `front`", await self._application(app, repeats)),
            (
                "the same through Litestar's router instead",
                await self._application(through_litestar, repeats),
            ),
        ]
        for name, each in (("bare ASGI", variants.asgi(service)), ("the service", app)):
            lines.append((f"{name}, with HTTP", await self._http(service, each, repeats)))
        return lines

    def _service(self) -> Service:
        settings = load({})
        store = Store(settings)
        opened: Any = _Opened()
        store._link.opened, store._link.reason = opened, None
        return Service(settings, store)

    async def _application(self, app: Any, repeats: int) -> float:
        bodies = [request.partition(b"\r\n\r\n")[2] for request in self.requests]

        async def one(number: int) -> None:
            body = bodies[number % len(bodies)]
            scope = _scope(len(body))

            async def receive() -> Any:
                return {"type": "http.request", "body": body, "more_body": False}

            # As a server does: a task for each request.
            await asyncio.create_task(app(scope, receive, _send))

        return await _least(one, repeats)

    async def _http(self, service: Service, app: Any, repeats: int) -> float:
        config = uvicorn.Config(app, lifespan="off", ws="none", access_log=False, log_config=None)
        config.load()
        state: Any = uvicorn.server.ServerState()
        made = functools.partial(Connection, service, config=config, server_state=state)
        connection: Any = made(app_state={})
        transport = _Transport()
        connection.connection_made(transport)

        async def one(number: int) -> None:
            transport.answered = b""
            connection.data_received(self.requests[number % len(self.requests)])
            while not transport.answered:
                await asyncio.sleep(0)

        try:
            return await _least(one, repeats)
        finally:
            connection.timeout_keep_alive_task.cancel()


class _Opened:
    """What the store has of a connected driver, as far as a write needs it."""

    def __init__(self) -> None:
        prepared = PreparedStatement([], b"0123456789abcdef", [], "INSERT", "parts", 5, [], None)
        self.inserts = Inserts(prepared, prepared, 365 * 86_400_000, ConsistencyLevel.LOCAL_QUORUM)
        self.client = self

    def send(self, batch: Any, deadline: float, budget: Any, done: Any) -> None:  # noqa: ARG002
        asyncio.get_running_loop().call_soon(done, (), None)


def _past(app: Any) -> Any:
    """The same application without its way past the router."""
    front: Any = object.__new__(Front)
    front.__dict__.update(app.__dict__)
    front._posts = {}
    return front


def _requests(events: int) -> list[bytes]:
    job = Job(port=0, server=0, cassandra=0, connections=0, warm_up=0, seconds=0)
    job.path, job.key, job.batch, job.requests = _PATH, "events", events, 200
    return make_writes(job, b"parts...")


def _scope(length: int) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": _PATH,
        "raw_path": _PATH.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [
            (b"host", b"bench"),
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % length),
        ],
        "server": ("127.0.0.1", 2),
        "client": ("127.0.0.1", 1),
        "state": {},
    }


async def _send(_: Any) -> None:
    pass


async def _least(one: Callable[[int], Awaitable[None]], repeats: int, calls: int = 25) -> float:
    """Microseconds of processor time of one call, the least mean of `repeats` runs."""
    least = float("inf")
    for _ in range(repeats):
        begun = time.process_time()
        for number in range(calls):
            await one(number)
        least = min(least, time.process_time() - begun)
    return 1e6 * least / calls


def observations(repeats: int) -> list[tuple[str, float]]:
    """What one observation of a histogram costs, ours and prometheus-client's."""
    ours = metrics.STORE_SECONDS.labels("write")
    theirs = prometheus_client.Histogram(
        "parts", "the same", buckets=metrics.STORE_SECONDS._bounds, registry=None
    )
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
        epilog="example: python -m loadtest.bench.parts --events 1",
    )
    made.add_argument("--events", type=int, default=10, help="of a request (%(default)s)")
    made.add_argument("--repeats", type=int, default=400, help="of each line (%(default)s)")
    return made


def main() -> int:
    options = parser().parse_args()
    gc.disable()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        lines = runner.run(Parts(options.events).measure(options.repeats))
    for what, micros in [*lines, *observations(options.repeats)]:
        print(f"{micros:8.2f} µs  {what}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
