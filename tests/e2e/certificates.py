"""The certificates of Cassandra and the service, in Secrets that both mount.

The Secrets have the names and keys that cert-manager writes for k8s/k8ssandra/prod.
"""

from __future__ import annotations

import base64
import json
import tempfile
from pathlib import Path

import trustme

from dev.certificates import PASSWORD, give_client_certificate, stores
from tests.e2e.playground import Playground

NAME = "player-sessions-dc1-service"
SECRET = "player-sessions-cassandra-tls"
STORES = "player-sessions-cassandra-stores"


def secrets(authority: trustme.CA) -> str:
    """Return the manifests of both Secrets, with certificates of this authority."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        stores(folder, authority, NAME)
        give_client_certificate(folder, authority)
        authority.cert_pem.write_to_path(str(folder / "ca.pem"))
        files = {
            "ca.crt": "ca.pem",
            "tls.crt": "client.pem",
            "tls.key": "client.key",
            "keystore.jks": "node.p12",
            "truststore.jks": "trusted.p12",
        }
        data = {
            key: base64.b64encode((folder / name).read_bytes()).decode()
            for key, name in files.items()
        }
    password = {"password": base64.b64encode(PASSWORD.encode()).decode()}
    made_secrets = {SECRET: data, STORES: password}
    items = [
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": entries}
        for name, entries in made_secrets.items()
    ]
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})


def give_certificates(run: Playground) -> trustme.CA:
    """Create or replace the Secrets; return their authority."""
    authority = trustme.CA()
    run.kubectl("apply", "--filename", "-", given=secrets(authority))
    return authority
