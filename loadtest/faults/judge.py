"""Judge the acknowledged events in two ways: audit the journal, and check the history."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from loadtest.faults.checker import LOST, check
from loadtest.faults.history import ACKNOWLEDGED, Write
from loadtest.faults.traffic import Load


@dataclass
class Verdict:
    """`wrong` counts all differences that are not losses; `first` describes some of both."""

    acknowledged: int
    lost: int
    wrong: int
    first: list[str]


def judge(load: Load, url: str) -> Verdict:
    """Read everything once more after the load has stopped, and return the verdict."""
    load.read_all()
    violations = check(load.history)
    audit = _audit(load, url)
    differences: dict[str, int] = audit["differences"]
    missing = differences.pop("missing")
    lost = sum(violation.kind == LOST for violation in violations)
    told = sum(
        len(operation.events)
        for operation in load.history
        if isinstance(operation, Write) and operation.outcome == ACKNOWLEDGED
    )
    return Verdict(
        acknowledged=audit["acknowledged"] + told,
        lost=missing + lost,
        wrong=len(violations) - lost + sum(differences.values()),
        first=[str(each) for each in [*violations[:5], *audit["first"][:5]]],
    )


def _audit(load: Load, url: str) -> dict[str, Any]:
    result = load.folder / "audit.json"
    run = subprocess.run(
        [
            *(sys.executable, "-m", "loadtest.audit", str(load.folder)),
            *("--host", url, "--json", str(result)),
        ],
        capture_output=True,
        text=True,
    )
    assert run.returncode in (0, 1), run.stdout + run.stderr
    counts: dict[str, Any] = json.loads(result.read_text())
    return counts
