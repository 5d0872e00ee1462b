"""Steps of `make e2e`, whose order is in plan.py; each returns a line about what it found."""

from __future__ import annotations

import json
import time
from typing import Any

import yaml

from dev.charttools import ROOT
from player_sessions.store import schema
from tests.e2e.databases import POD, Database, Operators
from tests.e2e.kubernetes import Target
from tests.e2e.playground import HERE, NAMESPACE, RELEASE, Failed, Playground, expect

KEYSPACE = "player_sessions"
IMAGE, NEXT = "e2e", "e2e-next"
ASKED = ("load", "stranger", "collector", "prometheus", "like-the-schema-job")


class Run(Playground):
    """A run of all steps."""

    def __init__(self, target: Target, database: Database, *, enforce: bool) -> None:
        super().__init__(target.environ)
        self.target = target
        self.database = database
        self.enforce = enforce  # an agent of ours enforces the NetworkPolicies

    def remove(self) -> None:
        if isinstance(self.database, Operators):
            self.database.delete(self)  # the namespace would wait for it for good
        super().remove()

    def wait_for_cassandra(self) -> None:
        self.kubectl(
            "rollout", "status", "statefulset/player-sessions-dc1-default-sts", "--timeout=5m"
        )

    def helm_test(self) -> str:
        self.helm("test", RELEASE, "--timeout", "2m")
        return self.kubectl("logs", f"{RELEASE}-test").strip().splitlines()[-1]

    def system_tests(self) -> str:
        """Run the black-box tests of tests/system from a pod, through the Service."""
        self.kubectl("delete", "pod", "tests", "--ignore-not-found")
        self.kubectl("apply", "--filename", str(HERE / "tester" / "pod.yaml"))
        expect(self.ended("tests") == "Succeeded", self.kubectl("logs", "tests")[-5000:])
        return self.kubectl("logs", "tests", "--tail=1").strip()

    def ended(self, pod: str) -> str:
        """Wait for the pod's end and return its phase."""
        command = ("get", "pod", pod, "--output=jsonpath={.status.phase}")
        over = ("Succeeded", "Failed")
        self.until(lambda: self.kubectl(*command) in over, f"{pod} ends", seconds=300)
        return self.kubectl(*command)

    def load(self) -> str:
        """Start the load that runs until the audit."""
        self.kubectl("apply", "--filename", str(HERE / "load.yaml"))
        self.kubectl("wait", "pod", *ASKED, "--for=condition=Ready", "--timeout=2m")
        self.until(lambda: self.counts().get("acknowledged", 0) > 100, "the load is acknowledged")
        return f"{self.counts()['acknowledged']} sessions acknowledged so far"

    def rolling_restart(self) -> str:
        with self.under_load() as report:
            self.kubectl("rollout", "restart", f"deployment/{RELEASE}")
            self.rolled_out()
        return report[0]

    def rolled_out(self) -> None:
        self.kubectl("rollout", "status", f"deployment/{RELEASE}", "--timeout=5m")
        count = "{.spec.replicas}"
        wanted = int(self.kubectl("get", f"deployment/{RELEASE}", f"--output=jsonpath={count}"))
        self.until(lambda: len(self.pods()) == wanted, "the old pods are gone")

    def upgrade_with_migration(self) -> str:
        """Run releases N-1 and N of the service side by side on N's schema."""
        with self.under_load() as report:
            self.upgrade(f"image.tag={NEXT}")
            self.rolled_out()
        done = self.cql(f"SELECT number, done_at FROM {KEYSPACE}.schema_migrations")
        newest = max(number for number, done_at in done if done_at)
        expect(newest == len(schema.migrations()) + 1, f"the database is at migration {newest}")
        return f"migration {newest} done; {report[0]}"

    def retention(self) -> str:
        """Change the retention from 365 to 30 days; the tables and the service must follow."""
        with self.under_load() as report:
            self.upgrade("retention.days=30")
            self.rolled_out()
        options = self.cql(
            "SELECT table_name, default_time_to_live, compaction FROM system_schema.tables"
            f" WHERE keyspace_name = '{KEYSPACE}'"
        )
        players = ("session_starts", "session_ends")
        ours = {name: (ttl, window) for name, ttl, window in options if name in players}
        wanted = schema.table_options(30 * 86400)
        for ttl, window in ours.values():
            expect(ttl == wanted.default_time_to_live, f"default_time_to_live is {ttl}")
            expect(wanted.compaction.items() <= window.items(), f"compaction is {window}")
        expect(len(ours) == 2, f"tables: {options}")
        return f"default_time_to_live {ttl} in both tables; {report[0]}"

    def scale(self) -> str:
        with self.under_load() as report:
            for replicas in (1, 3, 1):
                self.kubectl("scale", f"deployment/{RELEASE}", f"--replicas={replicas}")
                self.rolled_out()
            self.kubectl("scale", f"deployment/{RELEASE}", "--replicas=2")
            self.rolled_out()
        return f"1, 3, 1, 2 pods; {report[0]}"

    def pod_kill(self) -> str:
        """Kill one pod's process with -9; requests in flight may fail, but nothing may be lost."""
        with self.under_load(may_fail=True) as report:
            victim = self.pods()[0]["metadata"]["name"]
            self.kubectl("delete", "pod", victim, "--force", "--grace-period=0")
            self.until(lambda: victim not in str(self.pods()), "the pod is gone")
            self.rolled_out()
        return report[0]

    def cassandra_kill(self) -> str:
        """Kill Cassandra's pod: requests get 503 until it is back, and no pod becomes unready."""
        with self.under_load(may_fail=True) as report:
            ready = [ready_since(pod) for pod in self.pods()]
            self.kill_cassandra()
            time.sleep(2)
            self.wait_for_cassandra()
        expect(ready == [ready_since(pod) for pod in self.pods()], "a pod went unready")
        return report[0]

    def kill_cassandra(self) -> None:
        self.kubectl("delete", "pod", POD, "--force", "--grace-period=0")

    def wrong_superuser(self) -> str:
        """Upgrade with a wrong secret: it must fail with its name and leave the pods alone."""
        name = "wrong-superuser"
        self.kubectl(
            *("create", "secret", "generic", name),
            *("--from-literal=username=cassandra", "--from-literal=password=wrong"),
        )
        before = sorted(pod["metadata"]["uid"] for pod in self.pods())
        with self.under_load() as report:
            try:
                self.upgrade(
                    f"schema.superuserSecret={name}",
                    "schema.loginWaitSeconds=3",
                    "retention.days=7",
                )
            except Failed as error:
                expect("pre-upgrade hooks failed" in str(error), str(error))
            else:
                raise Failed("the upgrade went through with a wrong superuser")
        said = self.job_log()[-1]
        expect(f"Secret {NAMESPACE}/{name}" in said, f"the Job said: {said}")
        expect(before == sorted(p["metadata"]["uid"] for p in self.pods()), "pods were replaced")
        return f'"{said}"; the pods are the same; {report[0]}'

    def rollback(self) -> str:
        """Go back to the first release's image, on the schema of the next release."""
        with self.under_load() as report:
            self.helm("rollback", RELEASE, "1", "--wait", "--timeout", "5m")
            self.rolled_out()
        images = {pod["spec"]["containers"][0]["image"] for pod in self.pods()}
        expect(images == {f"player-sessions:{IMAGE}"}, f"the pods run {images}")
        return f"revision 1 on the newer schema; {report[0]}"

    def address(self, pod: str) -> str:
        return self.kubectl("get", "pod", pod, "--output=jsonpath={.status.podIP}")

    def reinstall(self) -> str:
        """Uninstall, then install again with the data and Secrets that stayed."""
        self.helm("uninstall", RELEASE, "--wait")
        expect(not self._installed(), "it is still installed")
        last = self.upgrade()
        with self.under_load(may_fail=True):
            pass  # it uses the role and the key from before
        return f"{last}; {self.helm_test()}"

    def gitops(self) -> str:
        """Install without hooks: with a plain Job beside the pods, and with existing Secrets."""
        with self.under_load() as report:
            last = self.upgrade(
                "schema.useHelmHooks=false",
                "retention.days=90",
                f"cassandra.existingSecret={RELEASE}-cassandra",
                f"auth.existingSecret={RELEASE}-keys",
            )
            self.rolled_out()
        job = self.schema_job()
        expect(job.startswith(f"job.batch/{RELEASE}-schema-2-"), f"the Job is {job}")
        return f"{job}: {last}; {report[0]}"

    def load_workers(self) -> str:
        """Run a smaller loadtest/k8s; each worker reads back what was acknowledged to it."""
        file = ROOT / "loadtest" / "k8s" / "Dockerfile"
        self.target.image("player-sessions-load:e2e", ROOT, "--file", str(file))
        manifests = smaller(self.kubectl("kustomize", str(file.parent)))
        self.kubectl("apply", "--filename", "-", given=json.dumps(manifests))
        self.kubectl("wait", "job/load-worker", "--for=condition=complete", "--timeout=4m")
        audits = self.kubectl("logs", "--selector=app.kubernetes.io/name=load-worker", "--tail=1")
        return "; ".join(audits.strip().splitlines())

    def audit(self) -> str:
        """End the load and read back every session that was ever acknowledged."""
        self.kubectl("exec", "load", "--", "python", "-c", "open('/tmp/stop', 'w')")
        self.ended("load")
        audit = self.counts().get("audit", {})
        expect(audit.get("lost") == 0 and audit["acknowledged"] > 1000, f"audit: {audit}")
        return f"{audit['acknowledged']} sessions acknowledged, {audit['lost']} lost"


def smaller(manifests: str) -> dict[str, Any]:
    """Return loadtest/k8s changed for these tests: two workers, for half a minute."""
    changed = {
        "--expect-workers": "2", "--users": "2", "--run-time": "30s", "--host": f"http://{RELEASE}",
    }  # fmt: skip
    items = [each for each in yaml.safe_load_all(manifests) if each["kind"] != "Namespace"]
    for item in items:
        item["metadata"]["namespace"] = NAMESPACE
        if item["kind"] != "Job":
            continue
        if "completions" in item["spec"]:
            item["spec"] |= {"completions": 2, "parallelism": 2}
        item["spec"]["template"]["metadata"]["labels"]["e2e"] = "caller"
        (pod,) = item["spec"]["template"]["spec"]["containers"]
        options = [word.partition("=") for word in pod["args"]]
        pod["args"] = [
            f"{name}{equals}{changed.get(name, value)}" for name, equals, value in options
        ]
        pod |= {"image": "player-sessions-load:e2e", "imagePullPolicy": "IfNotPresent"}
        del pod["resources"]
        key = {"secretKeyRef": {"name": f"{RELEASE}-keys", "key": "key"}}
        pod["env"] = [
            {"name": "KEEP", "value": "0"},
            {"name": "TARGET", "value": f"http://{RELEASE}"},
            {"name": "PLAYER_SESSIONS_LOAD_KEY", "valueFrom": key},
        ]
    return {"apiVersion": "v1", "kind": "List", "items": items}


def ready_since(pod: dict[str, Any]) -> str:
    ready = next(c for c in pod["status"]["conditions"] if c["type"] == "Ready")
    return f"{ready['status']} since {ready['lastTransitionTime']}"
