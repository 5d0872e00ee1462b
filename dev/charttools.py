"""Find the chart's tools in PATH or in a Kubernetes lab, or build pinned versions with Go.

The variable PLAYER_SESSIONS_DEV_KUBE may name a lab: a folder whose program `cluster env` prints
the variables of a shell that has the tools. Tools that are built here go to `.tools/`; their
versions and hashes are in `charttools/go.mod` and `go.sum`. Standard library only.
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
LAB_VARIABLE = "PLAYER_SESSIONS_DEV_KUBE"
# Helm's plugin also runs by itself; the lab has it under the plugin's own name.
_ALSO_CALLED = {"helm-unittest": "untt"}


@cache
def tool(name: str) -> Path:
    """Return the path of a program; raise MissingTool with what to install."""
    return _found(name) or built(name, MODULE)


def has(name: str) -> bool:
    """Return whether the program exists already."""
    return _found(name) is not None


def _found(name: str) -> Path | None:
    names = [name, *filter(None, [_ALSO_CALLED.get(name)])]
    for path in (None, _lab_path()):
        for each in names:
            if found := shutil.which(each, path=path):
                return Path(found)
    return None


def lab() -> Path | None:
    """Return the lab's folder, or None; raise MissingTool where the variable names no lab."""
    named = os.environ.get(LAB_VARIABLE)
    if not named:
        return None
    folder = ROOT / named
    if not (folder / "cluster").exists():
        raise MissingTool(
            f"{LAB_VARIABLE}={named} is no Kubernetes lab: set it to a folder with a program"
            " `cluster`, or unset it"
        )
    return folder


@cache
def lab_environ() -> dict[str, str]:
    """Return the variables of the lab's shell; empty where there is no lab."""
    folder = lab()
    if folder is None:
        return {}
    run = subprocess.run([folder / "cluster", "env"], capture_output=True, text=True, check=True)
    words = (word.partition("=") for word in shlex.split(run.stdout))
    return {name: value.replace("$PATH", "") for name, _, value in words if value}


def _lab_path() -> str:
    environ = lab_environ()
    plugin = f"{environ.get('HELM_PLUGINS', '')}/unittest"
    return os.pathsep.join([environ.get("PATH", ""), plugin])


def go_module(module: str) -> Path:
    """Return the folder of a module's sources, such as k8s.io/kubernetes@v1.33.13."""
    found = _go("mod", "download", "-json", module)
    line = next(line for line in found.splitlines() if line.strip().startswith('"Dir"'))
    return Path(line.split('"')[3])


def built(name: str, module: Path) -> Path:
    """Return the path of a program that Go builds with the other tools of `module`."""
    binary = BUILT / name
    with locked(BUILT / "lock"):
        if binary.exists() and binary.stat().st_mtime > (module / "go.sum").stat().st_mtime:
            return binary
        say(f"building {name} takes a few minutes")
        _go(
            *("install", "-ldflags", "-s -w", "tool"),
            module=module, GOBIN=str(BUILT), CGO_ENABLED="0",
        )  # fmt: skip
    return binary


def _go(*arguments: str, module: Path = MODULE, **environ: str) -> str:
    go = shutil.which("go")
    if go is None:
        raise MissingTool(
            "install Go 1.26 or newer, or helm, helm-unittest, helm-docs and kubeconform; or set"
            f" {LAB_VARIABLE} to a Kubernetes lab that has them"
        )
    run = subprocess.run(
        [go, *arguments],
        cwd=module,
        env=os.environ | {"GOFLAGS": "-trimpath -buildvcs=false"} | environ,
        stdout=subprocess.PIPE,
        text=True,
    )
    if run.returncode:
        raise MissingTool(f"`go {' '.join(arguments)}` failed: see above")
    return run.stdout
