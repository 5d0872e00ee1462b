"""`python -m loadtest.bench.parts` runs, although it reaches into the service's process."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest


@pytest.mark.parametrize("what", [("--events", "2"), ("--sessions", "30")])
def test_every_part_of_a_request_is_measured(what: tuple[str, str]) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "loadtest.bench.parts", *what, "--repeats", "1"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    lines = re.findall(r"^ *([\d.]+) µs  (.+)$", run.stdout, re.MULTILINE)
    assert len(lines) >= 6, run.stdout
    assert all(float(micros) > 0 for micros, _ in lines)
