"""The budget of retries, speculative requests and splits: a share of the requests of late."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable


class Budget:
    """Grants extra work: a share of the requests of the last minute, and a little at rest."""

    SECONDS = 60
    # Enough to survive a frozen node soon after the start, or at a low rate.
    AT_REST = 100

    def __init__(
        self,
        share: float,
        clock: Callable[[], float] = time.monotonic,
        *,
        at_rest: int = AT_REST,
    ) -> None:
        self._share = share
        self._at_rest = at_rest
        self._clock = clock
        self._slots: deque[list[int]] = deque()  # [second, requests, extras]
        self._requests = 0
        self._extras = 0

    def count(self) -> None:
        """Count one request."""
        self._slot()[1] += 1
        self._requests += 1

    def take(self) -> bool:
        """Return whether one extra request may be sent now, and count it if so."""
        slot = self._slot()
        if not self._share or self._extras >= self._at_rest + self._share * self._requests:
            return False
        slot[2] += 1
        self._extras += 1
        return True

    def _slot(self) -> list[int]:
        second = int(self._clock())
        slots = self._slots
        if slots and slots[-1][0] == second:
            return slots[-1]
        while slots and slots[0][0] <= second - self.SECONDS:
            _, requests, extras = slots.popleft()
            self._requests -= requests
            self._extras -= extras
        slots.append([second, 0, 0])
        return slots[-1]
