"""Start the contenders of the bench, wait until they are ready, and end them.

Every process ends with the process that started it.
"""

from __future__ import annotations

import http.client
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dev.cluster import Cluster, ends_with_parent
from dev.service import PREFIX, inherited
from loadtest.bench.contenders import ROOT, Contender
from loadtest.command_line import free_port

_READY_SECONDS = 30


class NotReady(Exception):
    """A contender did not become ready; the message has the end of its log."""


@dataclass(frozen=True)
class Running:
    """A started contender; `port` and `pid` are 0 if it makes its own load."""

    contender: Contender
    environ: Mapping[str, str]
    log: Path
    port: int = 0
    process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        return self.process.pid if self.process else 0

    def await_ready(self) -> None:
        """Wait until it is ready; raise NotReady with the end of its log if it fails."""
        until = time.monotonic() + _READY_SECONDS
        while self.process and _status(self.port) != 200:
            if self.process.poll() is not None or time.monotonic() > until:
                tail = self.log.read_text(errors="replace").splitlines()[-20:]
                what = f"{self.contender.name} did not become ready; its log ends:"
                raise NotReady("\n".join([what, *tail]))
            time.sleep(0.05)

    def end(self) -> None:
        """Wait until the terminated process has ended; kill it after 10 s."""
        if self.process:
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def go_version() -> str:
    """Return the version of the Go that builds contenders, such as 1.26.8."""
    run = subprocess.run(("go", "env", "GOVERSION"), check=True, capture_output=True, text=True)
    return run.stdout.strip().removeprefix("go")


def command(contender: Contender, folder: Path) -> list[str]:
    """Return the command that starts the contender; a program in Go is built into `folder`."""
    if contender.source is None:
        return [sys.executable, *contender.command]
    program = str(folder / contender.name)
    build = ("go", "build", "-mod=readonly", "-o", program, ".")
    built = subprocess.run(build, cwd=contender.source, capture_output=True, text=True)
    if built.returncode:
        raise NotReady(f"{contender.name} could not be built:\n{built.stderr}")
    return [program]


@contextmanager
def running(contender: Contender, shared: Mapping[str, str], folder: Path) -> Iterator[Running]:
    """Start the contender, wait until it is ready, and end it afterwards."""
    with all_running([contender], shared, folder) as (made,):
        yield made


@contextmanager
def all_running(
    given: Sequence[Contender], shared: Mapping[str, str], folder: Path, **blanks: str
) -> Iterator[list[Running]]:
    """Start the contenders, wait until all are ready, and end them afterwards.

    `blanks` are the values of names in braces in a contender's own variables.
    """
    started: list[Running] = []
    try:
        for each in given:
            own = {name: value.format(**blanks) for name, value in each.environ.items()}
            started.append(_started(each, {**shared, **own}, folder))
        for one in started:
            one.await_ready()
        yield started
    finally:
        for one in started:
            if one.process:
                one.process.terminate()  # all at once, then wait for each
        for one in started:
            one.end()


def _started(contender: Contender, environ: Mapping[str, str], folder: Path) -> Running:
    log = folder / f"{contender.name}.log"
    if contender.straight:
        return Running(contender, environ, log)
    port = free_port()
    with log.open("wb") as output:
        process = subprocess.Popen(
            ends_with_parent(command(contender, folder)),
            cwd=ROOT,
            env={**environ, f"{PREFIX}HTTP_PORT": str(port)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # on Ctrl-C we end the contender in order
        )
    return Running(contender, environ, log, port, process)


def spans(sink: Running) -> int:
    """Return how many spans the receiver has counted so far."""
    connection = http.client.HTTPConnection("127.0.0.1", sink.port, timeout=5)
    try:
        connection.request("GET", "/")
        return int(connection.getresponse().read())
    finally:
        connection.close()


def variables(cluster: Cluster, keyspace: str) -> dict[str, str]:
    """Return the environment of every contender and of the schema: the same for all."""
    return inherited() | {
        f"{PREFIX}CASSANDRA_CONTACT_POINTS": cluster.address(1),
        f"{PREFIX}CASSANDRA_PORT": str(cluster.native_port),
        f"{PREFIX}KEYSPACE": keyspace,
    }


def _status(port: int) -> int | None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health/ready")
        return connection.getresponse().status
    except OSError:
        return None
    finally:
        connection.close()
