"""Connections of clients: limits on how many there are and on what comes over each.

`Connection` is uvicorn's, which also knows whether it waits for a request head, or for its client
to read an answer. `web/sweep.py` cuts those that wait for too long.

uvicorn does not document its HTTP protocol. Of it we rely on:

- `HttpToolsProtocol(config=, server_state=, app_state=, _loop=)`, an `asyncio.Protocol` and the
  receiver of httptools' callbacks (`on_headers_complete`, `on_body`, `on_message_complete`). It
  reads by its `parser`, gathers `url` and `headers` of the present request, and stops its timer for
  idle connections by `_unset_keepalive_if_required()`. It calls its own:
  - `on_response_complete()` once for each answer, after the last byte was written and, where the
    connection is to end, after `transport.close()`, in the same turn of the loop;
  - `timeout_keep_alive_handler()` when a connection was idle for `timeout_keep_alive`.

`tests/guards/test_guard_uvicorn.py` fails when a version of uvicorn changes any of these.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from httptools import HttpParserCallbackError, HttpParserError, HttpParserUpgrade
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from player_sessions.rules.reasons import (
    MALFORMED_REQUEST,
    TOO_MANY_CONNECTIONS,
    TOO_MANY_PIPELINED,
    Reason,
)
from player_sessions.telemetry import metrics
from player_sessions.web.answer_transport import AnswerTransport, last_answer
from player_sessions.web.context import Context
from player_sessions.web.problems import Refused, problem
from player_sessions.web.request_head import (
    MAX_HEADERS,
    check_host,
    new_parser,
    offers_upgrade,
    too_large,
    without_upgrade,
)

# A longer packet is parsed in parts, so that little is kept of a request that goes beyond a limit.
_PART_BYTES = 4096
MAX_UNANSWERED = 32  # requests of one connection
_LINGER_SECONDS = 2.0  # how long a client that was refused may take to read why

_REFUSAL = last_answer(
    problem(TOO_MANY_CONNECTIONS, "too many connections are open; try again later")
)


class Connection(HttpToolsProtocol):
    """uvicorn's connection, which also knows since when it has waited for a request head."""

    def __init__(self, context: Context, **options: Any) -> None:
        super().__init__(**options)
        self._context = context
        self.headers = []
        self._max_head_bytes = context.settings.max_head_bytes
        self._outside_body = 0  # bytes of the present request that are not its body
        self._head_begun = False
        self._receiving = False  # a head is complete, its body is not
        self._unanswered = 0  # requests whose head is complete and whose answer is not
        # What to send behind the answers to the requests taken so far, before the connection
        # closes; None as long as it takes requests.
        self._last: bytes | None = None
        self._never_answered = 0  # 1 when the last of these requests never becomes complete
        self.head_since: float | None = None  # kept by the sweep
        self.unread_since: float | None = None  # kept by the sweep; each answer begins anew

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._answers = AnswerTransport(transport)
        super().connection_made(cast(asyncio.Transport, self._answers))
        self._head_begun = True  # a client must not wait with the first byte either
        context, address = self._context, transport.get_extra_info("sockname")
        context.connections.add(self)
        # The port of health and metrics must answer in any crowd.
        on_operations_port = bool(address) and address[1] == context.operations_port
        crowded = len(context.connections) > context.settings.max_connections
        if crowded and not on_operations_port:
            metrics.SHED.labels(TOO_MANY_CONNECTIONS.name).inc()
            transport.write(_REFUSAL)
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._context.connections.discard(self)
        self._answers.drop()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._last is not None:
            return
        self._head_begun = True
        self._unset_keepalive_if_required()
        try:
            if len(data) <= _PART_BYTES:
                self._feed(data)
            else:
                for begin in range(0, len(data), _PART_BYTES):
                    self._feed(data[begin : begin + _PART_BYTES])
        except Refused as refused:
            self._refuse(refused.reason, str(refused))
        except HttpParserCallbackError as error:
            if isinstance(cause := error.__context__, Refused):
                self._refuse(cause.reason, str(cause))
            else:
                self._refuse(MALFORMED_REQUEST, "the target of the request is not valid")
        except HttpParserError as error:
            self._refuse(MALFORMED_REQUEST, f"the request is not valid HTTP: {error}")

    def eof_received(self) -> bool:  # type: ignore[override]
        """Answer the requests of a client that sends no more; return whether any is unanswered."""
        if self._last is None:
            self._end(b"")
        return not self._answers.is_closing()

    def _refuse(self, reason: Reason, detail: str) -> None:
        metrics.CUT.labels(reason.name).inc()
        self._end(last_answer(problem(reason, detail)))

    def _end(self, last: bytes) -> None:
        """Take no more requests; after the answers to those taken send `last`, and close."""
        self._last = last
        self._never_answered = int(self._receiving and self._unanswered > 0)
        self._close_behind_answers()

    def _close_behind_answers(self) -> None:
        if self._unanswered > self._never_answered or self._answers.is_closing():
            return
        self._head_begun = True
        if self._last:
            # A close while data arrives would reset the connection, and the client might not get
            # to read the answer.
            self._answers.end_with(self._last)
            asyncio.get_running_loop().call_later(_LINGER_SECONDS, self._answers.abort)
        else:
            self._answers.close()

    def _feed(self, data: bytes) -> None:
        """Let the parser read; a head that offers an upgrade is read again, without the offer.

        A server may ignore an offer (RFC 9110, section 7.8). The parser cannot: it takes all bytes
        behind such a head, and behind a CONNECT, for another protocol.
        """
        self._outside_body += len(data)
        try:
            self.parser.feed_data(data)
        except HttpParserUpgrade as stop:
            if offers_upgrade(self.parser):
                head = without_upgrade(self.parser, self.url, self.headers)
                self.parser = new_parser(self)
                self.parser.feed_data(head)
            if rest := data[stop.args[0] :]:
                self._outside_body -= len(rest)
                self._feed(rest)
        if self._outside_body > self._max_head_bytes or len(self.headers) > MAX_HEADERS:
            raise too_large(self._max_head_bytes)

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade() and offers_upgrade(self.parser):
            return  # `_feed` reads this request again
        if len(self.headers) > MAX_HEADERS:
            raise too_large(self._max_head_bytes)
        if self._unanswered >= MAX_UNANSWERED:
            raise Refused(TOO_MANY_PIPELINED, f"{MAX_UNANSWERED} requests wait for their answers")
        check_host(self.headers, self.parser)
        super().on_headers_complete()
        self.headers = []  # for trailers, which are no part of the head
        self._receiving = True
        self._unanswered += 1

    def on_body(self, body: bytes) -> None:
        self._outside_body -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._receiving:
            self._receiving = False
            self._outside_body = 0  # what remains of this part of a packet is not counted
            super().on_message_complete()

    def on_response_complete(self) -> None:
        self._answers.end_answer()
        self.unread_since = None
        self._unanswered -= 1
        if self._last is not None:
            self._close_behind_answers()
        # From here to the next byte the connection is idle. Where it closes instead, the client
        # has as long as for a head to take the answer.
        self._head_begun = self._answers.is_closing()
        super().on_response_complete()

    def waits_for_head(self) -> bool:
        """Return whether no request is under way and the wait between two requests is over."""
        return self._head_begun and not self._unanswered

    def timeout_keep_alive_handler(self) -> None:
        metrics.CUT.labels(metrics.IDLE).inc()
        super().timeout_keep_alive_handler()

    def has_unread(self) -> bool:
        """Return whether a part of an answer waits for the client to read."""
        return self._answers.get_write_buffer_size() > 0

    def cut(self, reason: str) -> None:
        """Close the connection at once, for a reason of `metrics.CUT`."""
        metrics.CUT.labels(reason).inc()
        self._answers.abort()
