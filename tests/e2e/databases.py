"""The Cassandra of the steps: a stand-in under K8ssandra's names, or a real K8ssandraCluster."""

from __future__ import annotations

import json
from typing import Any, Protocol

import yaml

from dev.charttools import ROOT
from tests.e2e.certificates import SECRET, STORES
from tests.e2e.playground import HERE, NAMESPACE, Playground

POD = "player-sessions-dc1-default-sts-0"
MANIFEST = str(HERE / "cassandra" / "manifest.yaml")
SUPERUSER = "secret/player-sessions-superuser"


class Database(Protocol):
    """What the steps do with Cassandra besides restarting its pod."""

    def create(self, run: Playground) -> None:
        """Create it, and return as soon as the superuser's Secret is there."""

    def delete(self, run: Playground) -> None:
        """Delete it with its data, and wait until it is gone."""


class StandIn:
    """The StatefulSet, Services and Secret that the operators would make."""

    def create(self, run: Playground) -> None:
        run.kubectl("apply", "--filename", MANIFEST)

    def delete(self, run: Playground) -> None:
        run.kubectl("delete", "--filename", MANIFEST, "--ignore-not-found", "--wait")
        run.kubectl("delete", "persistentvolumeclaims", "--all", "--wait")


class Operators:
    """k8s/k8ssandra/dev with the steps' certificates, made by operators that are installed."""

    def create(self, run: Playground) -> None:
        # The pods of cass-operator do not fit the profile `restricted`.
        label = "pod-security.kubernetes.io/enforce=baseline"
        run.kubectl("label", "--overwrite", "namespace", NAMESPACE, label)
        run.kubectl("apply", "--filename", "-", given=json.dumps(cluster()))
        found = ("get", SUPERUSER, "--ignore-not-found", "--output=name")
        run.until(lambda: run.kubectl(*found), "the operator makes the superuser's Secret")

    def delete(self, run: Playground) -> None:
        run.kubectl("delete", "k8ssandraclusters", "--all", "--wait", "--timeout=10m")


def cluster() -> dict[str, Any]:
    """Return the development cluster, which takes TLS from clients that have a certificate."""
    file = ROOT / "k8s" / "k8ssandra" / "dev" / "cluster.yaml"
    made: dict[str, Any] = yaml.safe_load(file.read_text())
    cassandra = made["spec"]["cassandra"]
    password = {"name": STORES, "key": "password"}
    cassandra["clientEncryptionStores"] = {
        "keystoreSecretRef": {"name": SECRET, "key": "keystore.jks"},
        "keystorePasswordSecretRef": password,
        "truststoreSecretRef": {"name": SECRET, "key": "truststore.jks"},
        "truststorePasswordSecretRef": password,
    }
    cassandra["config"]["cassandraYaml"]["client_encryption_options"] = {
        "enabled": True,
        "optional": True,
        "require_client_auth": True,
        "store_type": "PKCS12",
    }
    return made
