"""Schemathesis against the OpenAPI document the service itself serves, every check on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dev.cluster import Cluster
from player_sessions.keys import SCOPES, new_key
from tests.support import Server, variables

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize("keys", ["off", "on"])
def test_the_service_does_what_its_document_says(
    cassandra: Cluster, keyspace: str, tmp_path: Path, keys: str
) -> None:
    changes, headers = {}, []
    if keys == "on":
        key, line = new_key("all", SCOPES)
        (tmp_path / "keys").write_text(line)
        changes = {"KEYS_FILE": str(tmp_path / "keys")}
        headers = ["--header", f"Authorization: Bearer {key}"]
    with Server(variables(cassandra, keyspace, **changes)) as service:
        service.ready()
        run = _schemathesis(service, headers, tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "No issues found" in run.stdout


def _schemathesis(
    service: Server, headers: list[str], folder: Path
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(Path(sys.executable).parent / "schemathesis", "run"),
            *(f"{service.url}/docs/openapi.json", "--checks", "all", "--max-examples", "60"),
            *("--generation-deterministic", "--no-color", *headers),
        ],
        cwd=folder,
        env=os.environ
        | {"SCHEMATHESIS_HOOKS": "tests.system.schemathesis_hooks", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=240,
    )
