"""The rows of the CQL on standard input as JSON lines, asked as superuser. For `kubectl exec`."""

import json
import os
import sys
from collections.abc import Mapping
from typing import Any

from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import Cluster
from cassandra.query import tuple_factory


def dict_or_text(value: Any) -> Any:
    """A map of the driver's, or anything else that JSON does not know."""
    return dict(value) if isinstance(value, Mapping) else str(value)


login = PlainTextAuthProvider(os.environ["USERNAME"], os.environ["PASSWORD"])
with Cluster([os.environ["HOST"]], auth_provider=login) as cluster:
    session = cluster.connect()
    session.row_factory = tuple_factory
    for row in session.execute(sys.stdin.read()):
        print(json.dumps(row, default=dict_or_text))
