"""The short form of `make faults`: a few faults of a three-node Cassandra, each for seconds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import trial
from tests.faults.catalogue import FAULTS
from tests.faults.world import World

SHORT = {"frozen": 6.0, "lossy": 3.0, "cut": 3.0, "lost-grants": 4.0, "all-killed": 1.0}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with World(tmp_path_factory.mktemp("world")) as three:
        yield three


@pytest.mark.parametrize("name", SHORT)
def test_the_promises_hold_under(world: World, tmp_path: Path, name: str) -> None:
    (fault,) = [fault for fault in FAULTS if fault.name == name]
    result = trial.run(world, fault, tmp_path, hold=SHORT[name])
    assert result.broken == [], (result, tmp_path)
    assert result.verdict.acknowledged > 100
