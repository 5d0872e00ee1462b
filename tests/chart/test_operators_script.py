"""k8s/operators.sh installs once, and never removes an operator before its clusters.

helm and kubectl are doubles that write down what they are asked and answer from files.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "k8s" / "operators.sh"
DOUBLE = """#!/bin/sh
printf '%s\\n' "$(basename "$0") $*" >> "$CALLS"
case "$(basename "$0") $*" in
    "helm list"*) cat "$FOLDER/releases" ;;
    *"get k8ssandraclusters --all-namespaces"*) cat "$FOLDER/clusters" ;;
    *"delete k8ssandraclusters"*) [ -e "$FOLDER/stuck" ] && exit 1; : > "$FOLDER/clusters" ;;
    *"{.items[?(@.metadata.deletionTimestamp)]"*) cat "$FOLDER/being-deleted" ;;
esac
"""


class World:
    """What the doubles find, and what they were asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("helm", "kubectl"):
            (folder / name).write_text(DOUBLE)
            (folder / name).chmod(0o755)
        self.has(releases="[]", clusters="", **{"being-deleted": ""})

    def has(self, **files: str) -> None:
        for name, text in files.items():
            (self.folder / name).write_text(text)

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        path = f"{self.folder}{os.pathsep}{os.environ['PATH']}"
        (self.folder / "calls").write_text("")
        return subprocess.run(
            ["sh", SCRIPT, command],
            env={"PATH": path, "FOLDER": str(self.folder), "CALLS": str(self.folder / "calls")},
            capture_output=True,
            text=True,
        )

    def changes(self) -> list[str]:
        """Return the first three words of every command that changes something, in their order."""
        calls = (self.folder / "calls").read_text().splitlines()
        verbs = ("upgrade", "uninstall", "delete", "wait", "create")
        return [" ".join(call.split()[:3]) for call in calls if call.split()[1] in verbs]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def releases(**versions: str) -> str:
    charts = [f"{name.replace('_', '-')}-{version}" for name, version in versions.items()]
    return json.dumps([{"chart": chart} for chart in charts], separators=(",", ":"))


def test_what_is_missing_is_installed(world: World) -> None:
    assert world.run("install").returncode == 0
    assert world.changes() == ["helm upgrade --install"] * 2


def test_what_is_there_in_its_version_is_left_alone(world: World) -> None:
    world.has(releases=releases(cert_manager="v1.20.2", k8ssandra_operator="1.32.5"))
    assert world.run("install").returncode == 0
    assert world.changes() == []


def test_another_version_is_upgraded(world: World) -> None:
    world.has(releases=releases(cert_manager="v1.20.2", k8ssandra_operator="1.31.0"))
    assert world.run("install").returncode == 0
    assert world.changes() == ["helm upgrade --install"]


def test_an_install_waits_for_a_cluster_that_is_being_deleted(world: World) -> None:
    world.has(
        releases=releases(cert_manager="v1.20.2", k8ssandra_operator="1.32.5"),
        **{"being-deleted": "player-sessions"},
    )
    assert world.run("install").returncode == 0
    assert world.changes() == ["kubectl wait k8ssandracluster/player-sessions"]


def test_a_removal_deletes_the_cluster_first(world: World) -> None:
    world.has(clusters="player-sessions/player-sessions\n")
    assert world.run("remove").returncode == 0
    assert world.changes() == [
        "kubectl delete k8ssandraclusters",
        "kubectl delete namespace",
        "helm uninstall k8ssandra-operator",
        "helm uninstall cert-manager",
    ]


def test_the_operators_stay_while_the_cluster_cannot_be_deleted(world: World) -> None:
    world.has(clusters="player-sessions/player-sessions\n", stuck="")
    done = world.run("remove")
    assert done.returncode == 1
    assert "stays in Terminating" in done.stderr
    assert world.changes() == ["kubectl delete k8ssandraclusters"]


def test_the_operators_stay_for_the_clusters_of_other_namespaces(world: World) -> None:
    world.has(clusters="player-sessions/player-sessions\ngames/other\n")
    done = world.run("remove")
    assert done.returncode == 1
    assert "games/other" in done.stderr
    assert world.changes() == []
