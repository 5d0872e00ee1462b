"""The connection to Cassandra: how it is made, how one statement is sent, what its errors mean.

cassandra-driver's own timers, retries and speculation are left off. They cost a wake-up of its
thread per request and know no common budget, so deadline, second node and retry are decided here,
on our event loop. Not here: what is sent (store, writer) and which schema is accepted (schema).
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from cassandra import (
    AuthenticationFailed,
    ConsistencyLevel,
    OperationTimedOut,
    ReadFailure,
    ReadTimeout,
    Unauthorized,
    Unavailable,
    WriteFailure,
    WriteTimeout,
)
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable
from cassandra.cluster import Session as CassandraSession
from cassandra.connection import Connection, ConnectionException
from cassandra.io.libevreactor import LibevConnection
from cassandra.policies import (
    DCAwareRoundRobinPolicy,
    ExponentialReconnectionPolicy,
    FallthroughRetryPolicy,
    TokenAwarePolicy,
)
from cassandra.protocol import (
    IsBootstrappingErrorMessage,
    OverloadedErrorMessage,
    ServerError,
    TruncateError,
)
from cassandra.query import Statement, tuple_factory

from player_sessions.reactor import LoopConnection, soon
from player_sessions.settings import Settings
from player_sessions.telemetry import metrics
from player_sessions.telemetry.logs import log

Rows = Sequence[tuple[Any, ...]]
Done = Callable[[Rows | None, BaseException | None], None]

STORE_UNAVAILABLE = "store-unavailable"
STORE_TIMEOUT = "store-timeout"
STORE_OVERLOADED = "store-overloaded"


class StoreError(Exception):
    """Cassandra could not do it now; sending again is safe. `reason` is one of the above."""

    def __init__(self, reason: str, detail: str, *, one_range: bool = False) -> None:
        super().__init__(detail)
        self.reason = reason
        # True where only some partitions of a batch may be at fault.
        self.one_range = one_range


def translate(error: BaseException) -> BaseException:
    """The StoreError that a driver's error amounts to, or the error itself if it is our bug."""
    if isinstance(error, StoreError):
        return error
    if isinstance(error, Unavailable):
        return StoreError(STORE_UNAVAILABLE, "too few replicas are up", one_range=True)
    if isinstance(error, WriteTimeout | ReadTimeout):
        return StoreError(STORE_TIMEOUT, "too few replicas answered in time", one_range=True)
    if isinstance(error, WriteFailure | ReadFailure):
        return StoreError(STORE_UNAVAILABLE, "too few replicas succeeded", one_range=True)
    if isinstance(error, OverloadedErrorMessage):
        return StoreError(STORE_OVERLOADED, "Cassandra is overloaded")
    if isinstance(error, OperationTimedOut):
        return StoreError(STORE_TIMEOUT, "Cassandra did not answer in time")
    # Also what a node says that cannot read the role's grants, since their quorum is lost too.
    if isinstance(error, Unauthorized):
        return StoreError(STORE_UNAVAILABLE, "Cassandra does not grant it")
    if isinstance(
        error,
        NoHostAvailable
        | ConnectionException
        | IsBootstrappingErrorMessage
        | ServerError
        | TruncateError
        | AuthenticationFailed,
    ):
        return StoreError(STORE_UNAVAILABLE, "no node of Cassandra could do it")
    return error


class Budget:
    """Grants extra work up to a share of the requests of the last minute, and a little at rest."""

    SECONDS = 60
    # Lets a frozen node be outlived soon after the start, and at any low rate.
    AT_REST = 100

    def __init__(
        self,
        share: float,
        clock: Callable[[], float] = time.monotonic,
        *,
        at_rest: int = AT_REST,
    ) -> None:
        self._share = share
        self._at_rest = at_rest
        self._clock = clock
        self._slots: deque[list[int]] = deque()  # [second, requests, extras]
        self._requests = 0
        self._extras = 0

    def count(self) -> None:
        """One more request."""
        self._slot()[1] += 1
        self._requests += 1

    def take(self) -> bool:
        """Whether one extra may be done now; if so it is counted."""
        slot = self._slot()
        if not self._share or self._extras >= self._at_rest + self._share * self._requests:
            return False
        slot[2] += 1
        self._extras += 1
        return True

    def _slot(self) -> list[int]:
        second = int(self._clock())
        slots = self._slots
        if slots and slots[-1][0] == second:
            return slots[-1]
        while slots and slots[0][0] <= second - self.SECONDS:
            _, requests, extras = slots.popleft()
            self._requests -= requests
            self._extras -= extras
        slots.append([second, 0, 0])
        return slots[-1]


class Client:
    """One connected driver, its session, and the sending of single statements."""

    def __init__(self, settings: Settings, loop: asyncio.AbstractEventLoop) -> None:
        """Connects, which blocks for seconds; raises the driver's errors."""
        self._loop = loop
        self._speculation_after = settings.speculation_after
        # Nodes that keep a request waiting. They are asked last until they answer, so that a frozen
        # one does not use up the budget until the driver's heartbeat finds it.
        self._late: set[Any] = set()
        self.policy = TokenAwarePolicy(
            DCAwareRoundRobinPolicy(local_dc=settings.cassandra_local_dc)
        )
        self.cluster = build_cluster(settings, self.policy, connection=LoopConnection.on(loop))
        try:
            self.session: CassandraSession = self.cluster.connect()
        except BaseException:
            self.cluster.shutdown()
            raise

    def shutdown(self) -> None:
        self.cluster.shutdown()

    def nodes(self) -> tuple[int, int]:
        """How many nodes are up, and how many are not."""
        hosts = self.cluster.metadata.all_hosts()
        up = sum(bool(host.is_up) for host in hosts)
        return up, len(hosts) - up

    def connections(self) -> int:
        """Open connections, the control connection not counted."""
        pools = self.session.get_pool_state().values()
        return sum(pool["open_count"] for pool in pools)

    def _plan(self, statement: Statement) -> Iterator[Any]:
        """The nodes to ask, in this order."""
        plan: Iterator[Any] = self.policy.make_query_plan(None, statement)
        return iter(sorted(plan, key=self._late.__contains__)) if self._late else plan

    def send(
        self,
        statement: Statement,
        deadline: float,
        budget: Budget,
        done: Done,
    ) -> None:
        """Send it, and call `done(rows, error)` once, on the event loop, by `deadline` seconds."""
        _Attempts(self, statement, deadline, budget, done).start()

    async def fetch(self, statement: Statement, deadline: float, budget: Budget) -> Rows:
        """The rows of it; raises StoreError, or what else the driver raised."""
        future: asyncio.Future[Rows] = self._loop.create_future()

        def done(rows: Rows | None, error: BaseException | None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(rows or ())
            else:
                future.set_exception(error)

        self.send(statement, deadline, budget, done)
        return await future


class _Attempts:
    """One statement under way: the first node, a second when it is slow, one retry. First wins."""

    __slots__ = (
        "_asked", "_begun", "_budget", "_client", "_deadline", "_done", "_open", "_plan",
        "_retried", "_statement", "_timer",
    )  # fmt: skip

    def __init__(
        self,
        client: Client,
        statement: Statement,
        deadline: float,
        budget: Budget,
        done: Done,
    ) -> None:
        self._client = client
        self._statement = statement
        self._deadline = deadline
        self._budget = budget
        self._done: Done | None = done
        self._plan = client._plan(statement)
        self._asked: Any = None
        self._open = 0
        self._retried = False
        self._begun = client._loop.time()
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._budget.count()
        wait = self._client._speculation_after
        then = self._speculate if wait < self._deadline else self._expire
        self._timer = self._client._loop.call_later(min(wait, self._deadline), then)
        self._ask_next(StoreError(STORE_UNAVAILABLE, "no node of Cassandra is up"))

    def _ask_next(self, otherwise: BaseException) -> None:
        """Ask the next node of the plan; where there is none and nothing is open, give up."""
        host = next(self._plan, None)
        if host is not None:
            self._open += 1
            self._asked = host
            future = self._client.session.execute_async(self._statement, timeout=None, host=host)
            future.add_callbacks(
                self._answered, self._failed, callback_args=(host,), errback_args=(host,)
            )
        elif not self._open:
            self._finish(None, otherwise)

    # The driver calls these two: on our loop, in the midst of its own work, or on a thread of its.
    def _answered(self, rows: Any, host: Any) -> None:
        soon(self._client._loop, self._on_rows, rows, host)

    def _failed(self, error: BaseException, host: Any) -> None:
        soon(self._client._loop, self._on_error, error, host)

    def _on_rows(self, rows: Any, host: Any) -> None:
        self._client._late.discard(host)
        self._finish(rows, None)

    def _on_error(self, error: BaseException, host: Any) -> None:
        self._client._late.discard(host)
        self._open -= 1
        if self._done is None:
            return
        fault = translate(error)
        if isinstance(error, NoHostAvailable):  # never sent: the next node costs no budget
            self._ask_next(fault)
        elif self._may_retry(fault):
            self._retried = True
            metrics.STORE_EXTRA.labels("retry").inc()
            self._ask_next(fault)
        elif not self._open:
            self._finish(None, fault)

    def _may_retry(self, fault: BaseException) -> bool:
        return (
            isinstance(fault, StoreError)
            and fault.reason != STORE_OVERLOADED
            and not self._retried
            and self._budget.take()
        )

    def _speculate(self) -> None:
        left = self._deadline - (self._client._loop.time() - self._begun)
        self._timer = self._client._loop.call_later(max(0.0, left), self._expire)
        self._client._late.add(self._asked)
        if self._budget.take():
            metrics.STORE_EXTRA.labels("speculation").inc()
            self._ask_next(StoreError(STORE_UNAVAILABLE, "no other node of Cassandra is up"))

    def _expire(self) -> None:
        self._finish(None, StoreError(STORE_TIMEOUT, "Cassandra did not answer in time"))

    def _finish(self, rows: Rows | None, error: BaseException | None) -> None:
        done, self._done = self._done, None
        if done is not None:
            if self._timer is not None:
                self._timer.cancel()
            done(rows, error)


def build_cluster(
    settings: Settings,
    policy: Any = None,
    *,
    timeout: float = 10.0,
    connection: type[Connection] = LibevConnection,
) -> Cluster:
    """The driver, not yet connected; `timeout` is for statements sent by its own `execute`."""
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
    def load() -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=settings.cassandra_tls_ca_file or None)
        context.check_hostname = settings.cassandra_tls_check_name
        if settings.cassandra_tls_cert_file:
            context.load_cert_chain(
                settings.cassandra_tls_cert_file, settings.cassandra_tls_key_file
            )
        return context

    class Reloaded(ssl.SSLContext):
        """Reads the files again for each connection, so that a renewed certificate is taken."""

        def wrap_socket(self, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
            return load().wrap_socket(*args, **kwargs)

    load()  # a bad file is an error now, not at the first connection
    if not settings.cassandra_tls_check_name:
        log.warning("the name in Cassandra's certificate is not checked")
    context = Reloaded(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = settings.cassandra_tls_check_name  # the driver asks this one
    return context


def _tls_options(settings: Settings) -> dict[str, str] | None:
    name = settings.cassandra_tls_server_name
    return {"server_hostname": name} if name else None
