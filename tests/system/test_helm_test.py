"""The script of `helm test` waits for the service, and says why it gives up."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dev.cluster import Cluster
from dev.service import Server, Service, new_key, variables, wait_for

SCRIPT = Path(__file__).parents[2] / "charts" / "player-sessions" / "files" / "helm_test.py"


@pytest.fixture
def port() -> int:
    """Return a port at which nobody listens yet."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        found: int = unused.getsockname()[1]
    return found


def begin(url: str, **environ: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT.read_text()],
        env={"URL": url, **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_session_is_posted_and_read_back(server: Service) -> None:
    with begin(server.url) as script:
        printed, errors = script.communicate(timeout=30)
    assert printed.startswith("stored and read back: "), errors


def test_it_tries_again_until_the_service_answers(
    cassandra: Cluster, keyspace: str, port: int
) -> None:
    with begin(f"http://127.0.0.1:{port}") as script:
        assert script.stderr is not None
        assert "refused>; trying again" in script.stderr.readline()
        with Server(variables(cassandra, keyspace, HTTP_PORT=str(port))):
            wait_for(lambda: script.poll() is not None, what="the script ends")
        printed, errors = script.communicate()
    assert printed.startswith("stored and read back: "), errors


def test_it_gives_up_with_the_address_and_the_reason(port: int) -> None:
    began = time.monotonic()
    with begin(f"http://127.0.0.1:{port}", RETRY_SECONDS="1") as script:
        _, errors = script.communicate(timeout=30)
    assert script.returncode == 1
    assert 1 < time.monotonic() - began < 10
    last = errors.splitlines()[-1]
    assert last.startswith(f"http://127.0.0.1:{port}/v1/events: ")
    assert "refused" in last


def test_a_missing_key_is_an_error_at_once(
    cassandra: Cluster, keyspace: str, tmp_path: Path
) -> None:
    keys = tmp_path / "keys"
    _, line = new_key("game", ["ingest"])
    keys.write_text(line + "\n")
    given = variables(cassandra, keyspace, KEYS_FILE=str(keys))
    with Server(given) as service, begin(service.url) as script:
        _, errors = script.communicate(timeout=10)
    assert script.returncode == 1
    assert "401" in errors
    assert "the keys' Secret needs an entry `key`" in errors
