"""Run a short `make overload` at five times the store's capacity, and judge only ratios.

The bars of the command itself are for a quiet machine. Those here tell a service that sheds from
one that collapses or makes everyone wait. Other work on the machine can only make a run look worse,
so the best of three counts.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from loadtest.overload.__main__ import Measured, verdicts

pytestmark = pytest.mark.timeout(900)
ROOT = Path(__file__).parent.parent.parent
BARS: dict[str, Callable[[Measured], bool]] = {
    "five times the capacity arrive": lambda m: m.offered > 3 * m.capacity,
    "the store is the bottleneck": lambda m: m.capacity < m.free / 2,
    "the store is kept busy": lambda m: m.goodput >= 0.5 * m.capacity,
    "much is surplus": lambda m: m.surplus_share > 0.4,
    "surplus gets its 503 soon": lambda m: m.surplus_p50 < m.accepted_p50 / 2,
    "memory is bounded": lambda m: m.memory_most - m.memory_before <= 64,
    "reads are not starved": lambda m: m.reads_answered >= 0.8,
}


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    file = tmp_path_factory.mktemp("overload") / "overload.json"
    for _ in range(3):
        made = _measure(file)
        if all(holds(made) for holds in BARS.values()):
            break
    return made


def _measure(file: Path) -> Measured:
    command = [sys.executable, "-m", "loadtest.overload", "--seconds", "2", "--json", str(file)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode in (0, 1), run.stderr  # 1: a busy machine may miss a bar of time
    assert "| store-bound |" in run.stdout
    made = Measured(**json.loads(file.read_text()))
    assert made.other_answers == 0, made
    return made


@pytest.mark.parametrize("bar", BARS)
def test_at_five_times_its_capacity(measured: Measured, bar: str) -> None:
    assert BARS[bar](measured), measured


def test_a_bar_that_does_not_hold_is_reported(measured: Measured) -> None:
    measured.goodput, measured.surplus_us = 0.5 * measured.capacity, 9 * measured.answer_us
    failed = {verdict.what for verdict in verdicts(measured) if not verdict.holds}
    assert {"goodput at five times C / C", "CPU of a surplus answer / of a bare answer"} <= failed
