"""A service and a Cassandra node of a program's own, in a temporary folder."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dev.cluster import Cluster, NodeFailed
from dev.service import Server, new_keyspace, run_schema_apply, variables
from dev.toolchain import MissingTool

# Errors of the start that become a message for people instead of a stack trace.
START_ERRORS = (NodeFailed, MissingTool, AssertionError)


@contextmanager
def own_service(program: str, **settings: str) -> Iterator[Server]:
    """Start both, wait until the service is ready, and end both."""
    with (
        tempfile.TemporaryDirectory(prefix=f"{program}-") as folder,
        Cluster(Path(folder)) as cluster,
    ):
        keyspace = new_keyspace()
        run_schema_apply(cluster, keyspace)
        with Server(variables(cluster, keyspace, **settings)) as service:
            yield service.ready()


def memory_mib(pid: int, field: str = "VmRSS") -> float:
    """Return a process's resident memory now (VmRSS) or at its highest so far (VmHWM)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise OSError(f"process {pid} has no {field}: it has ended")
