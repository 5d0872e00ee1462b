"""`make bench`, once and tiny: every contender is measured and its writes are checked."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def test_the_bench_measures_every_contender(tmp_path: Path) -> None:
    file, plot = tmp_path / "bench.json", tmp_path / "bench.svg"
    run = subprocess.run(
        [
            *(sys.executable, "-m", "loadtest.bench", "--rounds", "1", "--seconds", "0.3"),
            *("--batches", "10", "--connections", "4", "--read-sizes", "5,50"),
            *("--json", str(file), "--plot", str(plot)),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert "| expectation |" in run.stdout
    assert "floor = driver + asgi" in run.stdout
    assert b"<svg" in plot.read_bytes()
    figures = json.loads(file.read_text())["figures"]
    writers = {f["contender"] for f in figures if f["scenario"] == "write-10"}
    assert writers == {"baseline", "each-event", "service", "traced", "bare", "asgi", "driver"}
    assert {f["contender"] for f in figures if f["checked"]} == writers - {"asgi"}
    assert all(f["per_second"] > 0 and f["server_us"] > 0 and f["p999_ms"] > 0 for f in figures)
    assert all(f["resident_mib"] > 0 for f in figures if f["contender"] != "driver")
    full = {f["contender"]: f["per_second"] for f in figures if f["scenario"] == "write-10"}
    half = {f["contender"]: f["per_second"] for f in figures if f["scenario"] == "write-10-half"}
    assert set(half) == {"baseline", "each-event", "service", "bare"}
    assert all(half[name] < full[name] for name in half)
