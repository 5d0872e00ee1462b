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
from dataclasses import dataclass, field, replace
from pathlib import Path

from dev.cluster import Cluster, end_with_parent
from loadtest.bench.generator import http as request
from player_sessions.settings import PREFIX

ROOT = Path(__file__).parent.parent.parent
_READY_SECONDS = 30


@dataclass(frozen=True)
class Contender:
    """`write` is the path and the key of its batches; `read` has the player's id for {}.

    half: it is measured at half load too. stores: what it acknowledges is looked up.
    straight: no server, but a program that takes the load's job and is its own load.
    environ: over that of all; {sink} is the receiver of traces.
    """

    name: str
    what: str
    command: tuple[str, ...]
    write: tuple[str, str] = ("/v1/events", "events")
    read: tuple[str, str, str] | None = None
    half: bool = False
    stores: bool = True
    straight: bool = False
    environ: Mapping[str, str] = field(default_factory=dict)

    def read_request(self, player: str) -> str:
        assert self.read is not None
        return request(*(part.replace("{}", player) for part in self.read)).decode()


SERVICE = Contender(
    "service",
    "this service, metrics on",
    ("-m", "player_sessions", "serve"),
    read=("GET", "/v1/players/{}/sessions", ""),
    half=True,
)
SINK = Contender("sink", "receives the traces", ("-m", "loadtest.bench.sink"))
CONTENDERS = {
    each.name: each
    for each in (
        Contender(
            "baseline",
            "the original's design: Flask, synchronous, one unprepared INSERT per event",
            ("-m", "loadtest.bench.baseline"),
            ("/", "rows"),
            ("GET", "/", '{"player_id":"{}"}'),
            half=True,
        ),
        Contender(
            "each-event",
            "this service with one `execute_async` per event",
            ("-m", "loadtest.bench.variants", "each-event"),
            half=True,
        ),
        SERVICE,
        replace(
            SERVICE,
            name="traced",
            what="this service, metrics on, 1 % of the requests traced to a receiver",
            read=None,
            half=False,
            environ={
                "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:{sink}",
                "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
                "OTEL_TRACES_SAMPLER_ARG": "0.01",
            },
        ),
        Contender(
            "bare",
            "this service's ingest handler on bare ASGI",
            ("-m", "loadtest.bench.variants", "bare"),
            half=True,
        ),
        Contender(
            "asgi",
            "bare ASGI in the same server, without JSON, rules and store",
            ("-m", "loadtest.bench.variants", "asgi"),
            stores=False,
        ),
        Contender(
            "driver",
            "the same batches straight through the driver, without HTTP",
            ("-m", "loadtest.bench.straight"),
            straight=True,
        ),
    )
}


def other(folder: Path) -> Contender:
    """The service of another working copy, with the packages of this one."""
    return replace(
        SERVICE,
        name="other",
        what="the service of another working copy",
        environ={"PYTHONPATH": str(folder.absolute() / "service")},
    )


class NotReady(Exception):
    """A contender did not come up; the message has the end of its log."""


@dataclass(frozen=True)
class Running:
    """A contender with its environment; `port` and `pid` are 0 where it is its own load."""

    contender: Contender
    environ: Mapping[str, str]
    port: int = 0
    pid: int = 0

    def resident_mib(self) -> float:
        """The process's memory now."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        raise NotReady(f"{self.contender.name} has ended")


@contextmanager
def running(
    contender: Contender, shared: Mapping[str, str], folder: Path, sink: int = 0
) -> Iterator[Running]:
    """The contender as a process that has said it is ready, ended at the end.

    `sink` is the port of the receiver of traces.
    """
    own = {name: value.replace("{sink}", str(sink)) for name, value in contender.environ.items()}
    environ = {**shared, **own}
    if contender.straight:
        yield Running(contender, environ)
        return
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
        yield Running(contender, environ, port, process.pid)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def spans(sink: Running) -> int:
    """How many have come in so far."""
    connection = http.client.HTTPConnection("127.0.0.1", sink.port, timeout=5)
    try:
        connection.request("GET", "/")
        return int(connection.getresponse().read())
    finally:
        connection.close()


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
