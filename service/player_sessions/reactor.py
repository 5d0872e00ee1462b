"""The driver's sockets on the service's own event loop.

cassandra-driver's reactors have a thread of their own. A batch then wakes that thread, its answer
wakes ours, and both contend for the interpreter (docs/adr/0008). Here the same connection, libev's
but for its watchers, is read and written by our loop; the driver decides all else, and its other
threads do their work as before.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from cassandra.connection import Connection, ConnectionShutdown
from cassandra.io.libevreactor import LibevConnection
from cassandra.io.libevwrapper import EV_READ, EV_WRITE


def running_on(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether this thread is the loop's; asks what costs less than `asyncio.get_running_loop`."""
    return asyncio._get_running_loop() is loop


def soon(loop: asyncio.AbstractEventLoop, call: Callable[..., None], *values: Any) -> None:
    """`call_soon` from any thread, without a wake-up where this one is the loop's."""
    if running_on(loop):
        loop.call_soon(call, *values)
    else:
        loop.call_soon_threadsafe(call, *values)


class LoopConnection(LibevConnection):  # type: ignore[misc]
    """A connection of `loop`, which must run while any thread waits for the driver."""

    loop: asyncio.AbstractEventLoop
    is_closed: bool

    @classmethod
    def on(cls, loop: asyncio.AbstractEventLoop) -> type[LoopConnection]:
        """The class of the connections that this loop serves."""
        return type(cls.__name__, (cls,), {"loop": loop})

    @classmethod
    def initialize_reactor(cls) -> None:
        pass

    @classmethod
    def handle_fork(cls) -> None:
        pass

    @classmethod
    def create_timer(cls, timeout: float, callback: Callable[[], None]) -> _Timer:
        return _Timer(cls.loop, timeout, callback)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        Connection.__init__(self, *args, **kwargs)
        self.deque: deque[bytes] = deque()
        self._deque_lock = threading.Lock()
        self._writing = False
        self._connect_socket()
        self._socket.setblocking(False)
        self._descriptor = self._socket.fileno()
        self.loop.call_soon_threadsafe(self._begin)
        self._send_options_message()

    def push(self, data: bytes) -> None:
        with self._deque_lock:
            self.deque.append(data)
        if running_on(self.loop):
            self._write()
        else:
            self.loop.call_soon_threadsafe(self._write)

    def close(self) -> None:
        with self.lock:
            if self.is_closed:
                return
            self.is_closed = True
        try:
            self.loop.call_soon_threadsafe(self._end)
        except RuntimeError:  # the loop is closed, and watches nothing any more
            self._socket.close()
        if not self.is_defunct:
            self.error_all_requests(ConnectionShutdown(f"connection to {self.endpoint} was closed"))

    # The rest runs on the loop.
    def _begin(self) -> None:
        if not self.is_closed:
            self.loop.add_reader(self._descriptor, self.handle_read, None, EV_READ)

    def _end(self) -> None:
        self.loop.remove_reader(self._descriptor)
        self.loop.remove_writer(self._descriptor)
        self._socket.close()

    def _write(self) -> None:
        """Send what waits; watch the socket while it takes no more."""
        if self.is_closed:
            return
        self.handle_write(None, EV_WRITE)
        if self.is_closed or bool(self.deque) == self._writing:
            return
        self._writing = not self._writing
        if self._writing:
            self.loop.add_writer(self._descriptor, self._write)
        else:
            self.loop.remove_writer(self._descriptor)


class _Timer:
    """What the driver asks of a timer, made and cancelled from any thread."""

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
