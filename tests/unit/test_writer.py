"""Group commit with a double for Cassandra: gathering, bounds, splitting, expiry."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from player_sessions.driver import Done, StoreError
from player_sessions.settings import Settings
from player_sessions.writer import Writer, batch_rows

ONE_RANGE = StoreError("store-timeout", "x", one_range=True)
OVERLOADED = StoreError("store-overloaded", "x")


PLAYER = b"player of the request"


def rows(count: int) -> list[bytes]:
    return [b"row"] * count


class Cassandra:
    """Keeps the batches that are under way; `end` ends the oldest."""

    def __init__(self, **settings: Any) -> None:
        self.open: list[tuple[int, float, Done]] = []
        self.sizes: list[int] = []
        self.writer = Writer(Settings(**settings), self._send, asyncio.get_running_loop())

    def _send(
        self, rows: Sequence[bytes], player: bytes, deadline: float, done: Done, _: Sequence[Any]
    ) -> None:
        assert player == PLAYER
        self.sizes.append(len(rows))
        self.open.append((len(rows), deadline, done))

    async def write(self, count: int) -> asyncio.Future[None]:
        """So many rows, in a turn of the loop of their own."""
        future = self.writer.write(rows(count), PLAYER)
        await asyncio.sleep(0)
        return future

    def end(self, error: Exception | None = None) -> None:
        _, _, done = self.open.pop(0)
        done(None, error)


def scenario(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    def run() -> None:
        asyncio.run(test())

    run.__name__ = test.__name__
    return run


async def reason(future: asyncio.Future[None]) -> str:
    with pytest.raises(StoreError) as failed:
        await future
    return failed.value.reason


@scenario
async def test_a_lone_request_is_sent_at_once() -> None:
    cassandra = Cassandra()
    future = await cassandra.write(3)
    assert cassandra.sizes == [3]
    assert not cassandra.writer.idle
    cassandra.end()
    await future
    assert cassandra.writer.idle


@scenario
async def test_what_comes_in_one_turn_of_the_loop_goes_in_one_batch() -> None:
    cassandra = Cassandra(writer_batch_rows=20)
    futures = [cassandra.writer.write(rows(5), PLAYER) for _ in range(5)]
    assert cassandra.sizes == []
    await asyncio.sleep(0)
    assert cassandra.sizes == [20, 5]
    while cassandra.open:
        cassandra.end()
    await asyncio.gather(*futures)


@scenario
async def test_requests_gather_while_batches_are_in_flight() -> None:
    cassandra = Cassandra(writer_batches_in_flight=2, writer_batch_rows=20)
    futures = [await cassandra.write(7) for _ in range(6)]
    assert cassandra.sizes == [7, 7]
    cassandra.end()
    assert cassandra.sizes == [7, 7, 14]  # a third would be divided: 21 > 20
    while cassandra.open:
        cassandra.end()
    assert cassandra.sizes == [7, 7, 14, 14]
    await asyncio.gather(*futures)


@scenario
async def test_a_third_batch_flies_only_when_it_is_full() -> None:
    cassandra = Cassandra(writer_batches_in_flight=8, writer_batch_rows=20)
    for _ in range(4):
        await cassandra.write(10)
    assert cassandra.sizes == [10, 10, 20]
    await cassandra.write(10)
    assert cassandra.sizes == [10, 10, 20]
    assert cassandra.writer.queued_rows == 10
    cassandra.end()
    assert cassandra.sizes == [10, 10, 20]  # two still fly
    cassandra.end()
    assert cassandra.sizes == [10, 10, 20, 10]


@scenario
async def test_a_request_that_would_wait_too_long_is_refused_before_it_waits() -> None:
    cassandra = Cassandra(writer_batches_in_flight=1, writer_batch_rows=10, queue_wait=0.05)
    for _ in range(30):  # by now a batch is known to take 20 ms or more
        await cassandra.write(10)
        await asyncio.sleep(0.02)
        cassandra.end()
    for _ in range(40):
        if cassandra.writer.surplus():
            break
        await cassandra.write(10)
    assert 10 <= cassandra.writer.queued_rows <= 40
    with pytest.raises(StoreError) as refused:
        await cassandra.write(1)
    assert refused.value.reason == "overloaded"
    assert cassandra.writer.queue_age >= 0


@scenario
async def test_at_a_slow_store_two_batches_fly_and_one_slow_node_is_none() -> None:
    async def flying(slow: Callable[[int], bool]) -> int:
        """Batches in flight under a full queue, after so many that were slow or quick."""
        cassandra = Cassandra(writer_batch_rows=10, queue_wait=60, deadline=120)
        for number in range(30):
            await cassandra.write(10)
            await asyncio.sleep(0.15 if slow(number) else 0)
            cassandra.end()
        for _ in range(20):
            await cassandra.write(10)
        return len(cassandra.open)

    assert await flying(lambda number: number % 3 == 0) == 8
    assert await flying(lambda _: True) == 2


@scenario
async def test_a_full_queue_refuses_and_keeps_what_it_has() -> None:
    cassandra = Cassandra(writer_batches_in_flight=1, writer_queue_rows=10)
    first = await cassandra.write(10)
    waiting = await cassandra.write(10)
    with pytest.raises(StoreError) as refused:
        await cassandra.write(1)
    assert refused.value.reason == "queue-full"
    cassandra.end()
    cassandra.end()
    await asyncio.gather(first, waiting)


@scenario
async def test_a_request_that_waits_too_long_fails_and_is_never_sent() -> None:
    cassandra = Cassandra(writer_batches_in_flight=1, deadline=0.05)
    first = await cassandra.write(1)
    waiting = await cassandra.write(2)
    assert await reason(waiting) == "store-timeout"
    cassandra.end()
    await first
    assert cassandra.sizes == [1]


@scenario
async def test_a_batch_has_what_is_left_of_its_oldest_requests_time() -> None:
    cassandra = Cassandra(writer_batches_in_flight=1, deadline=10.0)
    await cassandra.write(1)
    waiting = await cassandra.write(1)
    await asyncio.sleep(0.02)
    cassandra.end()
    assert cassandra.open[0][1] < 9.99
    cassandra.end()
    await waiting


async def shared(error: Exception, **settings: Any) -> tuple[Cassandra, list[asyncio.Future[None]]]:
    """Two requests whose common batch has just failed."""
    cassandra = Cassandra(writer_batches_in_flight=1, **settings)
    await cassandra.write(1)
    futures = [await cassandra.write(2), await cassandra.write(3)]
    cassandra.end()
    assert cassandra.sizes == [1, 5]
    cassandra.end(error)
    return cassandra, futures


@scenario
async def test_one_bad_range_fails_only_the_request_that_touches_it() -> None:
    cassandra, (bad, good) = await shared(ONE_RANGE)
    cassandra.end(ONE_RANGE)
    cassandra.end()
    assert cassandra.sizes == [1, 5, 2, 3]
    assert await reason(bad) == "store-timeout"
    await good
    assert cassandra.writer.idle


@scenario
async def test_requests_written_apart_are_not_joined_by_others() -> None:
    cassandra, futures = await shared(ONE_RANGE)
    later = await cassandra.write(4)
    while cassandra.open:
        cassandra.end()
    assert cassandra.sizes == [1, 5, 2, 3, 4]
    await asyncio.gather(*futures, later)


@scenario
async def test_an_overload_is_not_split() -> None:
    cassandra, futures = await shared(OVERLOADED)
    assert [await reason(future) for future in futures] == ["store-overloaded"] * 2
    assert cassandra.sizes == [1, 5]


@scenario
async def test_a_failing_cluster_is_not_split_without_end() -> None:
    splits = 0
    cassandra = Cassandra(writer_batches_in_flight=1)
    for _ in range(30):
        await cassandra.write(1)
        futures = [await cassandra.write(1) for _ in range(2)]
        before = len(cassandra.sizes)
        cassandra.end()
        while cassandra.open:
            cassandra.end(ONE_RANGE)
        splits += len(cassandra.sizes) - before > 1
        assert [await reason(future) for future in futures] == ["store-timeout"] * 2
    assert 10 <= splits <= 25


@scenario
async def test_an_error_of_ours_comes_through() -> None:
    cassandra = Cassandra()
    future = await cassandra.write(1)
    cassandra.end(KeyError("bug"))
    with pytest.raises(KeyError):
        await future


@scenario
async def test_a_client_that_has_gone_does_no_harm() -> None:
    cassandra = Cassandra(writer_batches_in_flight=1)
    gone, stays = await cassandra.write(1), await cassandra.write(1)
    gone.cancel()
    cassandra.end()
    cassandra.end()
    await stays


@pytest.mark.parametrize(
    ("limits", "most", "expected"),
    [
        ({}, 64, 10),  # Cassandra's defaults: 10 partitions
        ({"unlogged_batch_across_partitions_warn_threshold": "64"}, 64, 40),  # 5 KiB / 128
        (
            {
                "unlogged_batch_across_partitions_warn_threshold": "64",
                "batch_size_warn_threshold": "64KiB",
                "batch_size_fail_threshold": "640KiB",
            },
            100,
            64,
        ),
        (
            {
                "unlogged_batch_across_partitions_warn_threshold": "1000",
                "batch_size_warn_threshold": "1MiB",
                "batch_size_fail_threshold": "2048B",
            },
            100,
            16,
        ),
        ({"batch_size_warn_threshold": "128B"}, 64, 10),  # a request is never divided
    ],
)
def test_a_batch_keeps_to_the_servers_own_limits(
    limits: dict[str, Any], most: int, expected: int
) -> None:
    assert batch_rows(limits, most) == expected
