"""The first steps: images, and the chart installed before the first node of Cassandra is ready."""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path

from dev.charttools import ROOT
from tests.e2e.certificates import give_certificates
from tests.e2e.contexts import next_release, stand_in, tester
from tests.e2e.databases import StandIn
from tests.e2e.playground import HERE, RELEASE, Playground, expect
from tests.e2e.steps import IMAGE, NEXT, Run

KEY = "not-a-secret-only-for-tests"


def images(run: Run) -> str:
    """Build the service, the next release with one migration more, and the stand-in."""
    run.target.image(f"player-sessions:{IMAGE}", ROOT)
    with tempfile.TemporaryDirectory() as folder:
        run.target.image(f"player-sessions:{NEXT}", next_release(Path(folder) / "next"))
        if isinstance(run.database, StandIn):
            run.target.image("player-sessions-cassandra:e2e", stand_in(Path(folder) / "cassandra"))
        run.target.image("player-sessions-tests:e2e", tester(Path(folder) / "tester"))
    return "the service, its next release, Cassandra, the tests"


def gitops_before_cassandra(run: Run) -> str:
    """Install without hooks in the moment in which Cassandra is created, then remove both.

    The namespace enforces `restricted`.
    """
    run.kubectl("apply", "--filename", str(HERE / "namespace.yaml"))
    scripts = [HERE / "load.py", HERE / "cql.py", HERE / "cassandra" / "superuser.py"]
    run.kubectl("create", "configmap", "scripts", *(f"--from-file={each}" for each in scripts))
    give_certificates(run)
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    create_secret(run, "gitops-role", password="not-a-secret-either")
    create_secret(run, "gitops-keys", key=KEY, keys=f"e2e ingest,read {digest}\n")
    run.database.create(run)
    last = run.upgrade(
        "schema.useHelmHooks=false",
        "cassandra.existingSecret=gitops-role",
        "auth.existingSecret=gitops-keys",
    )
    waited = waits(run)
    run.helm_test()
    run.helm("uninstall", RELEASE, "--wait")
    run.database.delete(run)
    return f"{waited}; {last}"


def create_secret(run: Playground, name: str, **entries: str) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}}
    given = json.dumps({**secret, "stringData": entries})
    run.kubectl("apply", "--filename", "-", given=given)


def install_before_cassandra(run: Run) -> str:
    """Install with hooks in the moment in which Cassandra is created: the Job waits for it."""
    run.database.create(run)
    last = run.upgrade()
    return f"{waits(run)}; {last}"


def waits(run: Run) -> str:
    """Return how often the schema Job waited, and for what; it must have waited for both."""
    lines = run.job_log()
    nameless = sum("no contact point has an address" in line for line in lines)
    refused = sum("next try" in line for line in lines) - nameless
    expect(nameless, f"the Job never had to wait for an address: {lines}")
    expect(refused, f"the Job never had to wait for the superuser: {lines}")
    return f"the Job waited {nameless} times for an address, {refused} times for the superuser"


def upgrade_while_cassandra_restarts(run: Run) -> str:
    """Upgrade while the only node is away: the schema Job waits for it."""
    with run.under_load(may_fail=True) as report:
        run.kill_cassandra()
        last = run.upgrade("retention.days=29")
        waited = sum("next try" in line for line in run.job_log())
        run.rolled_out()
    expect(waited, "the Job never had to wait for the node")
    return f"the Job tried {waited} times before the node was back; {last}; {report[0]}"
