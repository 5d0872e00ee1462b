"""Sends requests whose bytes are ready on the driver's connections, past its sessions and futures.

`Session.execute_async` makes a message, a future with its locks and a plan of hosts for each
request, which costs three times as much as sending the request. Only the common case takes this
way. Where a node does not know the prepared statement, the request is sent again the driver's way,
which prepares it.

These names of the driver are not documented; `tests/guards/test_guard_cassandra_frames.py` checks
them.

- `Session._pools`: a pool for each host; a pool's `is_shutdown`, `borrow_connection` and
  `return_connection`.
- `Connection.send_msg`: it calls `encoder` with the frame's parts, and later `cb` with what
  `decoder` makes of the answer, or with an exception. Its `lock` and `request_ids`.
- `ProtocolHandler.decode_message`: its parameters; what it returns for a RESULT has `parsed_rows`,
  and for an ERROR is an `ErrorMessage` with `to_exception`, such as `PreparedQueryNotFound`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Protocol

from cassandra.cluster import NoHostAvailable, Session
from cassandra.protocol import ErrorMessage, PreparedQueryNotFound, ProtocolHandler
from cassandra.query import Statement

_HEADER = struct.Struct(">BBhBi")  # version, flags, stream, opcode, length of the body
_RESULT = 0x08

Answered = Callable[[Any, Any], None]  # gets the rows and the host
Failed = Callable[[BaseException, Any], None]


class ReadyFrame(Protocol):
    """A request with the bytes of its frame's body, and how to read the answer."""

    opcode: int
    body: bytes
    columns: Any  # the description of the rows' columns, for the driver
    keyspace: str  # these two decide which node is asked
    routing_key: bytes

    def rows(self, result: bytes) -> list[Any] | None:
        """Return the rows in the body of a RESULT frame; None where the driver should read it."""

    def plain(self, rows: Any) -> list[Any]:
        """Return rows as the driver reads them in the form in which `rows` returns them."""

    def statement(self) -> Statement:
        """Return the same request for the driver's own way."""


def send(
    session: Session, frame: ReadyFrame, host: Any, answered: Answered, failed: Failed
) -> None:
    """Send a frame to one node; then one of `answered` and `failed` is called, on any thread."""
    pool = session._pools.get(host)
    connection, stream = None, 0
    try:
        if pool is None or pool.is_shutdown:
            raise LookupError("the driver has no connection to this node")
        connection, stream = pool.borrow_connection(timeout=0)

        def respond(response: Any) -> None:
            pool.return_connection(connection)
            if type(response) is list:
                answered(response, host)
            else:
                _otherwise(session, frame, host, response, answered, failed)

        connection.send_msg(frame, stream, respond, _encode, _decoder(frame), frame.columns)
    except Exception as error:
        if connection is not None:
            with connection.lock:
                connection.request_ids.append(stream)
            pool.return_connection(connection)
        failed(NoHostAvailable("the request could not be sent", {host: error}), host)


def _encode(frame: ReadyFrame, stream: int, version: int, compressor: Any, **_: Any) -> bytes:  # noqa: ARG001
    head = _HEADER.pack(version, 0, stream, frame.opcode, len(frame.body))
    return head + frame.body


def _decoder(frame: ReadyFrame) -> Callable[..., Any]:
    """Return a decoder that returns a list of rows, or else the driver's message."""

    def decode(version: int, types: Any, stream: int, flags: int, opcode: int, *body: Any) -> Any:
        if opcode == _RESULT and not flags and (rows := frame.rows(body[0])) is not None:
            return rows
        return ProtocolHandler.decode_message(version, types, stream, flags, opcode, *body)

    return decode


def _otherwise(
    session: Session,
    frame: ReadyFrame,
    host: Any,
    response: Any,
    answered: Answered,
    failed: Failed,
) -> None:
    """Handle what is not a list of rows: an error, or rows that the driver has read."""
    if isinstance(response, PreparedQueryNotFound):
        future = session.execute_async(frame.statement(), timeout=None, host=host)
        future.add_callbacks(
            lambda rows: answered(frame.plain(rows), host), failed, errback_args=(host,)
        )
    elif isinstance(response, ErrorMessage):
        failed(response.to_exception(), host)
    elif isinstance(response, Exception):
        failed(response, host)
    else:
        answered(frame.plain(response.parsed_rows), host)
