"""The way of a batch: read its body, let the rules check it, store it, answer.

The service does this nearly all the time, so it is an ASGI application of its own. The middleware
calls it directly; Litestar's routes lead to the same application.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from litestar import Request, post
from litestar.types import ASGIApp

from player_sessions.rules.events import (
    EventError,
    EventsBody,
    RowsBody,
    read_events,
    read_rows,
)
from player_sessions.rules.lenient import Read, read_leniently
from player_sessions.store.store import now_ms
from player_sessions.telemetry import metrics
from player_sessions.telemetry.logs import Limited, log
from player_sessions.web.access import INGEST
from player_sessions.web.answer import Answer
from player_sessions.web.body import read_body
from player_sessions.web.context import Context
from player_sessions.web.documents import Stored
from player_sessions.web.headers import PREFER, prefers_lenient
from player_sessions.web.openapi import description
from player_sessions.web.problems import answer_for

# A cache must not give the answer of a lenient request to a strict one.
_LENIENT = {"Preference-Applied": "handling=lenient", "Vary": "Prefer"}
_POST_SUCCESS = Answer(b"POST success", b"text/plain; charset=utf-8")
_REFUSALS = description.problems(400, 401, 403, 408, 413, 415, 422, 500, 503)
_STORED = (
    "All events are stored or discarded; of a lenient batch, all that `rejected` does not name."
)

_encode = msgspec.json.Encoder().encode
_limited = Limited(5)


class Ingest:
    """Takes the batches of one contract, which has its events under `key`.

    `read` decodes and checks a body, given the latest time (ms) that an event may have, the most
    events of a batch, and what a player id is. `answer` makes the answer from the numbers of stored
    and of discarded events.
    """

    def __init__(
        self, context: Context, key: str, read: Read, answer: Callable[[int, int], Answer]
    ) -> None:
        self._context = context
        self._tolerance = round(context.settings.future_tolerance * 1000)
        self._most = context.settings.max_batch_events
        self._key = key
        self._read = read
        self._answer = answer

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        context = self._context
        try:
            context.permit(scope, key=INGEST, operations=False)
            headers = dict(scope["headers"])  # Litestar's Headers would cost 10 µs
            body = await read_body(headers, receive, context)
            latest = now_ms() + self._tolerance
            if PREFER in headers and prefers_lenient(headers[PREFER]):
                answer = await self._store_valid(body, latest)
            else:
                events = self._read(body, latest, self._most, context.player_of)
                answer = self._answer(*await context.store.write(events))
        except Exception as error:
            answer = answer_for(error)
        await answer(scope, receive, send)

    async def _store_valid(self, body: bytes, latest: int) -> Answer:
        """Store the valid events of a body, if any, and return an answer that names the others.

        The answer is the same in both contracts.
        """
        context = self._context
        events, errors = read_leniently(
            self._read, self._key, body, latest, self._most, context.player_of
        )
        accepted, discarded = await context.store.write(events) if events else (0, 0)
        if errors:
            _count_rejected(errors)
        return Answer(_encode(Stored(accepted, discarded, errors)), headers=_LENIENT)


def _count_rejected(errors: Sequence[EventError]) -> None:
    """Count the rejected events of a stored batch, each once for each of its reasons."""
    wrong = {(error.index, error.reason) for error in errors}
    for _, reason in wrong:
        metrics.REJECTED.labels(reason).inc()
    names = sorted({reason for _, reason in wrong})
    _limited(log.info, "events rejected", reasons=names, wrong_events=len({i for i, _ in wrong}))


def ingests(context: Context) -> dict[str, ASGIApp]:
    """Return the applications that take batches, by path."""
    return {
        "/v1/events": Ingest(context, "events", read_events, _stored),
        "/": Ingest(context, "rows", read_rows, lambda _, __: _POST_SUCCESS),
    }


@functools.cache
def _stored(accepted: int, discarded: int) -> Answer:
    return Answer(b'{"accepted":%d,"discarded":%d}' % (accepted, discarded))


@post(
    "/v1/events",
    status_code=200,
    summary="Store a batch of events",
    tags=[description.GAMES],
    key=INGEST,
    operation_class=description.takes_batch(EventsBody, "events"),
    responses=description.answer(Stored, _STORED) | _REFUSALS,
)
async def ingest(request: Request[Any, Any, Any]) -> ASGIApp:
    """Store a batch of events, all or none.

    `200` means that every event is stored, or was discarded for being older than the retention.
    Sending the same events again is always safe. With `Prefer: handling=lenient` the valid events
    are stored, and the answer names the others in `rejected`.
    """
    return _ingest_at("/v1/events", request)


@post(
    "/",
    operation_id="Ingest",
    status_code=200,
    summary="Store a batch of events (original contract)",
    tags=[description.GAMES],
    key=INGEST,
    operation_class=description.takes_batch(RowsBody, "rows"),
    responses=description.answer(str, _STORED, "text/plain") | _REFUSALS,
)
async def original_ingest(request: Request[Any, Any, Any]) -> ASGIApp:
    """Store a batch like `POST /v1/events`, with `rows` instead of `events`.

    The answer is the text `POST success`; with `Prefer: handling=lenient` it is the JSON of
    `POST /v1/events`.
    """
    return _ingest_at("/", request)


def _ingest_at(path: str, request: Request[Any, Any, Any]) -> ASGIApp:
    app: ASGIApp = request.app.state["ingests"][path]
    return app
