"""Helpers of white-box tests: settings of the package, and the schema applied in this process.

Black-box tests take `dev.service` and `dev.game_events` instead.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from cassandra.query import PreparedStatement

from dev.cluster import Cluster
from dev.service import superuser_variables, variables
from player_sessions.settings import Settings, load
from player_sessions.store.rows import Inserts
from player_sessions.store.schema import apply as schema_apply


def inserts(**settings: Any) -> Inserts:
    """Return the prepared INSERT statements, made without Cassandra."""
    prepared = PreparedStatement([], b"0123456789abcdef", [], "INSERT", "games", 5, [], None)
    return Inserts(defaultdict(lambda: prepared), Settings(**settings))


def settings_of(cluster: Cluster, keyspace: str, **changes: str) -> Settings:
    """Return the service's settings for a keyspace of this cluster."""
    return load(variables(cluster, keyspace, **changes))


def superuser_of(cluster: Cluster, keyspace: str, **changes: str) -> Settings:
    """Return the settings of `schema apply`, which also creates the service's role."""
    return load(superuser_variables(cluster, keyspace, **changes))


def apply_schema(cluster: Cluster, keyspace: str, **changes: str) -> int:
    """Apply the schema in this process and return the number of changes made."""
    settings = superuser_of(cluster, keyspace, **changes)
    with schema_apply.session(settings, schema_apply.Patience(60, 0), print) as opened:
        return schema_apply.apply(settings, opened, lambda _: None)
