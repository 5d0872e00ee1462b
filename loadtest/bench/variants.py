"""The service with one part exchanged, to see what that part is worth.

each-event: one `execute_async` per event instead of group commit, all else the service's own.
bare: the ingest handler on bare ASGI, without routing and request metrics; it has no reads.
asgi: reads the body and answers 200, without JSON, rules and store: one half of the floor.
answer: nothing but a 503 to every batch.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from typing import Any

from player_sessions import server
from player_sessions.driver import translate
from player_sessions.events import Event, read_events
from player_sessions.problems import Answer, problem
from player_sessions.service import Service
from player_sessions.settings import load
from player_sessions.store import Store, now_ms
from player_sessions.telemetry import metrics
from player_sessions.writer import OVERLOADED


class EachEventStore(Store):
    """Sends a prepared statement per event, in the driver's ordinary way."""

    async def write(self, events: Sequence[Event]) -> tuple[int, int]:
        opened, now, retention = self._link.ready(), now_ms(), self._settings.retention_ms
        kept = [event for event in events if event.at_ms + retention > now]
        done: asyncio.Future[None] = self._loop.create_future()
        answers: list[None] = []  # grows on the driver's thread, where append is atomic

        def stored(_: Any) -> None:
            answers.append(None)
            if len(answers) == len(kept):
                self._loop.call_soon_threadsafe(_settle, done, None)

        def failed(error: BaseException) -> None:
            self._loop.call_soon_threadsafe(_settle, done, translate(error))

        for event in kept:
            statement = opened.statements[event.event]
            future = opened.client.session.execute_async(statement, _values(event, retention, now))
            future.add_callbacks(stored, failed)
            metrics.EVENTS.labels(event.event, "accepted").inc()
        if kept:
            await done
        return len(kept), len(events) - len(kept)


def _settle(future: asyncio.Future[None], error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)


def _values(event: Event, retention: int, now: int) -> tuple[Any, ...]:
    at = event.at_ms
    using = (at + retention - now) // 1000 + 1, at * 1000
    if event.event == "end":
        return event.player_id, event.ts, event.session_id, *using
    return event.player_id, event.session_id, event.ts, event.country, *using


def bare(service: Service) -> Any:
    """`POST /v1/events` and readiness, and nothing else."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["method"] == "POST":
            body = await _body(receive)
            latest = now_ms() + round(service.settings.future_tolerance * 1000)
            stored = await service.store.write(read_events(body, latest))
            status, answer = 200, b'{"accepted":%d,"discarded":%d}' % stored
        else:
            status, answer = 503 if service.store.reason else 200, b""
        await _send(send, status, answer)

    return app


def asgi(service: Service) -> Any:
    """The body read and 200, to everything, once the store is ready."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await _body(receive)
        ready = scope["method"] == "POST" or service.store.reason is None
        await _send(send, 200 if ready else 503, b'{"accepted":10,"discarded":0}')

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


def answer(service: Service) -> Any:
    """503 to every batch, at once, in the same server."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["method"] == "POST":
            await REFUSED(scope, receive, send)
        else:
            await (Answer(b"", status=503 if service.store.reason else 200))(scope, receive, send)

    return app


REFUSED = problem(503, OVERLOADED, "too much")


def main() -> int:
    part: Any = server
    if sys.argv[1] == "each-event":
        part.Store = EachEventStore
    else:
        part.create_app = {"bare": bare, "asgi": asgi, "answer": answer}[sys.argv[1]]
    return server.run(load(os.environ))


if __name__ == "__main__":
    sys.exit(main())
