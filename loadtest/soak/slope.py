"""Find whether a series rises, without I/O."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from statistics import median


def rise(values: Sequence[float]) -> float:
    """Return how much a series of equally spaced values gains over its whole length.

    It uses Theil-Sen's slope (the median of the slopes of all pairs) of the later two thirds, which
    a few wild samples do not move. In the first third, caches fill.
    """
    later = values[len(values) // 3 :]
    slopes = [
        (two - one) / (at - before)
        for (before, one), (at, two) in combinations(enumerate(later), 2)
    ]
    return median(slopes) * len(values) if slopes else 0.0
