"""A second Cassandra, for tests that kill it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dev.cluster import Cluster
from tests.support import apply_schema

KEYSPACE = "faults"


@pytest.fixture(scope="session")
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One node with the schema in keyspace `faults`; whoever ends the node starts it again."""
    with Cluster(tmp_path_factory.mktemp("mortal")) as cluster:
        apply_schema(cluster, KEYSPACE)
        yield cluster
