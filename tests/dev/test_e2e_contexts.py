"""The build contexts of `make e2e` have all that their images run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import yaml

from tests.e2e import contexts


def test_the_tests_that_run_in_the_cluster_can_be_collected_there(tmp_path: Path) -> None:
    pod = yaml.safe_load((contexts.HERE / "tester" / "pod.yaml").read_text())
    (container,) = pod["spec"]["containers"]
    folder = contexts.tester(tmp_path / "tester")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", *container["args"]],
        cwd=folder,
        env=os.environ
        | {
            "PYTHONPATH": f"{folder}:{folder / 'service'}",
            "PLAYER_SESSIONS_DEV_TEST_URL": "http://127.0.0.1:1",
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "test_twelve_cases.py::" in done.stdout
