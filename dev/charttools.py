"""The chart's tools: from PATH, else from a Kubernetes lab, else built here by Go, pinned.

The lab is a folder whose program `cluster env` prints the variables of a shell that has the tools:
PLAYER_SESSIONS_DEV_KUBE, by default `../shared/kube`. What is built lies in `.tools/`; its versions
and hashes are those of `charttools/go.mod` and `go.sum`. Standard library only.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from functools import cache
from pathlib import Path

from dev.toolchain import MissingTool, locked, say

ROOT = Path(__file__).parent.parent
MODULE = ROOT / "dev" / "charttools"
BUILT = ROOT / ".tools"
LAB = ROOT / (os.environ.get("PLAYER_SESSIONS_DEV_KUBE") or "../shared/kube")
# Helm's plugin runs by itself too; the lab has it under the plugin's own name.
_ALSO_CALLED = {"helm-unittest": "untt"}


@cache
def tool(name: str) -> Path:
    """The program `name`; raises MissingTool with what to install."""
    names = [name, *filter(None, [_ALSO_CALLED.get(name)])]
    for path in (None, _lab_path()):
        for each in names:
            if found := shutil.which(each, path=path):
                return Path(found)
    return _built(name)


@cache
def lab_environ() -> dict[str, str]:
    """The variables of the lab's shell; empty where there is no lab."""
    if not (LAB / "cluster").exists():
        return {}
    run = subprocess.run([LAB / "cluster", "env"], capture_output=True, text=True, check=True)
    words = (word.partition("=") for word in shlex.split(run.stdout))
    return {name: value.replace("$PATH", "") for name, _, value in words if value}


def _lab_path() -> str:
    environ = lab_environ()
    plugin = f"{environ.get('HELM_PLUGINS', '')}/unittest"
    return os.pathsep.join([environ.get("PATH", ""), plugin])


def go_module(module: str) -> Path:
    """The folder of a module's sources, such as k8s.io/kubernetes@v1.33.13."""
    found = _go("mod", "download", "-json", module)
    line = next(line for line in found.splitlines() if line.strip().startswith('"Dir"'))
    return Path(line.split('"')[3])


def _built(name: str) -> Path:
    binary = BUILT / name
    with locked(BUILT / "lock"):
        if binary.exists() and binary.stat().st_mtime > (MODULE / "go.sum").stat().st_mtime:
            return binary
        say(f"{name} is neither in PATH nor in a lab: building the chart's tools (a few minutes)")
        _go("install", "-ldflags", "-s -w", "tool", GOBIN=str(BUILT), CGO_ENABLED="0")
    return binary


def _go(*arguments: str, **environ: str) -> str:
    go = shutil.which("go")
    if go is None:
        raise MissingTool(
            "install Go 1.26 or newer, or helm, helm-unittest, helm-docs, kubeconform"
        )
    run = subprocess.run(
        [go, *arguments],
        cwd=MODULE,
        env=os.environ | {"GOFLAGS": "-trimpath -buildvcs=false"} | environ,
        stdout=subprocess.PIPE,
        text=True,
    )
    if run.returncode:
        raise MissingTool(f"`go {' '.join(arguments)}` failed: see above")
    return run.stdout
