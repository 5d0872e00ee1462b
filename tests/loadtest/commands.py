"""Run the load test's commands as a user does; an import of Locust would patch this process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from loadtest.target import KEY_VARIABLE

ROOT = Path(__file__).parent.parent.parent
Done = subprocess.CompletedProcess[str]


def command(*arguments: str, **environ: str) -> Done:
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env={**{k: v for k, v in os.environ.items() if k != KEY_VARIABLE}, **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=150,
    )


def load(scenario: str, url: str, out: Path, *options: str, **environ: str) -> Done:
    common = ("--headless", "--host", url, "--out", str(out), "--warm-up", "0.5", "-r", "100")
    return command("loadtest", scenario, *common, *options, **environ)


def audit(url: str, *journals: Path | str, **environ: str) -> Done:
    return command("loadtest.audit", *map(str, journals), "--host", url, **environ)


def result(out: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((out / "result.json").read_text())
    return document
