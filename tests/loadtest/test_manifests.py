"""The manifests' own command lines work as master and workers against a double."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

from tests.loadtest.commands import ROOT, result
from tests.loadtest.double import Double, running

FOLDER = ROOT / "loadtest" / "k8s"
WORKERS = 2


def job(name: str) -> dict[str, Any]:
    (found,) = (
        each
        for each in yaml.safe_load_all((FOLDER / f"{name}.yaml").read_text())
        if each["kind"] == "Job"
    )
    spec: dict[str, Any] = found["spec"]
    return spec


def container(name: str) -> dict[str, Any]:
    (only,) = job(name)["template"]["spec"]["containers"]
    made: dict[str, Any] = only
    return made


def run(name: str, folder: Path, url: str, port: int) -> subprocess.CompletedProcess[str]:
    """Run a pod's command with the cluster's names replaced by local ones."""
    pod = container(name)
    here = {
        "--host=": f"--host={url}",
        "--master-host=": "--master-host=127.0.0.1",
        "--expect-workers=": f"--expect-workers={WORKERS}",
        "--users=": "--users=2",
        "--run-time=": "--run-time=3s",
        "--out=": f"--out={folder / 'out'}",
    }
    arguments = [
        next((new for old, new in here.items() if word.startswith(old)), word)
        for word in pod["args"]
    ]
    more = [f"--master-port={port}"]
    if name == "master":
        more = [f"--master-bind-port={port}", "--warm-up=0"]
    shell, flag, script, zeroth = pod["command"]
    script = script.replace("python -m", f"{sys.executable} -m").replace("/out", f"{folder}/out")
    return subprocess.run(
        [shell, flag, script, zeroth, *arguments, *more],
        cwd=ROOT, env={**os.environ, "KEEP": "0", "TARGET": url},
        capture_output=True, text=True, timeout=150,
    )  # fmt: skip


def test_master_and_workers_load_and_each_worker_audits_itself(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    names = ["master", *["workers"] * WORKERS]
    with running(Double()) as double, ThreadPoolExecutor(len(names)) as pool:
        pods = [pool.submit(run, name, tmp_path, double.url, port) for name in names]
        master, *workers = [pod.result() for pod in pods]
    assert "reports and journal" in master.stderr, master.stderr
    assert result(tmp_path / "out")["figures"]["all"]["requests_per_second"] > 0
    for worker in workers:
        assert worker.returncode == 0, worker.stderr
        assert "proven" in worker.stdout


def test_the_master_waits_for_as_many_workers_as_there_are() -> None:
    workers = job("workers")
    assert workers["completions"] == workers["parallelism"]
    assert f"--expect-workers={workers['completions']}" in container("master")["args"]


def test_they_load_the_chart_under_its_own_name_and_port() -> None:
    values = yaml.safe_load((ROOT / "charts" / "player-sessions" / "values.yaml").read_text())
    assert values["service"]["port"] == 80
    target = "http://player-sessions.player-sessions.svc"
    assert f"--host={target}" in container("master")["args"]
    assert {"name": "TARGET", "value": target} in container("workers")["env"]


def test_the_build_context_has_what_the_image_copies() -> None:
    copied = re.findall(r"^COPY (\S+)", (FOLDER / "Dockerfile").read_text(), re.MULTILINE)
    taken = (FOLDER / "Dockerfile.dockerignore").read_text().split()
    assert copied
    assert {f"!{path}" for path in copied} <= set(taken)


def test_pods_may_run_in_a_restricted_namespace() -> None:
    for name in ("master", "workers"):
        spec = job(name)["template"]["spec"]
        assert spec["securityContext"]["runAsNonRoot"]
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container(name)["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
