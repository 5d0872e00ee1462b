"""Sum the cores and the memory that the pods of the development profile request.

The README states the sum, and `make chart` compares the two.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

UNITS = {"m": 0.001, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
# What cass-operator 1.30 gives the logger beside each Cassandra, since our manifest says nothing.
LOGGER = {"resources": {"requests": {"cpu": "100m", "memory": "64Mi"}}}

Objects = Iterable[dict[str, Any]]


def statement(chart: Objects, cluster: dict[str, Any]) -> str:
    """Return the sum in words: the chart's objects, and the nodes of a K8ssandraCluster."""
    pods = [*_pods_of_chart(chart), *_nodes(cluster)]
    cores = sum(_requested(pod, "cpu") for pod in pods)
    gibibytes = sum(_requested(pod, "memory") for pod in pods) / UNITS["Gi"]
    return f"{cores:.2f} cores and {gibibytes:.1f} GiB of memory"


def _pods_of_chart(chart: Objects) -> Iterable[dict[str, Any]]:
    for each in chart:
        if each["kind"] in ("Deployment", "Job"):
            yield from [each["spec"]["template"]["spec"]] * each["spec"].get("replicas", 1)


def _nodes(cluster: dict[str, Any]) -> Iterable[dict[str, Any]]:
    cassandra = cluster["spec"]["cassandra"]
    pod = {
        "containers": [{"resources": cassandra["resources"]}, LOGGER],
        "initContainers": cassandra["initContainers"],
    }
    for datacenter in cassandra["datacenters"]:
        yield from [pod] * datacenter["size"]


def _requested(pod: dict[str, Any], what: str) -> float:
    """Return what the scheduler reserves: all containers together, or the largest before them."""
    running = sum(_quantity(each, what) for each in pod["containers"])
    return max([running, *(_quantity(each, what) for each in pod.get("initContainers", []))])


def _quantity(container: dict[str, Any], what: str) -> float:
    text = str(container["resources"]["requests"][what])
    unit = text.lstrip("0123456789.")
    return float(text.removesuffix(unit)) * (UNITS[unit] if unit else 1)
