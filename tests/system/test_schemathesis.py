"""Schemathesis against the OpenAPI document the service itself serves, every check on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support import Server

ROOT = Path(__file__).parent.parent.parent


def test_the_service_does_what_its_document_says(server: Server, tmp_path: Path) -> None:
    run = subprocess.run(
        [
            *(Path(sys.executable).parent / "schemathesis", "run"),
            *(f"{server.url}/docs/openapi.json", "--checks", "all", "--max-examples", "60"),
            *("--generation-deterministic", "--no-color"),
        ],
        cwd=tmp_path,
        env=os.environ
        | {"SCHEMATHESIS_HOOKS": "tests.system.schemathesis_hooks", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "No issues found" in run.stdout
