"""The service as a process, known only by its command line, its ports and its log.

Black-box tests and load tools use this module, so it imports nothing of `player_sessions`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import httpx

from dev.cluster import Cluster, ends_with_parent

PREFIX = "PLAYER_SESSIONS_"
COMMAND = Path(sys.executable).parent / "player-sessions"
# The quotes make code that does not escape them fail.
PASSWORD = 'it\'s a "secret"'  # noqa: S105
SUPERUSER = {"CASSANDRA_USERNAME": "cassandra", "CASSANDRA_PASSWORD": "cassandra"}


def wait_for(condition: Callable[[], Any], *, seconds: float = 30, what: str = "condition") -> Any:
    """Return the first true value of `condition`; fail when there is none in time."""
    until = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < until, f"waited {seconds} s for this: {what}"
        time.sleep(0.02)
    return value


def freeze(pid: int) -> None:
    """Stop a process, and return when all its threads stand still; SIGCONT lets it go on."""
    os.kill(pid, signal.SIGSTOP)

    def stands_still() -> bool:
        try:
            stats = [(task / "stat").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
        except OSError:  # a thread has just ended
            return False
        return all(stat.rpartition(")")[2].split()[0] == "T" for stat in stats)

    wait_for(stands_still, what=f"process {pid} stands still")


def new_keyspace() -> str:
    """Return a keyspace name that no other test uses."""
    return f"test_{uuid.uuid4().hex[:16]}"


def inherited() -> dict[str, str]:
    """Return the variables of this process without the service's settings."""
    return {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}


def variables(cluster: Cluster, keyspace: str, **changes: str) -> dict[str, str]:
    """Return the service's settings for a keyspace of this cluster; its role is named like it."""
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


def superuser_variables(cluster: Cluster, keyspace: str, **changes: str) -> dict[str, str]:
    """Return the settings of `schema apply`, which also creates the service's role."""
    roles = {**SUPERUSER, "ROLE_NAME": keyspace, "ROLE_PASSWORD": PASSWORD} if cluster.auth else {}
    return variables(cluster, keyspace, **{**roles, **changes})


def run_schema_apply(cluster: Cluster, keyspace: str, **changes: str) -> None:
    """Run `player-sessions schema apply`; fail with its messages when it fails."""
    apply_schema_with(superuser_variables(cluster, keyspace, **changes))


def apply_schema_with(environ: Mapping[str, str]) -> None:
    """Run `player-sessions schema apply` with these settings; fail when it fails."""
    done = subprocess.run(
        [COMMAND, "schema", "apply", "--login-wait", "0"],
        env={**inherited(), **environ},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def new_key(name: str, scopes: Iterable[str]) -> tuple[str, str]:
    """Return a new API key and its line for the keys file, from `player-sessions keys new`."""
    options = [word for scope in scopes for word in ("--scope", scope)]
    done = subprocess.run(
        [COMMAND, "keys", "new", "--name", name, *options],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip(), done.stderr.splitlines()[-1]


class Service:
    """A service that is known only by its URL and by the URL of its health and metrics."""

    def __init__(self, url: str, probe_url: str, key: str = "") -> None:
        self.url = url
        self.probe_url = probe_url
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.http = httpx.Client(base_url=url, timeout=30, headers=headers)

    def post(self, *events: dict[str, Any]) -> httpx.Response:
        """Send these events as one batch."""
        return self.http.post("/v1/events", json={"events": list(events)})

    def sessions(self, player: uuid.UUID, **parameters: Any) -> list[dict[str, Any]]:
        """Return one page of the player's sessions."""
        answer = self.http.get(f"/v1/players/{player.hex}/sessions", params=parameters)
        assert answer.status_code == 200, answer.text
        sessions: list[dict[str, Any]] = answer.json()["sessions"]
        return sessions

    def player(self, player: uuid.UUID) -> dict[str, Any]:
        """Return whether the player is online, and the latest session."""
        answer = self.http.get(f"/v1/players/{player.hex}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def session(self, player: uuid.UUID, session: uuid.UUID) -> dict[str, Any] | None:
        """Return one session of the player with its status, or None."""
        answer = self.http.get(f"/v1/players/{player.hex}/sessions/{session}")
        assert answer.status_code in (200, 404), answer.text
        return answer.json() if answer.status_code == 200 else None


class Server(Service):
    """`player-sessions serve` as a process of its own, which ends with this one.

    `probe` names the field of the log that has the address of health and metrics.
    """

    def __init__(self, environ: Mapping[str, str], probe: str = "url") -> None:
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            ends_with_parent([COMMAND, "serve"]),
            env={**inherited(), **environ},
            stderr=subprocess.PIPE,
            text=True,
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
        code = self.process.poll()
        if code is not None:
            self._reader.join()  # it may not have read the last lines yet
            raise AssertionError(f"the service ended with {code}:\n" + "".join(self.lines))
        return self.logged("listening")

    def logged(self, event: str) -> list[dict[str, Any]]:
        """Return the log lines with this event, so far."""
        found = [json.loads(line) for line in list(self.lines) if line.startswith("{")]
        return [line for line in found if line["event"] == event]

    def ready(self) -> Self:
        """Wait until the service says that it is ready."""
        wait_for(
            lambda: self.http.get(f"{self.probe_url}/health/ready").status_code == 200,
            what=f"the service is ready; its log: {self.lines[-3:]}",
        )
        return self

    def stop(self) -> int:
        """Send SIGTERM and return the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(30)
        finally:
            self.kill()

    def kill(self) -> None:
        """End the process with SIGKILL."""
        self.process.kill()
        self.process.wait()
        self._reader.join(5)
        if hasattr(self, "http"):
            self.http.close()
