"""The slope shows a leak in spite of noise, and no leak where there is none."""

from __future__ import annotations

import random

import pytest

from loadtest.soak.slope import rise


def series(leak: float, seed: int) -> list[float]:
    """Return 300 noisy samples that fill up at first, spike at times, and gain `leak` in all."""
    draw = random.Random(seed)
    return [
        min(n, 60) / 6 + leak * n / 300 + draw.gauss(100, 1) + 50 * (draw.random() < 0.05)
        for n in range(300)
    ]


@pytest.mark.parametrize("seed", range(10))
def test_a_leak_is_seen_through_noise_and_none_where_there_is_none(seed: int) -> None:
    assert abs(rise(series(0, seed))) < 1
    assert 9 < rise(series(10, seed)) < 11


def test_a_level_or_short_series_does_not_rise() -> None:
    assert rise([3.0] * 50) == 0
    assert rise([]) == rise([1.0]) == 0
