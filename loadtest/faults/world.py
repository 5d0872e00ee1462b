"""Three Cassandra nodes, each behind a proxy; services know only the proxies."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

import trustme
from cassandra import ConsistencyLevel, ReadTimeout, Unavailable
from cassandra.protocol import ConfigurationException
from cassandra.query import SimpleStatement

from dev import cql, toolchain
from dev.certificates import client_encryption, give_client_certificate
from dev.cluster import Cluster
from dev.service import Server, run_schema_apply, superuser_variables, variables, wait_for
from loadtest.overload.proxy import Proxy, proxy

NODES = (1, 2, 3)
KEYSPACE = "faults"
_NAME = "cassandra.games.internal"
_DISK_MIB = 400


class World:
    """Three nodes with logins and TLS as K8ssandra configures them; TLS is optional for clients.

    relaxed: sync the commit log every 10 s instead of before each acknowledgement.
    small_disk: give node 3 a disk of its own with 400 MiB, which only root can mount.
    """

    def __init__(self, folder: Path, *, relaxed: bool = False, small_disk: bool = False) -> None:
        self.folder = folder
        self.authority = trustme.CA()
        folder.mkdir(parents=True, exist_ok=True)
        self.authority.cert_pem.write_to_path(str(folder / "ca.pem"))
        self.give_certificate()
        options = client_encryption(folder, self.authority, _NAME)
        self.cluster = Cluster(
            folder / "cluster",
            nodes=len(NODES),
            auth=True,
            relaxed=relaxed,
            proxied=True,
            yaml={"client_encryption_options": options},
        )
        self.disk = folder / "cluster" / "node3"
        self._small_disk = small_disk
        self._stack = ExitStack()
        self.proxies: dict[int, Proxy] = {}

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            if self._small_disk:
                stack.enter_context(_disk(self.disk))
            stack.enter_context(self.cluster)
            for node in NODES:
                target = self.cluster.address(node), self.cluster.native_port
                public = self.cluster.public_address(node), self.cluster.native_port
                self.proxies[node] = stack.enter_context(proxy(target, public))
            self._replicate_logins()
            self.apply_schema()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _changes(self, **changes: str) -> dict[str, str]:
        points = ",".join(self.cluster.public_address(node) for node in NODES)
        return {"CASSANDRA_CONTACT_POINTS": points, "REPLICATION": "dc1:3", **changes}

    def apply_schema(self, **changes: str) -> None:
        run_schema_apply(self.cluster, KEYSPACE, **self._changes(**changes))

    def execute(self, *statements: str, consistency: int = ConsistencyLevel.QUORUM) -> None:
        """Execute statements as the superuser."""
        environ = superuser_variables(self.cluster, KEYSPACE, **self._changes())
        with cql.connected(environ) as session:
            for statement in statements:
                session.execute(SimpleStatement(statement, consistency_level=consistency))

    def clock_error(self, node: int) -> float:
        """Return by how many seconds the node's clock was ahead when it last wrote to its log."""
        log = self.cluster.folder / f"node{node}" / "system.log"
        dated = re.findall(r"\] (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),\d{3} ", log.read_text())
        return datetime.fromisoformat(dated[-1]).timestamp() - log.stat().st_mtime

    def _replicate_logins(self) -> None:
        """Replicate the logins as K8ssandra does; reading them at ALL repairs old rows."""
        replication = "{'class': 'NetworkTopologyStrategy', 'dc1': 3}"
        alter = f"ALTER KEYSPACE system_auth WITH replication = {replication}"
        reads = [f"SELECT * FROM system_auth.{name}" for name in ("roles", "role_permissions")]

        def done() -> bool:
            try:
                self.execute(alter)
                self.execute(*reads, consistency=ConsistencyLevel.ALL)
            except (ConfigurationException, Unavailable, ReadTimeout):
                return False  # the nodes do not all know of each other yet
            return True

        wait_for(done, seconds=60, what="all three nodes answer")

    def service(self, *, tls: bool = False, **changes: str) -> Server:
        files = {"CA": "ca.pem", "CERT": "client.pem", "KEY": "client.key"}
        if tls:
            changes |= {f"CASSANDRA_TLS_{k}_FILE": str(self.folder / v) for k, v in files.items()}
            changes |= {"CASSANDRA_TLS": "on", "CASSANDRA_TLS_SERVER_NAME": _NAME}
        return Server(variables(self.cluster, KEYSPACE, **self._changes(**changes)))

    def give_certificate(self, *, expired: bool = False) -> None:
        """Write the client certificate of the services."""
        ends = datetime.now(UTC) - timedelta(minutes=1) if expired else None
        give_client_certificate(self.folder, self.authority, ends)

    def kill(self, *nodes: int) -> None:
        """Kill nodes with SIGKILL, all at once."""
        for node in nodes:
            os.kill(self.cluster.pid(node), signal.SIGKILL)
        for node in nodes:
            self.cluster.kill_node(node)
            self.proxies[node].refuse()

    def start(self, *nodes: int, environ: dict[str, str] | None = None) -> None:
        """Start nodes at once and wait until they answer."""
        for node in nodes:
            self.cluster.start_node(node, wait=False, environ=environ)
        for node in nodes:
            self.cluster.wait_node(node)
            self.proxies[node].listen()

    def drop_connections(self, *nodes: int) -> None:
        for node in nodes:
            self.proxies[node].refuse()
            self.proxies[node].listen()

    def mend(self) -> None:
        """Start every node that a failure has left down."""
        self.start(*(node for node in NODES if not self.cluster.running(node)))


@contextmanager
def _disk(folder: Path) -> Iterator[None]:
    """Mount a small disk at this folder."""
    folder.mkdir(parents=True, exist_ok=True)
    size = f"size={_DISK_MIB}m"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def fill(folder: Path) -> Path:
    """Fill the disk of `folder` to the last byte and return the file that fills it."""
    filler = folder / "filler"
    with filler.open("wb") as file:
        try:
            while True:
                os.write(file.fileno(), bytes(1 << 16))
        except OSError:
            return filler


def adjustable_clock(file: Path) -> dict[str, str]:
    """Return variables that shift a process's clock by what the file says, such as `+10m`."""
    tool = toolchain.program("faketime", "faketime")
    told = subprocess.run(
        [tool, "-m", "-f", "+0", "env"], check=True, capture_output=True, text=True
    )
    found = dict(line.split("=", 1) for line in told.stdout.splitlines() if "=" in line)
    return {
        "LD_PRELOAD": found["LD_PRELOAD"],
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_CACHE_DURATION": "1",
        # Java waits by the monotonic clock; it hangs if the library shifts that clock too.
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_FORCE_MONOTONIC_FIX": "0",
    }
