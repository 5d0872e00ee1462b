"""Run `make faults` briefly: some failures one after another, in one trial.

The bars of time are judged by `make faults`, on a quiet machine. Here a node is away for so long
that a service which waits for it is told from one that goes on, however busy the machine is.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from loadtest.faults import trial
from loadtest.faults.catalogue import FAULTS, Fault
from loadtest.faults.world import World

FROZEN = 15.0
SECONDS = {"frozen": FROZEN, "cut": 2.0, "slow": 2.0, "kill-3": 0.0}


@contextmanager
def _in_turn(world: World) -> Iterator[None]:
    faults = {fault.name: fault for fault in FAULTS}
    for name, seconds in SECONDS.items():
        with faults[name].inflict(world):
            time.sleep(seconds)
    yield


def test_the_promises_hold_while_node_after_node_fails(tmp_path: Path) -> None:
    with World(tmp_path / "world") as world:
        result = trial.run(
            world, Fault("short", "some in turn", _in_turn, hold=0), tmp_path / "kept"
        )
    assert result.unsafe == [], (result, tmp_path)
    assert max(result.write_gap, result.read_gap) < FROZEN, result
    assert result.verdict.acknowledged > 1000
