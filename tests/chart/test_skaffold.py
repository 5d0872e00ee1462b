"""skaffold.yaml and the workflows: all that they name exists, and versions are pinned."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "k8ssandra.md").read_text()
PARTS = {
    part["metadata"]["name"]: part
    for part in yaml.safe_load_all((ROOT / "skaffold.yaml").read_text())
}
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def releases() -> list[dict[str, Any]]:
    return [
        each
        for part in PARTS.values()
        for each in part["deploy"].get("helm", {}).get("releases", [])
    ]


def steps(workflow: Path) -> list[dict[str, Any]]:
    jobs = yaml.safe_load(workflow.read_text())["jobs"].values()
    return [step for job in jobs for step in job.get("steps", [])]


def test_skaffold_names_files_that_exist() -> None:
    release = next(each for each in releases() if "chartPath" in each)
    artifact = PARTS["service"]["build"]["artifacts"][0]
    named = [release["chartPath"], *release["valuesFiles"], artifact["docker"]["dockerfile"]]
    for name in [*named, *PARTS["cassandra"]["manifests"]["rawYaml"]]:
        assert (ROOT / name).exists(), name
    for rule in artifact["sync"]["manual"]:
        assert list(ROOT.glob(rule["src"]))
        assert rule["src"].startswith(rule["strip"])


def test_skaffold_builds_stages_that_the_dockerfile_has_and_syncs_to_its_sources() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    stages = set(re.findall(r"^FROM \S+ AS (\S+)$", dockerfile, re.M))
    service = PARTS["service"]
    artifact = service["build"]["artifacts"][0]
    profile = next(each for each in service["profiles"] if each["name"] == "prod-like")
    assert artifact["docker"]["target"] in stages
    assert profile["patches"][0]["value"] in stages
    assert f"ENV PYTHONPATH={artifact['sync']['manual'][0]['dest']}" in dockerfile


def test_the_script_of_the_operators_installs_what_the_page_installs() -> None:
    (hook,) = PARTS["cassandra"]["deploy"]["kubectl"]["hooks"]["before"]
    shell, script, command = hook["host"]["command"]
    assert (shell, command) == ("sh", "install")
    text = (ROOT / script).read_text()
    versions = re.findall(r"^(\w+)_version=(\S+)$", text, re.M)
    assert [name for name, _ in versions] == ["cert_manager", "k8ssandra"]
    for _, version in versions:
        assert f"--version {version}" in PAGE
    for option in re.findall(r"--set (\S+)", text):
        assert f"--set {option}" in PAGE


def test_skaffold_deletes_no_operator_and_no_namespace_before_the_cluster_is_gone() -> None:
    """Skaffold has no hook before a deletion, and does not wait for what it deletes."""
    assert [each["name"] for each in releases()] == ["player-sessions"]
    for name in PARTS["cassandra"]["manifests"]["rawYaml"]:
        kinds = {each["kind"] for each in yaml.safe_load_all((ROOT / name).read_text())}
        assert kinds == {"K8ssandraCluster"}


def test_each_profile_is_known_to_each_part_it_changes() -> None:
    profiles = {
        name: {each["name"] for each in part.get("profiles", [])} for name, part in PARTS.items()
    }
    assert profiles == {
        "cassandra": {"no-operator"},
        "service": {"kind", "minikube", "prod-like", "no-operator"},
    }


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned_by_commit_with_their_version_beside(workflow: Path) -> None:
    lines = [line for line in workflow.read_text().splitlines() if "uses: " in line]
    assert lines
    for line in lines:
        local = "uses: ./.github/workflows/" in line
        assert local or re.search(r"uses: [\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line), line


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_may_only_read_and_a_job_asks_for_write_permissions(workflow: Path) -> None:
    parsed = yaml.safe_load(workflow.read_text())
    assert parsed["permissions"] in ({}, {"contents": "read"})
    for name, job in parsed["jobs"].items():
        assert "timeout-minutes" in job or "uses" in job, name
        for step in job.get("steps", []):
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False
            assert "${{" not in step.get("run", ""), "others' text must not become a script"


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_the_makefile_has_every_target_of_a_workflow(workflow: Path) -> None:
    targets = set(re.findall(r"^([a-z0-9][a-z0-9-]*):", (ROOT / "Makefile").read_text(), re.M))
    asked = [re.findall(r"\bmake ([a-z0-9-]+)", step.get("run", "")) for step in steps(workflow)]
    assert {name for names in asked for name in names} <= targets
