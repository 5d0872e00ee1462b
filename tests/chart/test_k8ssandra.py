"""The manifests of k8s/k8ssandra fit the operators' schemas, webhooks and Secrets.

A real Cassandra starts with their configuration. No cluster is needed."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import trustme
import yaml

from dev.certificates import stores
from dev.cluster import Cluster
from player_sessions.settings import load
from player_sessions.store.schema import apply as schema_apply
from player_sessions.store.statements import CQL
from tests.support import superuser_of

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "k8s" / "k8ssandra"
SCHEMAS = Path(__file__).parent / "schemas"
# Kinds of Kubernetes, kubectl and cert-manager, which have no schema here.
OTHERS = {"Namespace", "Kustomization", "Issuer", "Certificate"}
# The keys that cert-manager writes into the Secret of a certificate with a JKS key store.
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
    """Return the errors that the operator's schema finds."""
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
        # With either field, the names of Services and Secret differ from the driver's names.
        assert not {"clusterName", "datacenterName"} & place.keys()


def test_the_webhooks_of_the_operators_accept_the_cluster(cluster: dict[str, Any]) -> None:
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
        assert spec["reaper"]["deploymentMode"] == "SINGLE"  # PER_DC needs Cassandra's storage


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
    assert kept == "false"  # a string, as all values of annotations are


def test_the_page_names_what_the_clusters_telemetry_needs_and_checks_for_reaper() -> None:
    spec = the_one(FOLDER / "prod", "K8ssandraCluster")["spec"]
    for part in (spec["cassandra"], spec["reaper"]):
        assert part["telemetry"]["prometheus"]["enabled"]
    install = (ROOT / "docs" / "k8ssandra.md").read_text().partition("## What cannot")[0]
    assert "kubectl get crd servicemonitors.monitoring.coreos.com" in install
    assert "--for=jsonpath='{.status.error}'=None" in install
    assert "reaper/player-sessions-dc1-reaper --for=condition=Ready" in install


def test_the_development_nodes_init_container_asks_for_less_than_cassandra() -> None:
    cassandra = the_one(FOLDER / "dev", "K8ssandraCluster")["spec"]["cassandra"]
    (container,) = cassandra["initContainers"]
    assert container["name"] == "server-config-init"  # the operator's name for it
    assert container["resources"]["requests"]["cpu"] == "100m"
    assert cassandra["resources"]["requests"]["cpu"] == "250m"


def test_the_certificates_secret_has_every_key_that_production_uses() -> None:
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


def test_backups_and_tasks_name_the_existing_cluster() -> None:
    folder = FOLDER / "prod"
    cluster = the_one(folder, "K8ssandraCluster")
    schedules = [each for each in documents(folder) if each["kind"] == "MedusaBackupSchedule"]
    kinds = {each["spec"].get("operationType", "backup") for each in schedules}
    assert kinds == {"backup", "purge"}
    datacenters = {each["metadata"]["name"] for each in cluster["spec"]["cassandra"]["datacenters"]}
    assert {each["spec"]["backupSpec"]["cassandraDatacenter"] for each in schedules} <= datacenters
    tasks = [each["spec"] for each in documents(folder) if each["kind"] == "K8ssandraTask"]
    assert {each["template"]["jobs"][0]["command"] for each in tasks} >= {
        "restart",
        "flush",
        "garbagecollect",
    }
    for task in tasks:
        assert task["cluster"]["name"] == cluster["metadata"]["name"]
        assert set(task["datacenters"]) <= datacenters


def test_a_task_has_one_job_and_names_the_tables_that_an_erasure_deletes_from() -> None:
    tables = {
        found[1] for text in CQL.values() if (found := re.match(r"DELETE FROM \{0\}\.(\w+)", text))
    }
    assert tables
    for task in (each for each in documents(FOLDER / "prod") if each["kind"] == "K8ssandraTask"):
        (job,) = task["spec"]["template"]["jobs"]  # the operator refuses a task with more
        if job["command"] != "restart":
            assert job["args"]["keyspace_name"] == load({}).keyspace
            assert set(job["args"]["tables"]) == tables


def test_the_second_region_has_as_many_nodes_and_its_own_zones_and_certificate() -> None:
    folder = FOLDER / "multi-region"
    first = the_one(FOLDER / "prod", "K8ssandraCluster")["spec"]["cassandra"]["datacenters"][0]
    (patch,) = yaml.safe_load((folder / "second-region.yaml").read_text())
    second = patch["value"]
    assert (second["size"], len(second["racks"])) == (first["size"], len(first["racks"]))
    kept = second["metadata"]["annotations"]["cassandra.datastax.com/delete-pvc"]
    assert kept == "false"
    zones = [str(rack) for rack in first["racks"] + second["racks"]]
    assert len(set(zones)) == 6
    names = [each["value"] for each in yaml.safe_load((folder / "names.yaml").read_text())]
    prod = the_one(FOLDER / "prod", "Certificate", "player-sessions-cassandra-tls")["spec"]
    assert names == [each.replace("-dc1-", "-dc2-") for each in prod["dnsNames"]]


def test_the_service_of_each_region_uses_its_own_nodes_and_one_of_them_runs_the_job() -> None:
    first, second = (
        yaml.safe_load((FOLDER / "multi-region" / "values" / f"region-{n}.yaml").read_text())
        for n in (1, 2)
    )
    for number, values in enumerate((first, second), 1):
        assert values["cassandra"]["datacenter"] == f"dc{number}"
        name = f"player-sessions-dc{number}-service"
        assert values["cassandra"]["tls"]["serverName"] == name
        assert values["schema"]["replication"] == {"dc1": 3, "dc2": 3}
    # The Jobs lock each other out within one data centre only.
    assert first["schema"].get("enabled", True)
    assert second["schema"]["enabled"] is False
    for part in ("role", "clients"):
        secrets = {str(values).count(f"player-sessions-{part}") for values in (first, second)}
        assert secrets == {1}


def test_the_page_says_which_of_its_sections_nobody_has_run() -> None:
    page = (ROOT / "docs" / "k8ssandra.md").read_text()
    headings = set(re.findall(r"^#+ (.+)$", page, re.MULTILINE))
    paragraph = " ".join(
        page.partition("has run the commands of")[2].partition(". `make")[0].split()
    )
    named = set(re.findall(r'"([^"]+)"', paragraph))
    assert {"Two regions", "Restore"} < named <= headings


def test_the_page_says_how_long_backups_outlive_the_retention() -> None:
    storage = the_one(FOLDER / "prod", "K8ssandraCluster")["spec"]["medusa"]["storageProperties"]
    after = storage["maxBackupAge"] + storage["backupGracePeriodInDays"]
    assert f"{after} days" in (ROOT / "docs" / "k8ssandra.md").read_text()


@pytest.mark.parametrize("name", ["dev", "prod"])
def test_a_real_node_starts_with_the_configuration_and_has_it(name: str, tmp_path: Path) -> None:
    written = the_one(FOLDER / name, "K8ssandraCluster")["spec"]["cassandra"]["config"]
    configuration = copy.deepcopy(written["cassandraYaml"])
    for side in ("client_encryption_options", "server_encryption_options"):
        if side in configuration:  # the operator fills in the Secrets' stores
            configuration[side] |= stores(tmp_path, trustme.CA(), "player-sessions-dc1-service")
    if name == "prod":
        # The launcher waits for CQL without TLS.
        configuration["client_encryption_options"]["optional"] = True
    # `relaxed` gives the commit log settings of the operator's base.
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
    """Return the settings that the node itself reports."""
    with schema_apply.session(superuser_of(node, "unused"), PATIENCE, print) as opened:
        return dict(opened.execute("SELECT name, value FROM system_views.settings"))
