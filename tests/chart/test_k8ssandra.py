"""The manifests of k8s/k8ssandra, without a cluster: against the operators' own schemas, against
what their webhooks refuse and what they write, and on a real Cassandra."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import trustme
import yaml

from dev.cluster import Cluster
from player_sessions.schema import apply as schema_apply
from player_sessions.settings import load
from tests.support import superuser_of
from tests.tls import stores

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "k8s" / "k8ssandra"
SCHEMAS = Path(__file__).parent / "schemas"
# Kinds of Kubernetes, kubectl and cert-manager, which have no schema here.
OTHERS = {"Namespace", "Kustomization", "Issuer", "Certificate"}
# What cert-manager writes into the Secret of a certificate with a JKS key store.
WRITTEN = {"ca.crt", "tls.crt", "tls.key", "keystore.jks", "truststore.jks"}


def documents(folder: Path) -> list[dict[str, Any]]:
    files = sorted(folder.rglob("*.yaml"))
    return [each for file in files for each in yaml.safe_load_all(file.read_text())]


def the_one(folder: Path, kind: str, name: str | None = None) -> dict[str, Any]:
    found = [
        each
        for each in documents(folder)
        if each["kind"] == kind and (name is None or each["metadata"]["name"] == name)
    ]
    assert len(found) == 1, f"{kind} {name} in {folder}: {len(found)}"
    return found[0]


def complaints(document: dict[str, Any]) -> list[str]:
    """What the operator's schema does not like."""
    group, _, version = document["apiVersion"].partition("/")
    file = SCHEMAS / f"{group}_{document['kind'].lower()}_{version}.json"
    validator = jsonschema_rs.validator_for(json.loads(file.read_text()))
    return [f"{error.instance_path}: {error.message}" for error in validator.iter_errors(document)]


@pytest.fixture(params=["dev", "prod"])
def folder(request: pytest.FixtureRequest) -> Path:
    return FOLDER / str(request.param)


@pytest.fixture
def cluster(folder: Path) -> dict[str, Any]:
    return the_one(folder, "K8ssandraCluster")


def test_every_custom_resource_fits_the_schema_of_its_operator(folder: Path) -> None:
    custom = [each for each in documents(folder) if each["kind"] not in OTHERS]
    assert custom
    for each in custom:
        assert complaints(each) == []


def test_a_misspelt_field_and_a_wrong_type_are_found(cluster: dict[str, Any]) -> None:
    wrong = copy.deepcopy(cluster)
    wrong["spec"]["cassandra"]["softPodAntiaffinity"] = False
    wrong["spec"]["cassandra"]["datacenters"][0]["size"] = "three"
    found = " ".join(complaints(wrong))
    assert "softPodAntiaffinity" in found
    assert "three" in found


def test_the_kustomization_takes_in_every_file_beside_it(folder: Path) -> None:
    listed = yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]
    beside = {file.name for file in folder.glob("*.yaml")} - {"kustomization.yaml"}
    assert set(listed) == beside
    namespace = the_one(folder, "Namespace")["metadata"]["name"]
    assert the_one(folder, "Kustomization")["namespace"] == namespace


def test_the_names_are_those_that_clients_and_the_chart_expect(cluster: dict[str, Any]) -> None:
    cassandra = cluster["spec"]["cassandra"]
    assert cluster["metadata"]["name"] == "player-sessions"
    assert [each["metadata"]["name"] for each in cassandra["datacenters"]] == ["dc1"]
    for place in (cassandra, *cassandra["datacenters"]):
        # With either the Services' and the Secret's names, or the driver's, part ways.
        assert not {"clusterName", "datacenterName"} & place.keys()


def test_the_webhooks_of_the_operators_take_the_cluster(cluster: dict[str, Any]) -> None:
    spec = cluster["spec"]
    cassandra = spec["cassandra"]
    assert cassandra["storageConfig"]["cassandraDataVolumeClaimSpec"]["storageClassName"]
    for datacenter in cassandra["datacenters"]:
        racks = [each["name"] for each in datacenter.get("racks", [{"name": "default"}])]
        assert datacenter["size"] % len(racks) == 0
        for rack in racks:
            name = f"{cluster['metadata']['name']}-{datacenter['metadata']['name']}-{rack}-sts"
            assert len(name) <= 60
    if "medusa" in spec:
        assert {"storageProvider", "bucketName", "prefix"} <= spec["medusa"][
            "storageProperties"
        ].keys()
    if "reaper" in spec:
        claim = spec["reaper"]["storageConfig"]
        assert claim["accessModes"]
        assert claim["resources"]["requests"]["storage"]
        assert spec["reaper"]["deploymentMode"] == "SINGLE"  # PER_DC wants Cassandra's storage


def test_authentication_is_on(cluster: dict[str, Any]) -> None:
    assert cluster["spec"].get("auth", True) is True
    written = cluster["spec"]["cassandra"]["config"]["cassandraYaml"]
    assert not {"authenticator", "authorizer", "role_manager"} & written.keys()


def test_the_largest_group_commit_passes_without_a_warning(cluster: dict[str, Any]) -> None:
    written = cluster["spec"]["cassandra"]["config"]["cassandraYaml"]
    rows = load({}).writer_batch_rows
    assert written["unlogged_batch_across_partitions_warn_threshold"] >= rows


def test_production_has_a_replica_in_each_of_three_zones() -> None:
    cluster = the_one(FOLDER / "prod", "K8ssandraCluster")["spec"]["cassandra"]
    datacenter = cluster["datacenters"][0]
    zones = {str(rack["nodeAffinityLabels"]) for rack in datacenter["racks"]}
    assert len(zones) == len(datacenter["racks"]) == 3
    assert cluster["softPodAntiAffinity"] is False
    kept = datacenter["metadata"]["annotations"]["cassandra.datastax.com/delete-pvc"]
    assert kept == "false"  # a string: annotations have no other type


def test_what_production_takes_from_the_certificate_is_in_it() -> None:
    folder = FOLDER / "prod"
    spec = the_one(folder, "K8ssandraCluster")["spec"]
    certificate = the_one(folder, "Certificate", "player-sessions-cassandra-tls")["spec"]
    password = certificate["keystores"]["jks"]["passwordSecretRef"]
    taken = [
        reference
        for stores_of in (
            spec["cassandra"]["clientEncryptionStores"],
            spec["cassandra"]["serverEncryptionStores"],
            spec["medusa"]["clientEncryptionStores"],
        )
        for reference in stores_of.values()
    ]
    assert len(taken) == 11
    for reference in taken:
        if reference["name"] == certificate["secretName"]:
            assert reference["key"] in WRITTEN
        else:
            assert reference == password


def test_the_certificate_names_the_contact_point_and_its_issuers_exist() -> None:
    folder = FOLDER / "prod"
    namespace = the_one(folder, "Namespace")["metadata"]["name"]
    service = "player-sessions-dc1-service"
    names = the_one(folder, "Certificate", "player-sessions-cassandra-tls")["spec"]["dnsNames"]
    assert {service, f"{service}.{namespace}.svc.cluster.local"} <= set(names)
    assert all(name.partition(f"{service}.")[2].startswith(namespace) for name in names[1:])
    for certificate in (each for each in documents(folder) if each["kind"] == "Certificate"):
        the_one(folder, "Issuer", certificate["spec"]["issuerRef"]["name"])


def test_backups_and_tasks_are_for_the_cluster_there_is() -> None:
    folder = FOLDER / "prod"
    cluster = the_one(folder, "K8ssandraCluster")
    schedules = [each for each in documents(folder) if each["kind"] == "MedusaBackupSchedule"]
    kinds = {each["spec"].get("operationType", "backup") for each in schedules}
    assert kinds == {"backup", "purge"}
    datacenters = {each["metadata"]["name"] for each in cluster["spec"]["cassandra"]["datacenters"]}
    assert {each["spec"]["backupSpec"]["cassandraDatacenter"] for each in schedules} <= datacenters
    task = the_one(folder, "K8ssandraTask")["spec"]
    assert task["cluster"]["name"] == cluster["metadata"]["name"]
    assert set(task["datacenters"]) <= datacenters


def test_the_page_says_how_long_backups_outlive_the_retention() -> None:
    storage = the_one(FOLDER / "prod", "K8ssandraCluster")["spec"]["medusa"]["storageProperties"]
    after = storage["maxBackupAge"] + storage["backupGracePeriodInDays"]
    assert f"{after} days" in (ROOT / "docs" / "k8ssandra.md").read_text()


@pytest.mark.parametrize("name", ["dev", "prod"])
def test_a_real_node_starts_with_the_configuration_and_has_it(name: str, tmp_path: Path) -> None:
    written = the_one(FOLDER / name, "K8ssandraCluster")["spec"]["cassandra"]["config"]
    configuration = copy.deepcopy(written["cassandraYaml"])
    for side in ("client_encryption_options", "server_encryption_options"):
        if side in configuration:  # the operator fills in the stores of the Secrets
            configuration[side] |= stores(tmp_path, trustme.CA(), "player-sessions-dc1-service")
    if name == "prod":
        # The launcher's own wait for CQL speaks no TLS.
        configuration["client_encryption_options"]["optional"] = True
    # relaxed: its commit log is that of the operator's base.
    with Cluster(tmp_path / "node", auth=True, relaxed=True, yaml=configuration) as node:
        running = settings_on(node)
    for key, value in configuration.items():
        if not isinstance(value, dict):
            assert running[key] == str(value), key
    assert running["commitlog_disk_access_mode"] == "mmap"
    encrypted = {"dev": "none", "prod": "all"}[name]
    assert running["server_encryption_options_internode_encryption"] == encrypted


PATIENCE = schema_apply.Patience(answer=60, login=0)


def settings_on(node: Cluster) -> dict[str, str | None]:
    """What the node itself says that it runs with."""
    with schema_apply.session(superuser_of(node, "unused"), PATIENCE, print) as opened:
        return dict(opened.execute("SELECT name, value FROM system_views.settings"))
