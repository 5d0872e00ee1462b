"""`make bench`, once and tiny: every contender is measured and its writes are checked."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def test_the_bench_measures_every_contender(tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    run = subprocess.run(
        [
            *(sys.executable, "-m", "loadtest.bench", "--rounds", "1", "--seconds", "0.3"),
            *("--connections", "4", "--read-sizes", "5,50", "--json", str(file)),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert "| expectation |" in run.stdout
    figures = json.loads(file.read_text())["figures"]
    assert {figure["contender"] for figure in figures} == {
        "baseline",
        "each-event",
        "service",
        "bare",
    }
    assert all(figure["per_second"] > 0 and figure["p99_ms"] > 0 for figure in figures)
    writes = [figure for figure in figures if figure["checked"]]
    assert {figure["contender"] for figure in writes} == {f["contender"] for f in figures}
