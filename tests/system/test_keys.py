"""Keys and ports: which key may make which call, and on which port."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from dev.cluster import Cluster
from dev.game_events import end, now_ms, start
from dev.service import Server, new_key, variables, wait_for


@dataclass
class Keyed:
    service: Server
    file: Path
    ingest: str
    read: str
    erase: str
    operations: str

    def call(self, method: str, path: str, key: str | None = None, **more: object) -> int:
        """Return the status of a call with this key."""
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        answer = self.service.http.request(method, self.service.url + path, headers=headers, **more)  # type: ignore[arg-type]
        if answer.status_code in (401, 403):
            assert answer.headers["Content-Type"] == "application/problem+json"
            assert answer.json()["type"].endswith(("unauthorized", "forbidden"))
        if answer.status_code == 401:
            assert answer.headers["WWW-Authenticate"] == "Bearer"
        return answer.status_code


@pytest.fixture(scope="module")
def keyed(
    cassandra: Cluster, keyspace: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Keyed]:
    file = tmp_path_factory.mktemp("keys") / "keys"
    made = {scope: new_key(scope, [scope]) for scope in ("ingest", "read", "erase")}
    file.write_text("".join(f"{line}\n" for _, line in made.values()))
    environ = variables(cassandra, keyspace, KEYS_FILE=str(file), OPERATIONS_PORT="0")
    with Server(environ, probe="operations") as service:
        service.ready()
        keys = {scope: key for scope, (key, _) in made.items()}
        yield Keyed(service, file, **keys, operations=service.probe_url)


def batch() -> dict[str, object]:
    player, session, now = uuid4(), uuid4(), now_ms()
    return {"events": [start(player, session, now - 1000), end(player, session, now)]}


PLAYER = f"/v1/players/{uuid4().hex}"
SESSIONS = f"{PLAYER}/sessions"
SESSION = f"{SESSIONS}/{uuid4()}"


def test_without_a_key_nothing_is_stored_or_read(keyed: Keyed) -> None:
    rows = {"rows": batch()["events"]}
    for key in (None, "ps_wrong", "x y"):
        assert keyed.call("POST", "/v1/events", key, json=batch()) == 401
        assert keyed.call("POST", "/", key, json=rows) == 401
        assert keyed.call("GET", SESSIONS, key) == 401
        assert keyed.call("GET", SESSION, key) == 401
        assert keyed.call("GET", PLAYER, key) == 401
        assert keyed.call("GET", "/", key) == 401


def test_a_leaked_ingest_key_can_send_events_and_cannot_read(keyed: Keyed) -> None:
    assert keyed.call("POST", "/v1/events", keyed.ingest, json=batch()) == 200
    assert keyed.call("POST", "/", keyed.ingest, json={"rows": batch()["events"]}) == 200
    assert keyed.call("GET", SESSIONS, keyed.ingest) == 403
    assert keyed.call("GET", SESSION, keyed.ingest) == 403
    assert keyed.call("GET", PLAYER, keyed.ingest) == 403
    assert keyed.call("GET", "/", keyed.ingest) == 403
    assert keyed.call("GET", SESSIONS, keyed.read) == 200
    assert keyed.call("GET", SESSION, keyed.read) == 404
    assert keyed.call("GET", PLAYER, keyed.read) == 200
    assert keyed.call("POST", "/v1/events", keyed.read, json=batch()) == 403


def test_only_a_key_with_the_scope_erase_can_erase(keyed: Keyed) -> None:
    player = f"/v1/players/{uuid4().hex}"
    for key in (None, "ps_wrong"):
        assert keyed.call("DELETE", player, key) == 401
    for key in (keyed.ingest, keyed.read):
        assert keyed.call("DELETE", player, key) == 403
        assert keyed.call("DELETE", f"/{player}/", key) == 403
    assert keyed.call("DELETE", player, keyed.erase) == 200
    assert keyed.call("GET", SESSIONS, keyed.erase) == 403
    assert keyed.call("POST", "/v1/events", keyed.erase, json=batch()) == 403


@pytest.mark.parametrize("path", ["/v1/events/", "//v1/events", "/v1//events", "/v1/%65vents"])
def test_no_other_spelling_of_a_path_goes_past_the_keys(keyed: Keyed, path: str) -> None:
    assert keyed.call("POST", path, json=batch()) in (401, 404, 405)
    assert keyed.call("POST", path, keyed.read, json=batch()) in (403, 404, 405)


def test_the_public_port_shows_no_metrics_and_the_other_no_sessions(keyed: Keyed) -> None:
    for path in ("/metrics", "/health/live", "/health/ready", "//metrics", "/metrics/"):
        assert keyed.call("GET", path, keyed.read) == 404
    with httpx.Client(base_url=keyed.operations) as operations:
        assert operations.get("/health/live").status_code == 200
        assert "player_sessions_ready 1.0" in operations.get("/metrics").text
        key = {"Authorization": f"Bearer {keyed.read}"}
        assert operations.get(SESSIONS, headers=key).status_code == 404
        assert operations.get(SESSION, headers=key).json()["type"].endswith(":not-found")
        assert operations.get(PLAYER, headers=key).status_code == 404
        key = {"Authorization": f"Bearer {keyed.ingest}"}
        assert operations.post("/v1/events", json=batch(), headers=key).status_code == 404


def test_keys_are_rotated_without_a_restart(keyed: Keyed) -> None:
    before = keyed.file.read_text()
    new, line = new_key("new", ["ingest"])
    other = keyed.file.with_suffix(".new")
    try:
        other.write_text(f"{line}\n")
        os.replace(other, keyed.file)
        wait_for(
            lambda: keyed.call("POST", "/v1/events", new, json=batch()) == 200, what="the new key"
        )
        assert keyed.call("POST", "/v1/events", keyed.ingest, json=batch()) == 401
    finally:
        other.write_text(before)
        os.replace(other, keyed.file)
    wait_for(lambda: keyed.call("POST", "/v1/events", new, json=batch()) == 401, what="refusal")


def test_no_log_line_metric_or_answer_contains_a_key(keyed: Keyed) -> None:
    said = "".join(keyed.service.lines) + httpx.get(keyed.operations + "/metrics").text
    said += keyed.service.http.post("/v1/events", headers={"Authorization": "Bearer x"}).text
    for key in (keyed.ingest, keyed.read, "Bearer x"):
        assert key not in said


def test_the_document_says_that_keys_are_asked_for(keyed: Keyed) -> None:
    document = keyed.service.http.get("/docs/openapi.json").json()
    assert document["security"] == [{"key": []}]
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"


def test_an_open_address_without_keys_is_refused_at_boot(cassandra: Cluster, keyspace: str) -> None:
    environ = variables(cassandra, keyspace, HTTP_HOST="0.0.0.0")
    with pytest.raises(AssertionError, match="keys new"):
        Server(environ)
    with Server({**environ, "PLAYER_SESSIONS_AUTH": "off"}) as service:
        wait_for(lambda: service.logged("anyone may call, since PLAYER_SESSIONS_AUTH=off"))


def test_a_bad_keys_file_is_refused_at_boot(
    cassandra: Cluster, keyspace: str, tmp_path: Path
) -> None:
    bad = tmp_path / "keys"
    for content in (None, "nonsense"):
        if content:
            bad.write_text(content)
        with pytest.raises(AssertionError, match="PLAYER_SESSIONS_KEYS_FILE"):
            Server(variables(cassandra, keyspace, KEYS_FILE=str(bad)))
