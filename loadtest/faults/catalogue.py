"""The failures of Cassandra under which the promises must hold.

Each is a context manager: entering it causes the failure, leaving it ends the failure.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial

from dev.service import PASSWORD, freeze, wait_for
from loadtest.faults.world import KEYSPACE, NODES, World, adjustable_clock, fill

_TABLES = ("session_starts", "session_ends")


@dataclass(frozen=True)
class Fault:
    """A kind of failure.

    hold: how many seconds it lasts. outage: requests must fail meanwhile, with an honest answer.
    loses: Cassandra may lose what it acknowledged; how much is measured.
    """

    name: str
    what: str
    inflict: Callable[[World], AbstractContextManager[None]]
    hold: float = 10.0
    outage: bool = False
    tls: bool = False
    loses: bool = False


@contextmanager
def _killed(world: World, node: int) -> Iterator[None]:
    world.kill(node)
    yield
    world.start(node)


@contextmanager
def _frozen(world: World, node: int) -> Iterator[None]:
    pid = world.cluster.pid(node)
    freeze(pid)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextmanager
def _quorum_lost(world: World) -> Iterator[None]:
    world.kill(2, 3)
    yield
    world.start(2)  # two nodes are a quorum again; `mend` starts the third


@contextmanager
def _rolling_restart(world: World) -> Iterator[None]:
    for node in NODES:
        world.cluster.stop_node(node)
        world.start(node)
    yield


@contextmanager
def _all_killed(world: World) -> Iterator[None]:
    world.kill(*NODES)
    yield
    world.start(*NODES)


@contextmanager
def _slow(world: World, node: int) -> Iterator[None]:
    world.proxies[node].latency = 0.2
    yield
    world.proxies[node].latency = 0.0


@contextmanager
def _lossy(world: World) -> Iterator[None]:
    proxies = world.proxies.values()
    for proxy in proxies:
        proxy.lost = 0.01
    # No request need fail: the service sends again what did not arrive.
    wait_for(lambda: any(proxy.damaged for proxy in proxies), what="a byte is lost")
    yield
    for proxy in proxies:
        proxy.lost = 0.0


@contextmanager
def _silent(world: World, node: int) -> Iterator[None]:
    world.proxies[node].silent = True
    yield
    world.proxies[node].silent = False
    world.drop_connections(node)  # they cannot go on without the dropped bytes


@contextmanager
def _cut(world: World, node: int) -> Iterator[None]:
    world.proxies[node].cutting = True
    yield
    world.proxies[node].cutting = False


@contextmanager
def _refusing(world: World, node: int) -> Iterator[None]:
    world.proxies[node].refuse()
    yield
    world.proxies[node].listen()


@contextmanager
def _disk_full(world: World) -> Iterator[None]:
    filler = fill(world.disk)
    yield
    filler.unlink()
    # disk_failure_policy is `stop`: such a node serves nobody until it is restarted.
    world.kill(3)
    world.start(3)


@contextmanager
def _clock(world: World, minutes: int) -> Iterator[None]:
    """Change the clock while the node runs.

    Cassandra does not admit a node that starts with a wrong clock.
    """
    file = world.folder / "clock"
    file.write_text("+0")
    world.kill(2)
    world.start(2, environ=adjustable_clock(file))
    file.write_text(f"{minutes:+d}m")
    wait_for(lambda: abs(world.clock_error(2) - 60 * minutes) < 60, what="the node's wrong clock")
    yield
    file.write_text("+0")


@contextmanager
def _schema_change(world: World) -> Iterator[None]:
    """Apply another retention and add a column; then undo both."""
    world.apply_schema(RETENTION="200d")
    world.execute(*(f"ALTER TABLE {KEYSPACE}.{name} ADD note text" for name in _TABLES))
    yield
    world.execute(*(f"ALTER TABLE {KEYSPACE}.{name} DROP note" for name in _TABLES))
    world.apply_schema()


@contextmanager
def _wrong_password(world: World) -> Iterator[None]:
    password = PASSWORD.replace("'", "''")
    world.execute(f"ALTER ROLE {KEYSPACE} WITH PASSWORD = 'another'")
    world.drop_connections(*NODES)
    yield
    world.execute(f"ALTER ROLE {KEYSPACE} WITH PASSWORD = '{password}'")


@contextmanager
def _lost_grants(world: World) -> Iterator[None]:
    grants = [f"{right} ON KEYSPACE {KEYSPACE}" for right in ("SELECT", "MODIFY")]
    world.execute(*(f"REVOKE {grant} FROM {KEYSPACE}" for grant in grants))
    yield
    world.execute(*(f"GRANT {grant} TO {KEYSPACE}" for grant in grants))


@contextmanager
def _expired_certificate(world: World) -> Iterator[None]:
    world.give_certificate(expired=True)
    world.drop_connections(*NODES)
    yield
    world.give_certificate()


ALL_KILLED = Fault(
    "all-killed", "every node killed with -9 at once", _all_killed, hold=2, outage=True
)
DISK_FULL = Fault("disk-full", "a node with a full disk", _disk_full)  # needs World's small disk
PERIODIC = Fault(
    "all-killed-periodic",
    "every node killed with -9 at once, commit log synced every 10 s",
    _all_killed,
    hold=2,
    outage=True,
    loses=True,
)
FAULTS = (
    *(Fault(f"kill-{n}", f"kill -9 of node {n}", partial(_killed, node=n), hold=5) for n in NODES),
    Fault("frozen", "a node stopped by SIGSTOP for 20 s", partial(_frozen, node=1), hold=20),
    Fault("quorum-lost", "two nodes down", _quorum_lost, outage=True),
    Fault("rolling-restart", "rolling restart of all nodes", _rolling_restart, hold=0),
    ALL_KILLED,
    Fault("slow", "a node slow by 200 ms each way", partial(_slow, node=1)),
    Fault("lossy", "1 % of the data to and from every node loses a byte", _lossy),
    Fault("silent", "a network that drops everything to and from a node", partial(_silent, node=2)),
    Fault("cut", "a node whose answers are cut in the middle of a frame", partial(_cut, node=3)),
    Fault("refusing", "a node that refuses connections", partial(_refusing, node=1)),
    DISK_FULL,
    Fault("clock-ahead", "a node's clock 10 min ahead", partial(_clock, minutes=10), 20),
    Fault("clock-behind", "a node's clock 10 min behind", partial(_clock, minutes=-10), 20),
    Fault("schema-change", "schema changed under load", _schema_change, hold=5),
    Fault("wrong-password", "the role's password changed", _wrong_password, outage=True),
    Fault("lost-grants", "the role's grants revoked", _lost_grants, outage=True),
    Fault(
        "expired-certificate", "an expired client certificate", _expired_certificate, outage=True,
        tls=True,
    ),
)  # fmt: skip
