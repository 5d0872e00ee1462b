"""Who may reach what under the chart's NetworkPolicies, and an agent that enforces them."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from pathlib import Path
from string import Template

from dev.charttools import ROOT, built
from tests.e2e.playground import HERE, RELEASE, expect
from tests.e2e.steps import Run

AGENT = HERE / "agent"
CASSANDRA = "player-sessions-dc1-service"
# The probes, each with an address that a pod may or may not reach.
CQL = (CASSANDRA, 9042)
MANAGEMENT = (CASSANDRA, 8080)
DNS = ("kube-dns.kube-system", 53)
COLLECTOR = ("collector", 4318)
API_SERVER = ("kubernetes.default", 443)
API = (RELEASE, 80)
OPERATIONS = (RELEASE, 9090)
Address = tuple[str, int]
VALUES = (
    "tracing.endpoint=http://collector:4318",
    "networkPolicy.otlp[0].podSelector.matchLabels.e2e=collector",
    "networkPolicy.prometheus[0].podSelector.matchLabels.e2e=prometheus",
)
LOCKED = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "locked"},
    "spec": {"podSelector": {"matchLabels": {"e2e": "prometheus"}}, "policyTypes": ["Ingress"]},
}
ASK = """
import json, socket, sys
found = {}
for host, port in json.load(sys.stdin):
    try:
        socket.create_connection((host, port), 3).close()
        found[f"{host}:{port}"] = True
    except OSError:
        found[f"{host}:{port}"] = False
print(json.dumps(found))
"""


def enforcing_agent(run: Run) -> str:
    """Build kube-router with Go, and let it enforce the policies on every node."""
    with tempfile.TemporaryDirectory() as folder:
        context = Path(folder) / "agent"
        shutil.copytree(AGENT, context)
        shutil.copy(built("kube-router", ROOT / "dev" / "policyagent"), context)
        run.target.image("player-sessions-agent:e2e", context)
    address = "{.subsets[0].addresses[0].ip}", "{.subsets[0].ports[0].port}"
    found = ("get", "endpoints", "kubernetes", "--namespace", "default")
    host, port = (run.kubectl_everywhere(*found, f"--output=jsonpath={each}") for each in address)
    manifest = Template((AGENT / "manifest.yaml").read_text()).substitute(HOST=host, PORT=port)
    run.kubectl_everywhere("apply", "--filename", "-", given=manifest)
    name = "daemonset/player-sessions-e2e-agent"
    namespace = ("--namespace", "kube-system")
    run.kubectl_everywhere("rollout", "status", name, *namespace, "--timeout=2m")
    return "kube-router enforces NetworkPolicies on every node"


def remove_agent(run: Run) -> None:
    manifest = str(AGENT / "manifest.yaml")
    run.kubectl_everywhere("delete", "--filename", manifest, "--ignore-not-found")


def network_policies(run: Run) -> str:
    """Try every pair of pod and address; each policy must let through just what it should."""
    if not enforced(run):
        expect(not run.enforce, "the agent does not enforce a policy")
        return "NOT SHOWN: this cluster's network accepts policies but does not enforce them"
    with run.under_load() as report:
        run.upgrade(*VALUES)
        run.rolled_out()
        tried = 0
        for pod, allowed in table(run).items():
            check(run, pod, allowed)
            tried += len(allowed)
    return f"{tried} pairs of pod and address are as they should be; {report[0]}"


def table(run: Run) -> dict[str, dict[Address, bool]]:
    """Return for each pod which addresses it may reach."""
    stranger = (run.address("stranger"), 8000)
    everything = (CQL, MANAGEMENT, DNS, COLLECTOR, API_SERVER, stranger)
    service = {address: address in (CQL, DNS, COLLECTOR) for address in everything}
    schema_job = {address: address in (CQL, DNS) for address in everything}
    # The load has no policy for what it sends, so it shows that somebody answers at each address.
    return {
        run.pods()[0]["metadata"]["name"]: service,
        "like-the-schema-job": schema_job,
        "load": {**dict.fromkeys(everything, True), API: True, OPERATIONS: False},
        "prometheus": {API: False, OPERATIONS: True},
        "stranger": {API: False, OPERATIONS: False, CQL: True, MANAGEMENT: True},
    }


def check(run: Run, pod: str, allowed: dict[Address, bool]) -> None:
    """Compare what the pod reaches with what it may; an agent needs seconds for new pods."""
    wanted = {f"{host}:{port}": may for (host, port), may in allowed.items()}
    limit = time.monotonic() + 20
    while (found := reached(run, pod, list(allowed))) != wanted and time.monotonic() < limit:
        time.sleep(1)
    for address, may in wanted.items():
        expect(found[address] == may, f"{pod} {'does not reach' if may else 'reaches'} {address}")


def reached(run: Run, pod: str, addresses: list[Address]) -> dict[str, bool]:
    command = ("exec", "-i", pod, "--", "python", "-c", ASK)
    found: dict[str, bool] = json.loads(run.kubectl(*command, given=json.dumps(addresses)))
    return found


def enforced(run: Run) -> bool:
    """Return whether a policy that forbids everything forbids something."""
    address = (run.address("prometheus"), 4318)
    run.kubectl("apply", "--filename", "-", given=json.dumps(LOCKED))
    try:
        time.sleep(5)
        return not reached(run, "load", [address])[f"{address[0]}:{address[1]}"]
    finally:
        run.kubectl("delete", "networkpolicy", "locked")
