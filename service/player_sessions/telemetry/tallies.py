"""A counter and a histogram for one thread, since prometheus-client's take a lock each time."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate, product

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector


class Count:
    """One series of a counter, for one thread."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0

    def inc(self, amount: int = 1) -> None:
        self.value += amount


class Counter(Collector):
    """All series of a counter, by the values of its labels."""

    def __init__(self, name: str, text: str, **labels: tuple[str, ...]) -> None:
        self._name, self._text, self._names = name, text, list(labels)
        self._series = {values: Count() for values in product(*labels.values())}

    def labels(self, *values: str) -> Count:
        return self._series[values]

    def collect(self) -> Iterator[CounterMetricFamily]:
        family = CounterMetricFamily(self._name, self._text, labels=self._names)
        for values, count in self._series.items():
            family.add_metric(values, count.value)
        yield family


class Tally:
    """One series of a histogram, for one thread.

    It has no lock, so that an observation takes a fifth of prometheus-client's time.
    """

    __slots__ = ("_bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self._bounds, value)] += 1
        self.sum += value


class Histogram(Collector):
    """All series of a histogram, by the value of its label, or by "" when it has no label."""

    def __init__(
        self, name: str, text: str, bounds: Sequence[float], **labels: tuple[str, ...]
    ) -> None:
        self._name, self._text = name, text
        self._bounds = tuple(bounds)
        self._label = next(iter(labels), None)
        values = labels[self._label] if self._label else ("",)
        self._series = {value: Tally(self._bounds) for value in values}

    def labels(self, value: str = "") -> Tally:
        return self._series[value]

    def collect(self) -> Iterator[HistogramMetricFamily]:
        family = HistogramMetricFamily(
            self._name, self._text, labels=[self._label] if self._label else []
        )
        bounds = [*(f"{float(bound)}" for bound in self._bounds), "+Inf"]
        for value, tally in self._series.items():
            buckets = list(zip(bounds, accumulate(tally.counts), strict=True))
            family.add_metric([value] if self._label else [], buckets, tally.sum)
        yield family
