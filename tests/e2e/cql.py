"""Print the rows of the CQL on standard input as JSON lines, as superuser; for `kubectl exec`."""

import json
import os
import sys
from collections.abc import Mapping
from typing import Any

from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import Cluster
from cassandra.query import tuple_factory


def dict_or_text(value: Any) -> Any:
    """Return a map of the driver as a dict, and any other value unknown to JSON as text."""
    return dict(value) if isinstance(value, Mapping) else str(value)


login = PlainTextAuthProvider(os.environ["USERNAME"], os.environ["PASSWORD"])
with Cluster([os.environ["HOST"]], auth_provider=login) as cluster:
    session = cluster.connect()
    session.row_factory = tuple_factory
    for row in session.execute(sys.stdin.read()):
        print(json.dumps(row, default=dict_or_text))
