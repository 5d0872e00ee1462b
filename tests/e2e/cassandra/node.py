"""Run one node with authentication as process 1 of the stand-in's pod; log to standard error.

The node takes TLS from clients that have a certificate, and also connections without TLS. At port
8080, where the operator's image has its management API, a server without routes stands in for it,
so that the tests of NetworkPolicies find something there that the service must not reach.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from dev.cluster import Cluster

DATA = Path("/var/lib/cassandra")


def stop(*_: object) -> None:
    sys.exit(0)


def main() -> None:
    signal.signal(signal.SIGTERM, stop)
    address = os.environ["POD_IP"]
    seeds = {"seeds": f"{address}:7000"}
    seed_provider = {
        "class_name": "org.apache.cassandra.locator.SimpleSeedProvider",
        "parameters": [seeds],
    }
    node = Cluster(
        DATA,
        auth=True,
        native_port=9042,
        yaml={
            "listen_address": address,
            "storage_port": 7000,
            "rpc_address": "0.0.0.0",
            "broadcast_rpc_address": address,
            "seed_provider": [seed_provider],
            "client_encryption_options": {
                "enabled": True,
                "optional": True,
                "require_client_auth": True,
                "store_type": "PKCS12",
                "keystore": "/tls/keystore.jks",
                "keystore_password": os.environ["STORES_PASSWORD"],
                "truststore": "/tls/truststore.jks",
                "truststore_password": os.environ["STORES_PASSWORD"],
            },
        },
    )
    management = ThreadingHTTPServer((address, 8080), BaseHTTPRequestHandler)
    threading.Thread(target=management.serve_forever, daemon=True).start()
    log = DATA / "node1" / "system.log"
    log.unlink(missing_ok=True)
    try:
        node.start_node(1, wait=False)
        with log.open() as lines:
            while node.running(1):
                sys.stderr.write(lines.read())
                time.sleep(0.2)
            sys.exit(f"Cassandra ended\n{lines.read()}")
    finally:
        node.stop()


if __name__ == "__main__":
    main()
