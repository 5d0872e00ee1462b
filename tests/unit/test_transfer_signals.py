"""Ctrl-C and SIGTERM end a transfer, whatever it does at that moment, and let it clean up."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
from collections.abc import Iterator

import pytest

from player_sessions.transfer.command import end_at_signals, run_to_end

SIGNALS = [signal.SIGINT, signal.SIGTERM]


@pytest.fixture(autouse=True)
def _signals_as_before() -> Iterator[None]:
    before = {signum: signal.getsignal(signum) for signum in SIGNALS}
    yield
    for signum, handler in before.items():
        signal.signal(signum, handler)


class Signalling(asyncio.Protocol):
    """Sends this process a signal while it reads the connection."""

    def __init__(self, signum: int) -> None:
        self.signum = signum

    def data_received(self, _: bytes) -> None:
        signal.raise_signal(self.signum)


@pytest.mark.parametrize("signum", SIGNALS)
def test_a_signal_while_a_connection_is_read_is_not_lost(signum: int) -> None:
    cleaned_up = []

    async def work() -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            transport, _ = await asyncio.get_running_loop().create_connection(
                lambda: Signalling(signum), sock=ours
            )
            try:
                theirs.send(b"x")
                await asyncio.sleep(10)
            finally:
                await asyncio.sleep(0)
                transport.close()
                cleaned_up.append(True)

    with pytest.raises(KeyboardInterrupt):
        run_to_end(work())
    assert cleaned_up == [True]


@pytest.mark.parametrize("signum", SIGNALS)
def test_a_signal_ends_the_reading_of_a_silent_pipe(signum: int) -> None:
    silent, never_written = os.pipe()
    cleaned_up = []
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signum))

    async def work() -> None:
        try:
            timer.start()  # from here on, a signal does not end this process
            os.read(silent, 1)
        finally:
            await asyncio.sleep(0)
            cleaned_up.append(True)

    try:
        with pytest.raises(KeyboardInterrupt):
            run_to_end(work())
    finally:
        timer.join()
        os.close(silent)
        os.close(never_written)
    assert cleaned_up == [True]


@pytest.mark.parametrize("signum", SIGNALS)
def test_a_signal_before_and_after_the_work_is_raised_at_once(signum: int) -> None:
    end_at_signals()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signum)
    assert run_to_end(asyncio.sleep(0, "done")) == "done"
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signum)
