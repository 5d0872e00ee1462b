"""Secrets planted wherever the service takes one (canaries) must not come out anywhere."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import pytest

from dev.cluster import Cluster
from dev.game_events import end, now_ms, start
from dev.service import (
    COMMAND,
    PREFIX,
    SUPERUSER,
    Server,
    Service,
    new_key,
    new_keyspace,
    run_schema_apply,
    variables,
    wait_for,
)

ROOT = Path(__file__).parent.parent.parent


def canary(name: str) -> str:
    return f"canary-{name}-{uuid4().hex}"


@contextmanager
def receiver(taken: list[bytes]) -> Iterator[str]:
    """Keep what the exporter of traces sends, but not the headers: one of them is a canary."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            taken.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def process(pid: int) -> str:
    """Return what `ps` and /proc show of a process."""
    shown = Path(f"/proc/{pid}")
    return "".join((shown / name).read_bytes().decode() for name in ("cmdline", "environ"))


def provoke(service: Server, key: str, planted: dict[str, str]) -> list[httpx.Response]:
    """Return answers to good and bad requests; no answer need repeat what was sent."""
    player, session, now = uuid4(), uuid4(), now_ms()
    named, own = canary("other-id"), str(uuid4())
    planted |= {"player": player.hex, "dashed player": str(player), "session": str(session)}
    planted |= {"other player id": named, "session of that player": own}
    headers = {
        "Authorization": f"Bearer {key}",
        "Cookie": f"session={planted['cookie']}",
        "X-Api-Key": planted["header"],
    }
    query = {"token": planted["query"]}
    good = [start(player, session, now - 1000), end(player, session, now)]
    bad = [start(player, session, now) | {"country": planted["body"]}]
    bearer = {"Authorization": f"Bearer {planted['wrong key']}"}
    with httpx.Client(base_url=service.url, headers=headers, params=query) as http:
        service.http.get(f"/v1/players/{player.hex}/sessions", headers=bearer)
        said = [
            http.post("/v1/events", json={"events": good}),
            http.post("/v1/events", json={"events": bad}),
            http.post("/v1/events", content=planted["body"]),
            http.post("/", json={"rows": bad}),
            http.get(f"/{planted['path']}"),
            http.get("/v1/players/x/sessions"),
            http.get(f"/v1/players/{player.hex}/sessions", params={"cursor": "x"}),
            http.post("/v1/events", json={"events": good}, headers=bearer),
        ]
        assert http.get(f"/v1/players/{player.hex}/sessions").json()["sessions"]
        for event in (start(player, UUID(own), now - 1000), end(player, UUID(own), now)):
            for bad_country in ({}, {"country": "?"}):
                batch = [event | {"player_id": named} | bad_country]
                said.append(http.post("/v1/events", json={"events": batch}))
        assert http.get(f"/v1/players/{named}/sessions").json()["sessions"]
        said.append(http.get(f"/v1/players/{named}%0A/sessions"))
        assert http.delete(f"/v1/players/{player.hex}").status_code == 200
        said.append(http.get("/metrics"))
    return said


def test_no_planted_secret_comes_out_of_log_metrics_errors_traces_or_process_list(
    cassandra: Cluster, tmp_path: Path
) -> None:
    planted = {
        name: canary(name)
        for name in (
            "password", "otel", "wrong key", "cookie", "header", "query", "body", "path",
        )
    }  # fmt: skip
    keyspace, taken = new_keyspace(), list[bytes]()
    run_schema_apply(cassandra, keyspace, ROLE_PASSWORD=planted["password"])
    key, line = new_key("all", ["ingest", "read", "erase"])
    (tmp_path / "keys").write_text(line)
    (tmp_path / "password").write_text(planted["password"])
    environ = variables(cassandra, keyspace, KEYS_FILE=str(tmp_path / "keys"), LOG_LEVEL="DEBUG")
    del environ[f"{PREFIX}CASSANDRA_PASSWORD"]
    environ[f"{PREFIX}CASSANDRA_PASSWORD_FILE"] = str(tmp_path / "password")
    with receiver(taken) as endpoint:
        traced = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_EXPORTER_OTLP_HEADERS": f"authorization={planted['otel']}",
            "OTEL_TRACES_SAMPLER": "always_on",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }
        with Server(environ | traced).ready() as service:
            said = provoke(service, key, planted)
            # OpenTelemetry reads this secret only from a variable, so its place may show it.
            shown = process(service.process.pid).replace(planted["otel"], "")
            wait_for(lambda: len(b"".join(taken)) > 500, what="spans")
        assert service.logged("request")  # the log is at level DEBUG
    out = {
        "log": "".join(service.lines),
        "process list": shown,
        "traces": b"".join(taken).decode(errors="replace"),
        "answers": "".join(str(a.status_code) + str(a.headers) + a.text for a in said),
    }
    secrets = planted | {"key": key}
    leaked = [
        f"{name} in {place}"
        for place, text in out.items()
        for name, s in secrets.items()
        if s in text
    ]
    assert leaked == []


def test_a_refused_password_is_not_logged(cassandra: Cluster, keyspace: str) -> None:
    wrong = canary("password")
    with Server(variables(cassandra, keyspace, CASSANDRA_PASSWORD=wrong)) as service:
        wait_for(lambda: service.logged("no connection to Cassandra yet"), what="it is refused")
        answer = service.http.get("/health/ready")
    assert answer.status_code == 503
    assert wrong not in "".join(service.lines) + answer.text


def test_schema_apply_prints_no_password_even_when_it_fails(cassandra: Cluster) -> None:
    secret, keyspace = canary("role"), new_keyspace()
    environ = variables(cassandra, keyspace, ROLE_NAME=keyspace, ROLE_PASSWORD=secret, **SUPERUSER)
    for changes in ({}, {f"{PREFIX}CASSANDRA_PASSWORD": canary("superuser")}):
        run = subprocess.run(
            [COMMAND, "schema", "apply", "--wait", "5", "--login-wait", "2"],
            env=os.environ | environ | changes,
            capture_output=True,
            text=True,
        )
        assert (run.returncode == 0) is not bool(changes), run.stderr
        assert "canary" not in run.stdout + run.stderr


def test_no_request_makes_the_service_connect_anywhere(
    cassandra: Cluster, keyspace: str, server: Service
) -> None:
    with socket.socket() as trap:
        trap.bind(("127.0.0.1", 0))
        trap.listen()
        trap.settimeout(1)
        host = f"127.0.0.1:{trap.getsockname()[1]}"
        named = {
            "Host": host, "Referer": f"http://{host}/", "Origin": f"http://{host}",
            "Forwarded": f"for=x;host={host}", "X-Forwarded-Host": host, "Via": f"1.1 {host}",
        }  # fmt: skip
        player, session, now = uuid4(), uuid4(), now_ms()
        event = start(player, session, now) | {"url": f"http://{host}/", "$ref": f"http://{host}/"}
        assert server.http.post("/v1/events", json={"events": [event]}, headers=named).is_success
        sessions = f"/v1/players/{player.hex}/sessions"
        server.http.get(sessions, params={"cursor": f"http://{host}/"}, headers=named)
        server.http.get(f"/docs?url=http://{host}/openapi.json", headers=named)
        with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2]))) as proxied:
            proxied.sendall(f"GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            assert proxied.recv(65536).startswith(b"HTTP/1.1 4")
        with pytest.raises(TimeoutError):
            trap.accept()


def test_every_test_that_the_threat_model_names_exists() -> None:
    page = (ROOT / "docs" / "threat-model.md").read_text()
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page)
    assert len(named) > 20
    missing = [
        f"{file}::{name}"
        for file, name in named
        if not re.search(rf"^(async )?def {name}\(", (ROOT / file).read_text(), re.MULTILINE)
    ]
    assert missing == []
