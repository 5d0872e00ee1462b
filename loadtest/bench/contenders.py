"""Who is measured, how each is started and asked, and that each process ends with this one."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dev.cluster import Cluster, end_with_parent
from loadtest.bench.generator import http as request
from player_sessions.settings import PREFIX

ROOT = Path(__file__).parent.parent.parent
_READY_SECONDS = 30


@dataclass(frozen=True)
class Contender:
    """`write` is the path and the key of its batches; `read` has the player's id for {}."""

    name: str
    what: str
    command: tuple[str, ...]
    write: tuple[str, str] = ("/v1/events", "events")
    read: tuple[str, str, str] | None = ("GET", "/v1/players/{}/sessions", "")

    def read_request(self, player: str) -> str:
        assert self.read is not None
        return request(*(part.replace("{}", player) for part in self.read)).decode()


CONTENDERS = {
    each.name: each
    for each in (
        Contender(
            "baseline",
            "the original's design: Flask, synchronous, one unprepared INSERT per event",
            ("-m", "loadtest.bench.baseline"),
            ("/", "rows"),
            ("GET", "/", '{"player_id":"{}"}'),
        ),
        Contender(
            "each-event",
            "this service with one `execute_async` per event",
            ("-m", "loadtest.bench.variants", "each-event"),
        ),
        Contender("service", "this service", ("-m", "player_sessions", "serve")),
        Contender(
            "bare",
            "this service's ingest handler on bare ASGI",
            ("-m", "loadtest.bench.variants", "bare"),
            read=None,
        ),
    )
}


class NotReady(Exception):
    """A contender did not come up; the message has the end of its log."""


@dataclass(frozen=True)
class Running:
    contender: Contender
    port: int
    pid: int


@contextmanager
def running(contender: Contender, environ: Mapping[str, str], folder: Path) -> Iterator[Running]:
    """The contender as a process that has said it is ready, ended at the end."""
    port = _free_port()
    log = folder / f"{contender.name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *contender.command],
            cwd=ROOT,
            env={**environ, f"{PREFIX}HTTP_PORT": str(port)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # a terminal's Ctrl-C is for us, who end it in order
            preexec_fn=end_with_parent(os.getpid()),
        )
    try:
        _await_ready(process, port, log)
        yield Running(contender, port, process.pid)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def variables(cluster: Cluster, keyspace: str) -> dict[str, str]:
    """The environment of every contender, and of the schema: equal for all."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(PREFIX)}
    return inherited | {
        f"{PREFIX}CASSANDRA_CONTACT_POINTS": cluster.address(1),
        f"{PREFIX}CASSANDRA_PORT": str(cluster.native_port),
        f"{PREFIX}KEYSPACE": keyspace,
    }


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _await_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    until = time.monotonic() + _READY_SECONDS
    while _status(port) != 200:
        if process.poll() is not None or time.monotonic() > until:
            tail = log.read_text(errors="replace").splitlines()[-20:]
            raise NotReady("\n".join([f"{log.stem} did not become ready; its log ends:", *tail]))
        time.sleep(0.05)


def _status(port: int) -> int | None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health/ready")
        return connection.getresponse().status
    except OSError:
        return None
    finally:
        connection.close()
