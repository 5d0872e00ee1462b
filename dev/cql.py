"""A session of the plain driver, for tests and tools that look at or change Cassandra."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from cassandra import ConsistencyLevel
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable
from cassandra.policies import RoundRobinPolicy
from cassandra.query import tuple_factory

from dev.service import PREFIX

_CONNECT_SECONDS = 60.0


@contextmanager
def connected(environ: Mapping[str, str], keyspace: str | None = None) -> Iterator[Any]:
    """Connect to the Cassandra that the service's variables `environ` name; retry for a minute."""
    until = time.monotonic() + _CONNECT_SECONDS
    while True:
        cluster = _cluster(environ)
        try:
            session = cluster.connect(keyspace)
            break
        except NoHostAvailable:
            cluster.shutdown()
            if time.monotonic() > until:
                raise
            time.sleep(0.5)
    try:
        yield session
    finally:
        cluster.shutdown()


def _cluster(environ: Mapping[str, str]) -> Cluster:
    login = None
    if user := environ.get(f"{PREFIX}CASSANDRA_USERNAME"):
        login = PlainTextAuthProvider(user, environ[f"{PREFIX}CASSANDRA_PASSWORD"])
    profile = ExecutionProfile(
        load_balancing_policy=RoundRobinPolicy(),
        consistency_level=ConsistencyLevel.LOCAL_QUORUM,
        request_timeout=30.0,
        row_factory=tuple_factory,
    )
    return Cluster(
        environ[f"{PREFIX}CASSANDRA_CONTACT_POINTS"].split(","),
        port=int(environ[f"{PREFIX}CASSANDRA_PORT"]),
        auth_provider=login,
        execution_profiles={EXEC_PROFILE_DEFAULT: profile},
        protocol_version=5,
        # Nagle's algorithm and delayed ACK together hold a large batch back for 40-90 ms.
        sockopts=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
    )
