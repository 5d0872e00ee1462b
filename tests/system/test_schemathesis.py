"""Run all checks of Schemathesis against the OpenAPI document that the service serves."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dev.cluster import Cluster
from dev.service import Server, new_key, variables

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize("keys", ["off", "on"])
def test_the_service_does_what_its_document_says(
    cassandra: Cluster, keyspace: str, tmp_path: Path, keys: str
) -> None:
    changes, headers = {}, []
    if keys == "on":
        key, line = new_key("all", ["ingest", "read", "erase"])
        (tmp_path / "keys").write_text(line)
        changes = {"KEYS_FILE": str(tmp_path / "keys")}
        headers = ["--header", f"Authorization: Bearer {key}"]
    # A count that takes longer than the deadline is a 503, which Schemathesis takes for an error.
    with Server(variables(cassandra, keyspace, DEADLINE="60s", **changes)) as service:
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
            # An erased player is answered like one without events, not with 404.
            *("--exclude-checks", "use_after_free"),
            # No generated session exists, so the route of one session is 404, which it warns of.
            *("--warnings", "off"),
            # The first count of all hours may take long on a busy machine.
            *("--request-timeout", "90"),
            *("--url", service.url),  # Schemathesis does not resolve the document's server `..`
            *("--generation-deterministic", "--no-color", *headers),
        ],
        cwd=folder,
        env=os.environ
        | {"SCHEMATHESIS_HOOKS": "tests.system.schemathesis_hooks", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=480,
    )
