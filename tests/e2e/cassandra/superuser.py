"""Make the superuser of the Secret, as cass-operator does when a new cluster's pods are ready.

The superuser appears LAG_SECONDS after the first answer, as in real life; Jobs that do not retry
fail because of that. This program runs in the service's image, because it needs the driver.
"""

import os
import sys
import time
from typing import Any

from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import Cluster, NoHostAvailable

HOST, USER, PASSWORD = os.environ["HOST"], os.environ["USERNAME"], os.environ["PASSWORD"]
LAG_SECONDS = 15


def login(user: str, password: str) -> Any:
    """Return a session, or None if the login is refused or nobody answers."""
    cluster = Cluster([HOST], auth_provider=PlainTextAuthProvider(user, password))
    try:
        return cluster.connect()
    except NoHostAvailable:
        cluster.shutdown()
        return None


for _ in range(120):
    if login(USER, PASSWORD):
        sys.exit(0)
    if session := login("cassandra", "cassandra"):
        break
    time.sleep(1)
else:
    sys.exit(f"no answer from {HOST}")
time.sleep(LAG_SECONDS)
role = f'CREATE ROLE IF NOT EXISTS "{USER}" WITH SUPERUSER = true AND LOGIN = true'
session.execute(f"{role} AND PASSWORD = %s", (PASSWORD,))
while not (session := login(USER, PASSWORD)):
    time.sleep(1)
session.execute("ALTER ROLE cassandra WITH SUPERUSER = false AND LOGIN = false")
print(f"superuser {USER} made {LAG_SECONDS} s after the first answer")
