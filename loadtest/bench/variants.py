"""The service with one part replaced, to measure what that part costs.

each-event: one `execute_async` per row instead of group commit; the rest is the service's.
bare: the handlers of batches and reads on bare ASGI, without routing and request metrics.
asgi: reads the body and answers with a ready document, without JSON, rules and store; one half of
the floor.
answer: answers every batch with 503 and does nothing else.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from dev import cql
from dev.game_events import now_ms
from dev.service import PREFIX
from loadtest.bench import plain_rows
from player_sessions import server
from player_sessions.rules.events import Event, read_events
from player_sessions.rules.sessions import MAX_LIMIT, Page, Session
from player_sessions.settings import Settings, load
from player_sessions.store.store import Store
from player_sessions.telemetry import metrics
from player_sessions.web.context import Context
from player_sessions.web.documents import player_sessions
from player_sessions.web.player_reads import plain_read

_SESSION = Session(bytes(16), b"FI", 1_700_000_000_000, 1_700_000_900_000)


class EachEventStore(Store):
    """The service's store, but it writes one prepared statement per row by the plain driver."""

    def __init__(self, settings: Settings, tracing: Any = None) -> None:
        super().__init__(settings, tracing)
        self._plain: Any = None
        self._statements: dict[str, Any] = {}

    @property
    def reason(self) -> str | None:
        """Return why nothing can be stored; None once both connections are there."""
        return super().reason or (None if self._plain else "not-ready")

    async def run(self) -> None:
        with ExitStack() as stack:
            keyspace = os.environ[f"{PREFIX}KEYSPACE"]
            connected = cql.connected(os.environ, keyspace)
            session = await asyncio.to_thread(stack.enter_context, connected)
            self._statements = plain_rows.prepare(session, keyspace)
            self._plain = session
            await super().run()

    async def write(self, events: Sequence[Event]) -> tuple[int, int]:
        loop, now = asyncio.get_running_loop(), now_ms()
        each = [(event, plain_rows.rows(event, now)) for event in events]
        kept = [event for event, rows in each if rows]
        made = [row for _, rows in each for row in rows]
        done: asyncio.Future[None] = loop.create_future()
        answers: list[None] = []  # grows on the driver's thread, where append is atomic

        def stored(_: Any) -> None:
            answers.append(None)
            if len(answers) == len(made):
                loop.call_soon_threadsafe(_settle, done, None)

        def failed(error: BaseException) -> None:
            loop.call_soon_threadsafe(_settle, done, error)

        for row in made:
            future = self._plain.execute_async(self._statements[row.statement], row.values)
            future.add_callbacks(stored, failed)
        for event in kept:
            metrics.EVENTS.labels(event.kind, "accepted").inc()
        if made:
            await done
        return len(kept), len(events) - len(kept)


def _settle(future: asyncio.Future[None], error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)


def bare(service: Context) -> Any:
    """Return an application that has only `POST /v1/events`, plain reads and readiness."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if read := plain_read(service, scope["path"], scope["query_string"]):
            await read(scope, receive, send)
            return
        if scope["method"] == "POST":
            body = await _body(receive)
            latest = now_ms() + round(service.settings.future_tolerance * 1000)
            stored = await service.store.write(read_events(body, latest))
            status, answer = 200, b'{"accepted":%d,"discarded":%d}' % stored
        else:
            status, answer = 503 if service.store.reason else 200, b""
        await _send(send, status, answer)

    return app


def asgi(service: Context) -> Any:
    """Return an application that has ready answers to batches and reads, and readiness."""
    page = player_sessions("0" * 32, Page([_SESSION] * MAX_LIMIT, None))

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["method"] == "POST":
            await _body(receive)
            await _send(send, 200, b'{"accepted":10,"discarded":0}')
        elif scope["path"].startswith("/v1/players/"):
            await _send(send, 200, page)
        else:
            await _send(send, 503 if service.store.reason else 200, b"")

    return app


async def _body(receive: Any) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


async def _send(send: Any, status: int, answer: bytes) -> None:
    length = b"%d" % len(answer)
    headers = [(b"content-type", b"application/json"), (b"content-length", length)]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


def answer(service: Context) -> Any:
    """Return an application that answers 503 to every batch, with a body like a problem."""

    async def app(scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG001
        ready = scope["method"] == "GET" and service.store.reason is None
        await _send(send, 200 if ready else 503, b"" if ready else _REFUSED)

    return app


_REFUSED = (
    b'{"type":"urn:example:overloaded","title":"Overloaded","status":503,"detail":"too much"}'
)


def main() -> int:
    part: Any = server
    if sys.argv[1] == "each-event":
        part.Store = EachEventStore
    else:
        part.create_app = {"bare": bare, "asgi": asgi, "answer": answer}[sys.argv[1]]
    return server.run(load(os.environ))


if __name__ == "__main__":
    sys.exit(main())
