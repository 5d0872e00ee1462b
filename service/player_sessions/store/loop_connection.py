"""A connection of cassandra-driver whose socket our own event loop reads and writes.

The driver's own reactors run a thread of their own. Each batch then wakes that thread, each answer
wakes ours, and both threads contend for the interpreter (docs/adr/0008). `Connection` is the base
class of those reactors: it speaks the protocol, and a subclass moves the bytes. The driver still
connects, authenticates, sends heartbeats and reconnects on its own threads.

The driver does not document this base class. `LoopConnection` relies on the following names, as
the driver's own reactors do; `tests/guards/test_guard_cassandra_connection.py` checks them.

- It implements `push`, `close` and `create_timer`.
- It calls `_connect_socket`, `_send_options_message`, `process_io_buffer`, `defunct` and
  `error_all_requests`.
- It reads `_socket`, `_iobuf`, `in_buffer_size`, `lock`, `endpoint`, `is_defunct` and
  `connected_event`.
- It extends `_enable_checksumming`, which sets `_segment_codec`; `compressor` says which codec.
- It sets `is_closed` and `_socket_writable`. While `_socket_writable` is false, the driver sends
  nothing more on this connection, which bounds what waits here for a node that stopped reading.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from typing import Any

from cassandra.connection import Connection, ConnectionShutdown

from player_sessions.store.segments import Segments


def running_on(loop: asyncio.AbstractEventLoop) -> bool:
    """Return whether this thread is running `loop`."""
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


def call_soon(loop: asyncio.AbstractEventLoop, call: Callable[..., None], *values: Any) -> None:
    """Call `call` on `loop` from any thread; wake the loop up only when this is another thread."""
    if running_on(loop):
        loop.call_soon(call, *values)
    else:
        loop.call_soon_threadsafe(call, *values)


class LoopConnection(Connection):  # type: ignore[misc]
    """A connection served by `loop`, which must run while any thread waits for the driver."""

    loop: asyncio.AbstractEventLoop
    is_closed: bool

    @classmethod
    def on(cls, loop: asyncio.AbstractEventLoop) -> type[LoopConnection]:
        """Return the class of the connections that `loop` serves."""
        return type(cls.__name__, (cls,), {"loop": loop})

    @classmethod
    def create_timer(cls, timeout: float, callback: Callable[[], None]) -> _Timer:
        """Return a timer that calls `callback` on the loop after `timeout` seconds."""
        return _Timer(cls.loop, timeout, callback)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Connect, which blocks, and begin the protocol's handshake."""
        super().__init__(*args, **kwargs)
        # Any thread appends at the right; only the loop removes, at the left.
        self.unsent: deque[bytes] = deque()
        self._watching_writable = False
        self._read_wants_write = False  # TLS may have to send before it can read
        self._connect_socket()
        self._socket.setblocking(False)
        self._is_tls = isinstance(self._socket, ssl.SSLSocket)
        self._descriptor = self._socket.fileno()
        call_soon(self.loop, self._start_reading)
        self._send_options_message()

    def _enable_checksumming(self) -> None:
        super()._enable_checksumming()
        if not self.compressor:
            self._segment_codec = Segments()

    def push(self, data: bytes) -> None:
        """Send `data` after everything pushed before, from any thread."""
        self.unsent.append(data)
        if running_on(self.loop):
            self._write()
        else:
            self.loop.call_soon_threadsafe(self._write)

    def close(self) -> None:
        """Close the socket and fail every open request, from any thread."""
        with self.lock:
            if self.is_closed:
                return
            self.is_closed = True
        try:
            call_soon(self.loop, self._close_socket)
        except RuntimeError:  # the loop is closed, so nothing watches the socket any more
            self._socket.close()
        if not self.is_defunct:
            self.error_all_requests(ConnectionShutdown(f"connection to {self.endpoint} was closed"))

    # Everything below runs on the loop.
    def _start_reading(self) -> None:
        if not self.is_closed:
            self.loop.add_reader(self._descriptor, self._on_readable)

    def _close_socket(self) -> None:
        self.loop.remove_reader(self._descriptor)
        self.loop.remove_writer(self._descriptor)
        self._socket.close()

    def _on_readable(self) -> None:
        self._read()
        if self.unsent:  # TLS may have to read before it can send
            self._write()

    def _on_writable(self) -> None:
        if self._read_wants_write:
            self._read()
        self._write()

    def _read(self) -> None:
        """Take what has arrived and let the driver handle each whole message."""
        if self.is_closed:
            return
        self._read_wants_write = False
        end = self._receive()
        if self._iobuf.tell():
            self.process_io_buffer()
        if isinstance(end, ConnectionShutdown) and self.connected_event.is_set():
            self.close()
        elif end is not None:  # in the handshake too: the driver then waits for `connected_event`
            self.defunct(end)
        elif self._read_wants_write:
            self._watch_writable(True)

    def _receive(self) -> Exception | None:
        """Move what has arrived to the driver's buffer; return why nothing more can arrive."""
        try:
            while data := self._socket.recv(self.in_buffer_size):
                self._iobuf.write(data)
                # A short read has emptied a plain socket. TLS may hold more decrypted bytes, which
                # the loop cannot see, so it is read until it asks to wait.
                if len(data) < self.in_buffer_size and not self._is_tls:
                    return None
        except (BlockingIOError, ssl.SSLWantReadError):
            return None
        except ssl.SSLWantWriteError:
            self._read_wants_write = True
            return None
        except OSError as error:
            return error
        closed: Exception = ConnectionShutdown(
            f"connection to {self.endpoint} was closed by the node"
        )
        return closed

    def _write(self) -> None:
        """Send what is unsent; watch the socket while it takes no more."""
        if self.is_closed:
            return
        full = False
        try:
            while self.unsent:
                data = self.unsent[0]
                sent = self._socket.send(data)
                if sent < len(data):
                    self.unsent[0] = data[sent:]
                else:
                    self.unsent.popleft()
            self._socket_writable = True
        except ssl.SSLWantReadError:  # _on_readable goes on
            self._socket_writable = False
        except (BlockingIOError, ssl.SSLWantWriteError):
            self._socket_writable, full = False, True
        except OSError as error:
            self.defunct(error)
            return
        self._watch_writable(full or self._read_wants_write)

    def _watch_writable(self, wanted: bool) -> None:
        if wanted == self._watching_writable or self.is_closed:
            return
        self._watching_writable = wanted
        if wanted:
            self.loop.add_writer(self._descriptor, self._on_writable)
        else:
            self.loop.remove_writer(self._descriptor)


class _Timer:
    """A timer as the driver uses it: any thread may make or cancel it."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, timeout: float, callback: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._callback = callback
        self._cancelled = False
        loop.call_soon_threadsafe(loop.call_later, max(0.0, timeout), self._fire)

    def cancel(self) -> None:
        self._cancelled = True

    def _fire(self) -> None:
        if not self._cancelled:
            self._callback()
