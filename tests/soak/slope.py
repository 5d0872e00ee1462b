"""Whether a series rises: pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from statistics import median


def rise(values: Sequence[float]) -> float:
    """How much the series of equally spaced values would gain over its whole length.

    Theil-Sen's slope (the median of all pairs' slopes) of its later two thirds, which some wild
    samples do not move: the first third is for caches to fill.
    """
    later = values[len(values) // 3 :]
    slopes = [
        (two - one) / (at - before)
        for (before, one), (at, two) in combinations(enumerate(later), 2)
    ]
    return median(slopes) * len(values) if slopes else 0.0
