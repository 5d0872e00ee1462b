"""A namespace of a cluster, changed by kubectl and helm, and the load that runs in it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dev.charttools import ROOT, tool

HERE = Path(__file__).parent
LOGS = ROOT / ".e2e" / "logs"
NAMESPACE = "player-sessions-e2e"
RELEASE = "player-sessions"  # this is also the full name of its objects
SCHEMA = "app.kubernetes.io/component=schema"  # the label of the schema Jobs
CHART = ROOT / "charts" / "player-sessions"


class Failed(Exception):
    """A step did not do what it should."""


def expect(condition: object, what: str) -> None:
    if not condition:
        raise Failed(what)


class Playground:
    """The namespace of the steps; `environ` tells kubectl and helm which cluster to use."""

    def __init__(self, environ: dict[str, str]) -> None:
        self.environ = {**os.environ, **environ}

    def kubectl_everywhere(self, *arguments: str, given: str | None = None) -> str:
        """Run kubectl for objects of no namespace, or of another one than ours."""
        return self._call("kubectl", *arguments, given=given)

    def kubectl(self, *arguments: str, given: str | None = None) -> str:
        return self._call("kubectl", "--namespace", NAMESPACE, *arguments, given=given)

    def helm(self, *arguments: str) -> str:
        return self._call("helm", "--namespace", NAMESPACE, *arguments)

    def _call(self, name: str, *arguments: str, given: str | None = None) -> str:
        done = subprocess.run(
            [tool(name), *arguments],
            env=self.environ,
            input=given,
            capture_output=True,
            text=True,
            timeout=600,
        )
        if done.returncode:
            command = " ".join([name, *arguments])
            raise Failed(f"{command}\n{done.stdout[-2000:]}{done.stderr[-2000:]}".strip())
        return done.stdout

    def upgrade(self, *values: str) -> str:
        """Upgrade or install the release; return the last line of the schema Job's log."""
        given = ["--reuse-values"] if self._installed() else ["--values", str(HERE / "values.yaml")]
        sets = [part for value in values for part in ("--set", value)]
        wait = ("--wait", "--wait-for-jobs", "--timeout", "5m")
        self.helm("upgrade", "--install", RELEASE, str(CHART), *wait, *given, *sets)
        return self.job_log()[-1]

    def _installed(self) -> bool:
        return RELEASE in self.helm("list", "--short", "--all").split()

    def schema_job(self) -> str:
        """Return the newest schema Job, as job.batch/NAME."""
        order = "--sort-by=.metadata.creationTimestamp"
        jobs = self.kubectl("get", "jobs", "--selector", SCHEMA, order, "--output=name")
        return jobs.split()[-1]

    def job_log(self) -> list[str]:
        return self.kubectl("logs", self.schema_job()).strip().splitlines()

    def cql(self, query: str) -> list[Any]:
        command = ("exec", "-i", "stranger", "--", "python", "/scripts/cql.py")
        return [json.loads(line) for line in self.kubectl(*command, given=query).splitlines()]

    def pods(self) -> list[dict[str, Any]]:
        selector = "app.kubernetes.io/component=service"
        found: list[dict[str, Any]] = json.loads(
            self.kubectl("get", "pods", "--selector", selector, "--output", "json")
        )["items"]
        return found

    def until(self, condition: Callable[[], Any], what: str, seconds: float = 120) -> Any:
        limit = time.monotonic() + seconds
        while not (value := condition()):
            expect(time.monotonic() < limit, f"waited {seconds:g} s for this: {what}")
            time.sleep(0.5)
        return value

    def counts(self) -> dict[str, Any]:
        lines = self.kubectl("logs", "load", "--tail=1").splitlines()
        found: dict[str, Any] = json.loads(lines[-1]) if lines else {}
        return found

    @contextlib.contextmanager
    def under_load(self, *, may_fail: bool = False) -> Iterator[list[str]]:
        """Measure the load during the body; the list then has the line to report."""
        before, report = self.counts(), list[str]()
        yield report
        self.until(self.undisturbed, "the load goes on and no request fails")
        after = self.counts()
        requests, failed = (after[key] - before[key] for key in ("requests", "failed"))
        report.append(f"{failed} of {requests} requests failed")
        expect(may_fail or not failed, f"{report[0]}: {after['failures']}")

    def undisturbed(self) -> bool:
        before = self.counts()
        time.sleep(3)
        after = self.counts()
        return bool(
            after["failed"] == before["failed"] and after["acknowledged"] > before["acknowledged"]
        )

    def keep_logs(self) -> None:
        """Write the events and all pods' logs, also from before a restart, to .e2e/."""
        shutil.rmtree(LOGS, ignore_errors=True)
        (LOGS).mkdir(parents=True)
        wanted: dict[str, tuple[str, ...]] = {"events.txt": ("get", "events")}
        for pod in self.kubectl("get", "pods", "--output=name").split():
            name = pod.rpartition("/")[2]
            wanted[f"{name}.yaml"] = ("get", pod, "--output=yaml")
            wanted[f"{name}.log"] = ("logs", pod, "--all-containers")
            wanted[f"{name}.previous.log"] = ("logs", pod, "--all-containers", "--previous")
        for file, command in wanted.items():
            with contextlib.suppress(Failed):
                (LOGS / file).write_text(self.kubectl(*command))

    def remove(self) -> None:
        self.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=3m")
