"""What tests of several layers share: settings, keyspaces, the service as a process, events."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import httpx
from cassandra import ConsistencyLevel
from cassandra.query import PreparedStatement

from dev.cluster import Cluster, end_with_parent
from player_sessions.rows import Inserts
from player_sessions.schema import apply as schema_apply
from player_sessions.settings import PREFIX, Settings, load

COMMAND = Path(sys.executable).parent / "player-sessions"
PASSWORD = 'it\'s a "secret"'  # quotes on purpose
SUPERUSER = {"CASSANDRA_USERNAME": "cassandra", "CASSANDRA_PASSWORD": "cassandra"}
DAY_MS = 86_400_000


def wait_for(condition: Callable[[], Any], *, seconds: float = 30, what: str = "condition") -> Any:
    """The condition's first true value; fails when there is none in time."""
    until = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < until, f"{what}: not within {seconds} s"
        time.sleep(0.02)
    return value


def inserts(retention_ms: int) -> Inserts:
    """As they are once prepared, without Cassandra."""
    prepared = PreparedStatement([], b"0123456789abcdef", [], "INSERT", "games", 5, [], None)
    return Inserts(prepared, prepared, retention_ms, ConsistencyLevel.LOCAL_QUORUM)


def new_keyspace() -> str:
    return f"test_{uuid.uuid4().hex[:16]}"


def variables(cluster: Cluster, keyspace: str, **changes: str) -> dict[str, str]:
    """The service's variables for a keyspace of this cluster; its role is named like it."""
    login = {"CASSANDRA_USERNAME": keyspace, "CASSANDRA_PASSWORD": PASSWORD}
    given = {
        "CASSANDRA_CONTACT_POINTS": cluster.address(1),
        "CASSANDRA_PORT": str(cluster.native_port),
        "KEYSPACE": keyspace,
        "HTTP_PORT": "0",
        **(login if cluster.auth else {}),
        **changes,
    }
    return {PREFIX + name: value for name, value in given.items()}


def settings_of(cluster: Cluster, keyspace: str, **changes: str) -> Settings:
    return load(variables(cluster, keyspace, **changes))


def superuser_of(cluster: Cluster, keyspace: str, **changes: str) -> Settings:
    """The settings of `schema apply`, which makes the service's role as well."""
    roles = {**SUPERUSER, "ROLE_NAME": keyspace, "ROLE_PASSWORD": PASSWORD} if cluster.auth else {}
    return settings_of(cluster, keyspace, **{**roles, **changes})


def apply_schema(cluster: Cluster, keyspace: str, **changes: str) -> int:
    """The number of changes made."""
    settings = superuser_of(cluster, keyspace, **changes)
    with schema_apply.session(settings, schema_apply.Patience(60, 0), print) as opened:
        return schema_apply.apply(settings, opened, lambda _: None)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def iso(ms: int) -> str:
    """As a game writes it."""
    moment = datetime.fromtimestamp(ms / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def start(player: uuid.UUID, session: uuid.UUID, at: int, country: str = "FI") -> dict[str, Any]:
    return {**_event("start", player, session, at), "country": country}


def end(player: uuid.UUID, session: uuid.UUID, at: int, **more: Any) -> dict[str, Any]:
    return {**_event("end", player, session, at), **more}


def _event(kind: str, player: uuid.UUID, session: uuid.UUID, at: int) -> dict[str, Any]:
    return {"player_id": player.hex, "event": kind, "session_id": str(session), "ts": iso(at)}


class Service:
    """A service, known only by its URL and that of health and metrics."""

    def __init__(self, url: str, probe_url: str, key: str = "") -> None:
        self.url = url
        self.probe_url = probe_url
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.http = httpx.Client(base_url=url, timeout=30, headers=headers)

    def post(self, *events: dict[str, Any]) -> httpx.Response:
        return self.http.post("/v1/events", json={"events": list(events)})

    def sessions(self, player: uuid.UUID, **parameters: Any) -> list[dict[str, Any]]:
        """The sessions of one page."""
        answer = self.http.get(f"/v1/players/{player.hex}/sessions", params=parameters)
        assert answer.status_code == 200, answer.text
        sessions: list[dict[str, Any]] = answer.json()["sessions"]
        return sessions


class Server(Service):
    """`player-sessions serve` as a process of its own, known only by its ports and its log.

    `probe` names the field of the log that has the address of health and metrics.
    """

    def __init__(self, environ: Mapping[str, str], probe: str = "url") -> None:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(PREFIX)}
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [COMMAND, "serve"],
            env={**inherited, **environ},
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=end_with_parent(os.getpid()),
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            listening = wait_for(self._listening, what="the service listens")
        except BaseException:
            self.kill()
            raise
        super().__init__(listening[0]["url"], listening[0][probe])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as log:
            for line in log:
                self.lines.append(line)

    def _listening(self) -> list[dict[str, Any]]:
        assert self.process.poll() is None, "the service ended:\n" + "".join(self.lines)
        return self.logged("listening")

    def logged(self, event: str) -> list[dict[str, Any]]:
        """The log lines with this event, so far."""
        found = [json.loads(line) for line in list(self.lines) if line.startswith("{")]
        return [line for line in found if line["event"] == event]

    def ready(self) -> Self:
        wait_for(
            lambda: self.http.get(f"{self.probe_url}/health/ready").status_code == 200,
            what=f"the service is ready; its log: {self.lines[-3:]}",
        )
        return self

    def stop(self) -> int:
        """The exit code after SIGTERM."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(30)
        finally:
            self.kill()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join(5)
        if hasattr(self, "http"):
            self.http.close()
