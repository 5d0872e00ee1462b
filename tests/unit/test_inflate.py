"""A packed body is inflated within bounds of memory and processor time."""

from __future__ import annotations

import contextlib
import gzip
import time
import tracemalloc

import pytest

from player_sessions.web.body import inflate
from player_sessions.web.problems import Refused

MEMBER = gzip.compress(b"{}", mtime=0)


def test_a_bomb_is_refused_before_it_takes_memory_or_processor_time() -> None:
    bomb = gzip.compress(bytes(50_000_000))
    assert len(bomb) < 65536
    tracemalloc.start()
    with pytest.raises(Refused, match="inflated"):
        inflate(bomb, 65536)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 1 << 20
    # Refusing a bomb takes at most twice the processor time of an honest body of the greatest size.
    assert _cpu_of(bomb) < 2 * _cpu_of(gzip.compress(b" " * 65536)) + 0.0005


@pytest.mark.parametrize("member", [b"{}", b"", b" " * 300])
def test_a_body_of_many_members_is_inflated_whole(member: bytes) -> None:
    parts = [b"[", *[member] * 98, b"]"]
    assert inflate(b"".join(map(gzip.compress, parts)), 65536) == b"".join(parts)


@pytest.mark.parametrize("member", [b"", b" "])
def test_the_number_of_members_is_bounded(member: bytes) -> None:
    body = gzip.compress(member) * (65536 // 21)
    with pytest.raises(Refused, match="100 members"):
        inflate(body, 65536)
    assert _cpu_of(body) < 0.02


def test_the_bound_holds_for_all_members_together() -> None:
    half = gzip.compress(b" " * 32768)
    assert len(inflate(half * 2, 65536)) == 65536
    for more in (gzip.compress(b" "), gzip.compress(bytes(5_000_000))):
        with pytest.raises(Refused, match="inflated"):
            inflate(half * 2 + more, 65536)


@pytest.mark.parametrize("behind", [b"x", b"\0", MEMBER[:-1], MEMBER[:5]])
def test_what_stands_behind_a_member_must_be_one(behind: bytes) -> None:
    with pytest.raises(Refused) as refused:
        inflate(gzip.compress(b"{}") + behind, 65536)
    assert refused.value.reason.name == "invalid-encoding"


def _cpu_of(body: bytes) -> float:
    """Return the least processor seconds of several tries to inflate the body."""
    least = 1.0
    for _ in range(20):
        begun = time.process_time()
        with contextlib.suppress(Refused):
            inflate(body, 65536)
        least = min(least, time.process_time() - begun)
    return least
