"""A service that cannot work says why: at boot, in readiness, or in its log."""

from __future__ import annotations

import subprocess
from pathlib import Path
from uuid import uuid4

import pytest

from dev.cluster import Cluster
from dev.game_events import now_ms, start
from dev.service import COMMAND, PREFIX, SUPERUSER, Server, inherited, variables, wait_for

NOWHERE = "cassandra.invalid"


def reason_of(service: Server) -> str:
    """Return why the service is not ready, once it has tried to connect."""

    def reason() -> str:
        answer = service.http.get("/health/ready")
        assert answer.status_code == 503
        found: str = answer.json()["reason"]
        return "" if found == "connecting to Cassandra" else found

    said: str = wait_for(reason, what="the reason")
    return said


def test_a_contact_point_without_an_address_is_named_to_operators_only() -> None:
    given = {"CASSANDRA_CONTACT_POINTS": NOWHERE, "CASSANDRA_PORT": "9999", "HTTP_PORT": "0"}
    with Server({PREFIX + name: value for name, value in given.items()}) as service:
        reason = reason_of(service)
        assert reason.startswith(f"no connection to Cassandra at {NOWHERE}, port 9999: ")
        assert f"; {NOWHERE}: " in reason
        logged = wait_for(lambda: service.logged("no connection to Cassandra yet"))
        assert NOWHERE in logged[0]["cause"]
        answer = service.post(start(uuid4(), uuid4(), now_ms()))
        assert answer.status_code == 503
        assert answer.json()["type"].endswith(":not-ready")
        assert NOWHERE not in answer.text


def test_a_wrong_datacenter_is_named_with_those_that_exist(
    cassandra: Cluster, keyspace: str
) -> None:
    with Server(variables(cassandra, keyspace, CASSANDRA_LOCAL_DC="dc9")) as service:
        reason = reason_of(service)
        assert reason.endswith(
            "Cassandra has no datacenter 'dc9' (PLAYER_SESSIONS_CASSANDRA_LOCAL_DC); it has dc1"
        )


def test_a_wrong_password_is_named_in_readiness(cassandra: Cluster, keyspace: str) -> None:
    with Server(variables(cassandra, keyspace, CASSANDRA_PASSWORD="wrong")) as service:
        assert "Failed to authenticate" in reason_of(service)


@pytest.mark.parametrize(
    ("command", "changes", "words"),
    [
        ("apply", {"CASSANDRA_CONTACT_POINTS": NOWHERE}, f"{NOWHERE}: "),
        ("status", {"CASSANDRA_CONTACT_POINTS": NOWHERE}, f"{NOWHERE}: "),
        ("apply", {"CASSANDRA_LOCAL_DC": "dc9"}, "it has dc1"),
        ("status", {"CASSANDRA_LOCAL_DC": "dc9"}, "it has dc1"),
    ],
)
def test_the_schema_commands_retry_and_name_contact_points_and_datacenters(
    cassandra: Cluster, command: str, changes: dict[str, str], words: str
) -> None:
    run = subprocess.run(
        [COMMAND, "schema", command, "--wait", "3"],
        env=inherited() | variables(cassandra, "nowhere", **SUPERUSER, **changes),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 1
    said = [line for line in run.stderr.splitlines() if "no connection to Cassandra at" in line]
    assert len(said) > 1  # it tried again
    assert all(words in line for line in said)
    assert "{}" not in run.stderr
    assert "Traceback" not in run.stderr


def boot(**changes: str) -> str:
    """Return what a service says that ends at boot."""
    settings = {PREFIX + name: value for name, value in {"HTTP_PORT": "0", **changes}.items()}
    run = subprocess.run(
        [COMMAND, "serve"],
        env=inherited() | settings,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode in (1, 2)
    assert "Traceback" not in run.stderr
    return run.stderr.splitlines()[-1]


def test_a_contact_point_with_a_port_is_refused_at_boot() -> None:
    said = boot(CASSANDRA_CONTACT_POINTS="games.example:9042")
    assert said.startswith("PLAYER_SESSIONS_CASSANDRA_CONTACT_POINTS: must be host names")


def test_a_keys_file_without_a_key_is_refused_at_boot(tmp_path: Path) -> None:
    (tmp_path / "keys").touch()
    said = boot(KEYS_FILE=str(tmp_path / "keys"))
    assert "PLAYER_SESSIONS_KEYS_FILE cannot be read: there is no key in it" in said
