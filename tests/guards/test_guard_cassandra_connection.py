"""Guard the undocumented parts of the driver's base class of connections on which we rely.

When a new version of the driver makes one of these tests fail, its message names the file of ours
to look at.
"""

from __future__ import annotations

import inspect
import io
import socket
import ssl
import struct
import time
from typing import Any

import pytest
from cassandra.connection import Connection, ConnectionBusy, ConnectionShutdown, DefaultEndPoint
from cassandra.protocol import OptionsMessage

from player_sessions.store.loop_connection import LoopConnection

LOOP_CONNECTION = "service/player_sessions/store/loop_connection.py relies on this"
ROWS = "service/player_sessions/store/rows.py relies on this"
DRIVER = "service/player_sessions/store/cluster.py relies on this"
OPTIONS, SUPPORTED = 5, 6


def parameters(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters)


class Reactor(Connection):  # type: ignore[misc]
    """The minimum that a subclass of the driver's connection implements."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.pushed: list[bytes] = []
        self.closed = 0

    def push(self, data: bytes) -> None:
        self.pushed.append(data)

    def close(self) -> None:
        self.closed += 1
        self.is_closed = True


def answer(stream: int, body: bytes) -> bytes:
    """Return a frame from a node, before the handshake has switched to segments."""
    return struct.pack(">BBhBi", 0x85, 0, stream, SUPPORTED, len(body)) + body


def opened(connection: Any, stream: int) -> list[Any]:
    """Open a request; return a list that gets its body or error."""
    ended: list[Any] = []
    connection._requests[stream] = (ended.append, lambda *frame: frame[5], None)
    return ended


def test_a_new_connection_has_the_attributes_that_ours_uses() -> None:
    connection = Reactor("127.0.0.1", protocol_version=5)
    assert connection._socket is None, LOOP_CONNECTION
    assert connection._socket_writable is True, LOOP_CONNECTION
    assert isinstance(connection._iobuf, io.BytesIO), LOOP_CONNECTION
    assert connection._iobuf.tell() == 0, LOOP_CONNECTION
    assert connection.in_buffer_size >= 4096, LOOP_CONNECTION
    assert (connection.is_closed, connection.is_defunct) == (False, False), LOOP_CONNECTION
    assert not connection.connected_event.is_set(), LOOP_CONNECTION
    assert isinstance(connection.endpoint, DefaultEndPoint), LOOP_CONNECTION
    with connection.lock, connection.lock:  # the lock is reentrant
        pass


def test_the_driver_uses_none_of_our_connections_own_names() -> None:
    overridden = {"__init__", "__module__", "__doc__", "close", "create_timer", "is_closed"}
    overridden |= {"_enable_checksumming"}
    ours = set(vars(LoopConnection)) - {"__annotations__", "__static_attributes__"}
    ours |= {"loop", "unsent", "_descriptor", "_is_tls", "_read_wants_write", "_watching_writable"}
    theirs = set(dir(Connection)) | set(vars(Reactor("127.0.0.1")))
    clash = (ours & theirs) - overridden - {"__firstlineno__"}
    assert not clash, f"{LOOP_CONNECTION}: the driver has begun to use {clash}"


def test_the_driver_makes_a_reactors_connections_and_timers_as_ours_expects() -> None:
    assert parameters(Connection.create_timer) == ["timeout", "callback"], LOOP_CONNECTION
    assert parameters(Connection.close) == ["self"], LOOP_CONNECTION
    assert parameters(Connection.initialize_reactor) == [], LOOP_CONNECTION
    Connection.initialize_reactor()  # does nothing, so ours does not override it
    Connection.handle_fork()


@pytest.mark.parametrize("tls", [False, True])
def test_connecting_leaves_a_connected_socket(tls: bool) -> None:
    """Check also that with TLS the driver asks for `check_hostname` and wraps the socket."""
    wrapped: list[dict[str, Any]] = []

    class Context(ssl.SSLContext):
        def wrap_socket(self, sock: Any, **options: Any) -> Any:  # type: ignore[override]
            wrapped.append(options)
            return sock

    name = {"server_hostname": "cassandra.internal"}
    tries: list[dict[str, Any]] = [{}]
    if tls:
        context = Context(ssl.PROTOCOL_TLS_CLIENT)
        tries = [{"ssl_context": context}, {"ssl_context": context, "ssl_options": name}]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        endpoint = DefaultEndPoint("127.0.0.1", listener.getsockname()[1])
        for options in tries:
            connection = Reactor(endpoint, connect_timeout=5, **options)
            connection._connect_socket()
            assert connection._socket.getpeername() == listener.getsockname(), LOOP_CONNECTION
            connection._socket.close()
            listener.accept()[0].close()
    assert wrapped == ([{"server_hostname": "127.0.0.1"}, name] if tls else []), DRIVER


def test_a_message_is_encoded_and_pushed_unless_the_connection_cannot_take_it() -> None:
    connection = Reactor("127.0.0.1", protocol_version=5)
    connection._send_options_message()
    assert [data[4] for data in connection.pushed] == [OPTIONS], LOOP_CONNECTION
    asked: list[Any] = []

    def encode(*frame: Any, **options: Any) -> bytes:
        asked.append((frame[1:], options))
        return b"frame"

    connection.send_msg(OptionsMessage(), 7, print, encoder=encode)
    options = {"compressor": None, "allow_beta_protocol_version": False}
    assert asked == [((7, 5), options)], ROWS
    assert connection.pushed[1:] == [b"frame"], LOOP_CONNECTION
    connection._socket_writable = False
    with pytest.raises(ConnectionBusy):
        connection.send_msg(OptionsMessage(), 8, print)
    connection.is_closed = True
    with pytest.raises(ConnectionShutdown):
        connection.send_msg(OptionsMessage(), 8, print)
    assert len(connection.pushed) == 2, LOOP_CONNECTION


def test_what_has_arrived_is_handled_up_to_the_last_whole_message() -> None:
    connection = Reactor("127.0.0.1", protocol_version=5)
    first, second = opened(connection, 7), opened(connection, 8)
    frames = answer(7, b"first") + answer(8, b"second")
    connection._iobuf.write(frames[:-3])
    connection.process_io_buffer()
    assert (first, second) == ([b"first"], []), LOOP_CONNECTION
    connection._iobuf.write(frames[-3:])
    connection.process_io_buffer()
    assert second == [b"second"], LOOP_CONNECTION
    assert connection._iobuf.tell() == 0, LOOP_CONNECTION


def test_a_defunct_connection_closes_once_and_fails_its_requests() -> None:
    connection = Reactor("127.0.0.1", protocol_version=5)
    ended, reason = opened(connection, 7), OSError("gone")
    connection.defunct(reason)
    connection.defunct(OSError("again"))
    assert (connection.closed, connection.is_defunct) == (1, True), LOOP_CONNECTION
    assert connection.last_error is reason, LOOP_CONNECTION
    assert connection.connected_event.is_set(), LOOP_CONNECTION
    assert [type(error) for error in ended] == [ConnectionShutdown], LOOP_CONNECTION


def test_a_closed_connection_fails_its_requests_when_asked_to() -> None:
    connection = Reactor("127.0.0.1", protocol_version=5)
    ended = opened(connection, 7)
    connection.error_all_requests(ConnectionShutdown("closed"))
    connection.error_all_requests(ConnectionShutdown("closed"))
    assert [str(error) for error in ended] == ["closed"], LOOP_CONNECTION


def test_making_a_connection_ends_with_its_error_as_soon_as_it_is_defunct() -> None:
    class Refused(Reactor):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.defunct(OSError("refused"))

    begun = time.monotonic()
    with pytest.raises(OSError, match="refused"):
        Refused.factory(DefaultEndPoint("127.0.0.1"), 30)
    assert time.monotonic() - begun < 10, LOOP_CONNECTION
