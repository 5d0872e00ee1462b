"""Waits for Cassandra while it is away, for as long as the patience of a transfer lasts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Protocol, TypeVar

import click

from player_sessions.settings import Settings
from player_sessions.store.store import Store, StoreError
from player_sessions.transfer.opening import TransferStopped

T = TypeVar("T")

_SILENT_SECONDS = 2.0  # most connections are there by then


class Connecting(Protocol):
    """Something that connects to Cassandra by itself."""

    @property
    def reason(self) -> str | None:
        """Why nothing can be asked now, or None."""


async def connected(store: Connecting, patience: float) -> None:
    """Return once `store` is connected; raises TransferStopped after `patience` seconds."""
    begun, said = time.monotonic(), False
    while store.reason is not None:
        waited = time.monotonic() - begun
        if waited > patience:
            raise TransferStopped(f"Cassandra cannot be used: {store.reason}")
        if waited > _SILENT_SECONDS and not said:
            said = True
            waiting = f"waiting up to {patience:g} s for Cassandra: {store.reason}"
            click.echo(f"player-sessions: {waiting}", err=True)
        await asyncio.sleep(0.05)


@asynccontextmanager
async def connected_store(settings: Settings, patience: float) -> AsyncIterator[Store]:
    """Yield a connected store; raises TransferStopped when Cassandra stays away."""
    store = Store(settings)
    running = asyncio.create_task(store.run())
    try:
        await connected(store, patience)
        yield store
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await store.close(settings.deadline)


async def retried(ask: Callable[[], Awaitable[T]], patience: float) -> T:
    """Return what `ask` returns, asking again with back-off after each StoreError.

    Raises TransferStopped when it still fails `patience` seconds after the first error.
    """
    until, pause = float("inf"), 0.1
    while True:
        try:
            return await ask()
        except StoreError as error:
            now = time.monotonic()
            until = min(until, now + patience)
            if now >= until:
                raise TransferStopped(f"Cassandra stayed away: {error}") from error
        await asyncio.sleep(pause)
        pause = min(5.0, pause * 2)
