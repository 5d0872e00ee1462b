"""Group commit with a double for Cassandra: gathering, bounds, splitting, expiry."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from player_sessions.rules.reasons import STORE_OVERLOADED, STORE_TIMEOUT
from player_sessions.settings import Settings
from player_sessions.store.errors import StoreError
from player_sessions.store.group_commit import GroupCommit
from player_sessions.store.requests import Done
from player_sessions.store.rows import Row, batch_rows

ONE_RANGE = StoreError(STORE_TIMEOUT, "x", one_range=True)
OVERLOADED = StoreError(STORE_OVERLOADED, "x")


PLAYER = b"player of the request"


def rows(count: int) -> list[bytes]:
    return [b"row"] * count


class Cassandra:
    """A double that keeps the batches in flight; `end` ends the oldest."""

    def __init__(self, **settings: Any) -> None:
        self.open: list[tuple[int, float, Done]] = []
        self.sizes: list[int] = []
        made = Settings(**settings)
        self.max_rows = made.writer_batch_rows
        self.writer = GroupCommit(made, self, asyncio.get_running_loop())

    def send(
        self, rows: Sequence[Row], player: bytes, deadline: float, _: Sequence[Any], done: Done
    ) -> None:
        assert player == PLAYER
        self.sizes.append(len(rows))
        self.open.append((len(rows), deadline, done))

    async def write(self, count: int) -> asyncio.Future[None]:
        """Write `count` rows in a turn of the loop of their own."""
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
    return failed.value.reason.name


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
    assert cassandra.sizes == [7, 7, 14]  # a third request would not fit: 21 > 20
    while cassandra.open:
        cassandra.end()
    assert cassandra.sizes == [7, 7, 14, 14]
    await asyncio.gather(*futures)


@scenario
async def test_a_third_batch_is_sent_only_when_it_is_full() -> None:
    cassandra = Cassandra(writer_batches_in_flight=8, writer_batch_rows=20)
    for _ in range(4):
        await cassandra.write(10)
    assert cassandra.sizes == [10, 10, 20]
    await cassandra.write(10)
    assert cassandra.sizes == [10, 10, 20]
    assert cassandra.writer.queued_rows == 10
    cassandra.end()
    assert cassandra.sizes == [10, 10, 20]  # two are still in flight
    cassandra.end()
    assert cassandra.sizes == [10, 10, 20, 10]


@scenario
async def test_a_request_that_would_wait_too_long_is_refused_before_it_waits() -> None:
    cassandra = Cassandra(writer_batches_in_flight=1, writer_batch_rows=10, queue_wait=0.05)
    for _ in range(30):  # teach the writer that a batch takes 20 ms or more
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
    assert refused.value.reason.name == "overloaded"
    assert cassandra.writer.queue_age >= 0


@scenario
async def test_a_slow_store_gets_two_batches_at_once_but_one_slow_node_is_no_slow_store() -> None:
    async def flying(slow: Callable[[int], bool]) -> int:
        """Return the batches in flight under a full queue, after 30 batches slow as told."""
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
    assert refused.value.reason.name == "queue-full"
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
async def test_a_batch_has_the_deadline_of_its_oldest_request() -> None:
    cassandra = Cassandra(writer_batches_in_flight=1, deadline=10.0)
    await cassandra.write(1)
    waiting = await cassandra.write(1)
    await asyncio.sleep(0.02)
    cassandra.end()
    assert cassandra.open[0][1] < 9.99
    cassandra.end()
    await waiting


async def shared(error: Exception, **settings: Any) -> tuple[Cassandra, list[asyncio.Future[None]]]:
    """Return two requests whose common batch has just failed."""
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


async def divided(**settings: Any) -> tuple[Cassandra, asyncio.Future[Any]]:
    """Return a request of 25 rows, which batches of at most 10 rows have begun to write."""
    cassandra = Cassandra(writer_batch_rows=10, **settings)
    future = await cassandra.write(25)
    assert cassandra.sizes == [10, 10, 5][: len(cassandra.open)]
    return cassandra, future


@scenario
async def test_a_request_with_too_many_rows_for_a_batch_is_divided_and_needs_all_batches() -> None:
    cassandra, future = await divided()
    for size in (10, 10, 5):
        assert cassandra.open[0][0] == size
        assert not future.done()
        cassandra.end()
        await asyncio.sleep(0)
    await future
    assert cassandra.writer.idle


@scenario
async def test_no_batch_has_more_rows_than_it_may_whatever_the_requests_have() -> None:
    cassandra = Cassandra(writer_batch_rows=10, writer_batches_in_flight=3)
    counts = [7, 25, 3, 10, 11, 1, 40]
    futures = [cassandra.writer.write(rows(count), PLAYER) for count in counts]
    await asyncio.sleep(0)
    while cassandra.open:
        cassandra.end()
    await asyncio.gather(*futures)
    assert max(cassandra.sizes) == 10
    assert sum(cassandra.sizes) == sum(counts)


@scenario
async def test_every_row_of_a_divided_request_is_written_once_and_in_order() -> None:
    cassandra = Cassandra(writer_batch_rows=10)
    sent: list[bytes] = []
    send = cassandra.send

    def noting(rows: Sequence[bytes], *more: Any) -> None:
        sent.extend(rows)
        send(rows, *more)

    cassandra.send = noting  # type: ignore[method-assign,assignment]
    numbered = [b"%d" % number for number in range(95)]
    future = cassandra.writer.write(numbered, PLAYER)
    await asyncio.sleep(0)
    while cassandra.open:
        cassandra.end()
    await future
    assert sent == numbered


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_a_divided_request_fails_when_any_of_its_batches_fails(failing: int) -> None:
    async def run() -> None:
        cassandra, future = await divided()
        for number in range(3):
            cassandra.end(OVERLOADED if number == failing else None)
        assert await reason(future) == "store-overloaded"
        assert cassandra.writer.idle
        again = await cassandra.write(25)  # the client sends it again
        while cassandra.open:
            cassandra.end()
        await again

    asyncio.run(run())


@scenario
async def test_a_part_that_waits_too_long_fails_its_whole_request() -> None:
    cassandra, future = await divided(writer_batches_in_flight=1, deadline=0.05)
    assert await reason(future) == "store-timeout"
    cassandra.end()
    await asyncio.sleep(0)
    assert cassandra.sizes == [10]
    assert cassandra.writer.idle


@scenario
async def test_a_large_request_that_would_wait_too_long_itself_is_refused_as_a_whole() -> None:
    cassandra = Cassandra(writer_batches_in_flight=1, writer_batch_rows=10, queue_wait=0.2)
    for _ in range(30):  # teach the writer that a batch takes 20 ms or more
        await cassandra.write(10)
        await asyncio.sleep(0.02)
        cassandra.end()
    waiting = [await cassandra.write(10) for _ in range(2)]
    with pytest.raises(StoreError) as refused:
        await cassandra.write(1000)
    assert refused.value.reason.name == "overloaded"
    while cassandra.open:
        cassandra.end()
    await asyncio.gather(*waiting)
    assert sum(cassandra.sizes) == 320  # no part of the refused request was sent


@scenario
async def test_the_parts_of_a_request_are_written_apart_after_a_shared_batch_has_failed() -> None:
    cassandra = Cassandra(writer_batches_in_flight=1, writer_batch_rows=10)
    first = await cassandra.write(1)
    large, small = await cassandra.write(15), await cassandra.write(4)
    cassandra.end()
    cassandra.end()
    assert cassandra.sizes == [1, 10, 9]
    cassandra.end(ONE_RANGE)
    cassandra.end(ONE_RANGE)
    cassandra.end()
    assert cassandra.sizes == [1, 10, 9, 5, 4]
    assert await reason(large) == "store-timeout"
    await asyncio.gather(first, small)


@scenario
async def test_a_bug_of_ours_is_raised_unchanged() -> None:
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
        ({"unlogged_batch_across_partitions_warn_threshold": "64"}, 64, 26),  # 5 KiB / 192
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
                "batch_size_fail_threshold": "3072B",
            },
            100,
            16,
        ),
        ({"batch_size_warn_threshold": "128B"}, 64, 10),  # so many rows always fit
    ],
)
def test_a_batch_keeps_to_the_servers_own_limits(
    limits: dict[str, Any], most: int, expected: int
) -> None:
    assert batch_rows(limits, most) == expected
