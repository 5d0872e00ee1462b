"""The scan of all events, on a real Cassandra: pages, positions, and what it leaves out."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest

from dev.cluster import Cluster
from dev.service import new_keyspace, run_schema_apply, wait_for
from player_sessions.rules.events import End, Event, Start, from_ms
from player_sessions.store import scan as scan_module
from player_sessions.store.scan import (
    Part,
    PositionRefused,
    Scan,
    parts_of_all,
    parts_of_players,
)
from player_sessions.store.store import now_ms
from tests.store.conftest import RunningStore
from tests.support import settings_of

Told = tuple[str, UUID, UUID, int, str | None]


@pytest.fixture
def running(cassandra: Cluster) -> Iterator[RunningStore]:
    """A store of a keyspace of its own, whose loop also runs the scan."""
    keyspace = new_keyspace()
    run_schema_apply(cassandra, keyspace)
    with RunningStore(settings_of(cassandra, keyspace)) as made:
        yield made.connected()


class Scanned:
    """Runs a scan on the loop of a running store."""

    def __init__(self, running: RunningStore) -> None:
        self._running = running
        self.settings = running.store._settings

    async def _read(self, parts: list[Part], position: bytes | None) -> list[Event]:
        scan = Scan(self.settings)
        connecting = asyncio.create_task(scan.run())
        events: list[Event] = []
        self.pages = 0
        try:
            while scan.reason is not None:
                await asyncio.sleep(0.05)
            for part in parts:
                while True:
                    page = await scan.page(part, position, now_ms())
                    events += page.events
                    self.pages += 1
                    position = page.next
                    if position is None:
                        break
        finally:
            connecting.cancel()
            await asyncio.gather(connecting, return_exceptions=True)
            await scan.close()
        return events

    def read(self, parts: list[Part], position: bytes | None = None) -> list[Told]:
        """Return all events of these parts."""
        return told(self._running.call(self._read(parts, position)))


def session(player: UUID, at: int) -> list[Event]:
    """Return the events of a session that begins and ends at the same time."""
    session_id = uuid4()
    return [Start(player, session_id, from_ms(at), "FI"), End(player, session_id, from_ms(at))]


def told(events: list[Event]) -> list[Told]:
    return [(e.kind, e.player_id, e.session_id, e.at_ms, e.country) for e in events]


def test_a_large_player_is_read_in_pages_without_a_gap(
    running: RunningStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, player, other = now_ms(), uuid4(), uuid4()
    events: list[Event] = []
    for number in range(250):
        session, at = UUID(int=number + 1), from_ms(now - 1000 * number)
        events += [Start(player, session, at, "FI"), End(player, session, at)]
    events += [End(other, UUID(int=1), from_ms(now)), Start(other, UUID(int=2), from_ms(now), "SE")]
    running.write_all([events[i : i + 10] for i in range(0, len(events), 10)])
    monkeypatch.setattr(scan_module, "PAGE_ROWS", 7)
    scanned = Scanned(running)
    everything = scanned.read(parts_of_all(3))
    assert sorted(map(str, everything)) == sorted(map(str, told(events)))
    assert scanned.pages > 2 * 250 / 7
    of_one = scanned.read(parts_of_players([player]))
    assert sorted(map(str, of_one)) == sorted(map(str, told(events[:-2])))


def test_a_player_with_nothing_but_a_static_cell_has_no_event(
    running: RunningStore, superuser: Any
) -> None:
    keyspace = running.store._settings.keyspace
    player = uuid4()
    superuser.execute(
        f"UPDATE {keyspace}.session_starts SET latest = (%s, %s, 'FI') WHERE player_id = %s",
        (now_ms(), uuid4(), player),
    )
    start = Start(uuid4(), uuid4(), from_ms(now_ms()), "FI")
    running.write(start)
    rows = superuser.execute(f"SELECT player_id, session_id FROM {keyspace}.session_starts")
    assert (player, None) in rows.all()
    assert Scanned(running).read(parts_of_all(1)) == told([start])
    assert Scanned(running).read(parts_of_players([player])) == []


def test_expired_rows_and_those_older_than_a_shorter_retention_are_left_out(
    running: RunningStore, superuser: Any
) -> None:
    now, player = now_ms(), uuid4()
    old, new = session(player, now - 7_200_000), session(player, now - 1000)
    running.write(*old, *new)
    keyspace = running.store._settings.keyspace
    superuser.execute(
        f"INSERT INTO {keyspace}.session_ends (player_id, ended_at, session_id)"
        " VALUES (%s, %s, %s) USING TTL 1",
        (player, now, uuid4()),
    )
    scanned = Scanned(running)
    parts = parts_of_all(2)
    wait_for(lambda: len(scanned.read(parts)) == 4, what="the row with a TTL of 1 s is expired")
    assert sorted(map(str, scanned.read(parts))) == sorted(map(str, told([*old, *new])))
    scanned.settings = msgspec.structs.replace(scanned.settings, retention=3600.0)
    assert sorted(map(str, scanned.read(parts))) == sorted(map(str, told(new)))


def test_a_position_that_cassandra_does_not_take_is_named(running: RunningStore) -> None:
    with pytest.raises(PositionRefused):
        Scanned(running).read(parts_of_all(1), b"nonsense")
