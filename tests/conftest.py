"""One real Cassandra for the whole run, with authentication on, in a folder of its own."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from dev.cluster import Cluster
from dev.service import Server, Service, new_keyspace, run_schema_apply, variables

# The URL of a running service, such as one in a cluster (`make e2e`).
_TEST = "PLAYER_SESSIONS_DEV_TEST"
TEST_URL = os.environ.get(f"{_TEST}_URL")

# A machine may be slow, so no example is judged by its time.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")

# The nodes of tests end long before the code of Java's second compiler pays for its making, which
# is half of what a start costs. Every program of Java that a test starts takes this variable.
os.environ.setdefault("JAVA_TOOL_OPTIONS", "-XX:TieredStopAtLevel=1")

# A shell that starts `make test` in the background makes it and its children ignore SIGINT.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def cassandra(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cassandra"), auth=True) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def keyspace(cassandra: Cluster) -> str:
    """Share a keyspace with the schema and a year's retention; each test uses its own players."""
    name = new_keyspace()
    run_schema_apply(cassandra, name)
    return name


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> Iterator[Service]:
    """Share one service among tests that do not stop it: a process, or the one at TEST_URL."""
    if TEST_URL:
        operations = os.environ.get(f"{_TEST}_OPERATIONS_URL", TEST_URL)
        service = Service(TEST_URL, operations, os.environ.get(f"{_TEST}_KEY", ""))
        with service.http:
            yield service
        return
    environ = variables(request.getfixturevalue("cassandra"), request.getfixturevalue("keyspace"))
    with Server(environ) as running:
        yield running.ready()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """For a service at TEST_URL, keep only the tests that any caller could run."""
    if TEST_URL:
        items[:] = [item for item in items if _is_black_box(getattr(item, "fixturenames", []))]


def _is_black_box(fixtures: list[str]) -> bool:
    return "server" in fixtures and not {"cassandra", "mortal", "keyspace"} & set(fixtures)
