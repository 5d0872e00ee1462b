"""How the driver is set up and connected: addresses, login, TLS, protocol and timeouts.

The driver's own retries and speculation are left off: `requests` decides both on our event loop,
under one budget.

Two facts about the driver are not documented; `tests/guards/test_guard_cassandra_driver.py` checks
them: a connection with TLS asks its `ssl_context` for `check_hostname` and `wrap_socket`.
"""

from __future__ import annotations

import socket
import ssl
from typing import Any

from cassandra import ConsistencyLevel, OperationTimedOut, UnresolvableContactPoints
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import (
    EXEC_PROFILE_DEFAULT,
    Cluster,
    ExecutionProfile,
    NoHostAvailable,
    Session,
)
from cassandra.connection import Connection, ConnectionException
from cassandra.policies import (
    DCAwareRoundRobinPolicy,
    ExponentialReconnectionPolicy,
    FallthroughRetryPolicy,
)
from cassandra.query import tuple_factory

from player_sessions.rules.reasons import NOT_READY
from player_sessions.settings import PREFIX, Settings
from player_sessions.store.errors import StoreError, describe, login_refused
from player_sessions.telemetry.logs import log

# A headless Service without ready pods has no addresses, so a name without one is an absence too.
_ABSENT = (NoHostAvailable, UnresolvableContactPoints, OperationTimedOut, ConnectionException)


class NotConnected(StoreError):
    """There is no connection to Cassandra; the text says where it was looked for, and why not."""

    def __init__(self, settings: Settings, reason: str, *, login_refused: bool) -> None:
        super().__init__(NOT_READY, f"no connection to Cassandra at {where(settings)}: {reason}")
        self.login_refused = login_refused


def where(settings: Settings) -> str:
    """Return the contact points and the port, for messages."""
    return f"{','.join(settings.cassandra_contact_points)}, port {settings.cassandra_port}"


def connect(
    settings: Settings,
    policy: Any = None,
    *,
    timeout: float = 10.0,
    connection: type[Connection] | None = None,
) -> tuple[Cluster, Session]:
    """Return the driver and its session, connected, which blocks for seconds.

    Raises NotConnected, or OSError or ValueError when a file for TLS is bad.
    """
    cluster = None
    nameless = _without_address(settings)
    try:
        cluster = build_cluster(settings, policy, timeout=timeout, connection=connection)
        session = cluster.connect()
    except BaseException as error:
        if cluster is not None:
            cluster.shutdown()
        if not isinstance(error, _ABSENT):
            raise
        reason = _datacenter_missing(settings, cluster) or "; ".join([describe(error), *nameless])
        raise NotConnected(settings, reason, login_refused=login_refused(error)) from error
    if nameless:
        log.warning("some contact points have no address", cause="; ".join(nameless))
    return cluster, session


def _without_address(settings: Settings) -> list[str]:
    """Return for each contact point whose address cannot be found its name and the reason."""
    found = []
    for name in settings.cassandra_contact_points:
        try:
            socket.getaddrinfo(name, settings.cassandra_port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            found.append(f"{name}: {describe(error)}")
    return found


def _datacenter_missing(settings: Settings, cluster: Cluster | None) -> str | None:
    """Return that the local datacenter does not exist, if the nodes that were found say so."""
    hosts = cluster.metadata.all_hosts() if cluster is not None else []
    known = sorted({host.datacenter for host in hosts if host.datacenter})
    if not known or settings.cassandra_local_dc in known:
        return None
    return (
        f"Cassandra has no datacenter {settings.cassandra_local_dc!r}"
        f" ({PREFIX}CASSANDRA_LOCAL_DC); it has {', '.join(known)}"
    )


def build_cluster(
    settings: Settings,
    policy: Any = None,
    *,
    timeout: float = 10.0,
    connection: type[Connection] | None = None,
) -> Cluster:
    """Return the driver, not yet connected.

    `timeout` is for statements sent by the driver's own `execute`. Without a `connection` the
    driver chooses its own reactor, which has a thread of its own and needs no loop of ours.
    """
    login = None
    if settings.cassandra_username:
        login = PlainTextAuthProvider(settings.cassandra_username, settings.cassandra_password)
    profile = ExecutionProfile(
        load_balancing_policy=policy
        or DCAwareRoundRobinPolicy(local_dc=settings.cassandra_local_dc),
        retry_policy=FallthroughRetryPolicy(),
        consistency_level=ConsistencyLevel.LOCAL_QUORUM,
        serial_consistency_level=ConsistencyLevel.LOCAL_SERIAL,
        request_timeout=timeout,
        row_factory=tuple_factory,
    )
    return Cluster(
        list(settings.cassandra_contact_points),
        port=settings.cassandra_port,
        auth_provider=login,
        execution_profiles={EXEC_PROFILE_DEFAULT: profile},
        protocol_version=5,
        connection_class=connection,
        reconnection_policy=ExponentialReconnectionPolicy(0.5, 10.0, max_attempts=None),
        # Nagle's algorithm and delayed ACK together hold a batch over 4 KB back for 40-90 ms.
        sockopts=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
        idle_heartbeat_interval=5,
        idle_heartbeat_timeout=5,
        connect_timeout=5,
        control_connection_timeout=5,
        ssl_context=_tls_context(settings) if settings.cassandra_tls else None,
        ssl_options=_tls_options(settings) if settings.cassandra_tls else None,
    )


def _tls_context(settings: Settings) -> ssl.SSLContext:
    """Return a context that reads its files again for each connection.

    A renewed certificate is then used from the next connection on.
    """

    def load() -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=settings.cassandra_tls_ca_file or None)
        context.check_hostname = settings.cassandra_tls_check_name
        if settings.cassandra_tls_cert_file:
            context.load_cert_chain(
                settings.cassandra_tls_cert_file, settings.cassandra_tls_key_file
            )
        return context

    class Reloaded(ssl.SSLContext):
        def wrap_socket(self, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
            return load().wrap_socket(*args, **kwargs)

    load()  # a bad file is reported now and not at the first connection
    if not settings.cassandra_tls_check_name:
        log.warning("the name in Cassandra's certificate is not checked")
    context = Reloaded(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = settings.cassandra_tls_check_name  # the driver asks this one
    return context


def _tls_options(settings: Settings) -> dict[str, str] | None:
    name = settings.cassandra_tls_server_name
    return {"server_hostname": name} if name else None
