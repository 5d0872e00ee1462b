"""One real Cassandra for the whole run, with authentication on, in a folder of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dev.cluster import Cluster
from tests.support import Server, apply_schema, new_keyspace, variables


@pytest.fixture(scope="session")
def cassandra(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cassandra"), auth=True) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def keyspace(cassandra: Cluster) -> str:
    """A keyspace with the schema and a year's retention, shared: tests use players of their own."""
    name = new_keyspace()
    apply_schema(cassandra, name)
    return name


@pytest.fixture(scope="session")
def server(cassandra: Cluster, keyspace: str) -> Iterator[Server]:
    """One service process, shared by tests that do not stop it."""
    with Server(variables(cassandra, keyspace)) as running:
        yield running.ready()
