"""The clusters in which `make e2e` can run: the lab's, kind's, or that of the current kubeconfig.

Each class builds an image and brings it into the cluster's nodes.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from dev.charttools import LAB_VARIABLE, ROOT, lab, lab_environ
from dev.toolchain import MissingTool, say

KIND = "player-sessions-e2e"
_ARGUMENT = re.compile(r"^ARG (PYTHON_IMAGE=\S+)$", re.MULTILINE)


class Target:
    """The cluster of the current kubeconfig.

    `load` is a command that gets an image's name, such as `minikube image load`.
    """

    def __init__(self, load: str) -> None:
        self.load = load.split()

    @property
    def environ(self) -> dict[str, str]:
        return {}

    def up(self) -> bool:
        """Start the cluster if necessary; return whether this call started it."""
        return False

    def down(self) -> None:
        pass

    def image(self, name: str, context: Path, *options: str) -> None:
        """Build `context` as the image `name`, on the service's base, and load it."""
        base = _ARGUMENT.findall((ROOT / "Dockerfile").read_text())[0]
        run("docker", "build", "-q", "-t", name, "--build-arg", base, *options, str(context))
        if self.load:
            run(*self.load, name)


class Kind(Target):
    def __init__(self) -> None:
        super().__init__(f"kind load docker-image --name {KIND}")
        self.kubeconfig = ROOT / ".e2e" / "kind.kubeconfig"

    @property
    def environ(self) -> dict[str, str]:
        return {"KUBECONFIG": str(self.kubeconfig)}

    def up(self) -> bool:
        self.kubeconfig.parent.mkdir(exist_ok=True)
        into = ("--name", KIND, "--kubeconfig", str(self.kubeconfig))
        if KIND in run("kind", "get", "clusters").split():
            run("kind", "export", "kubeconfig", *into)
            return False
        run("kind", "create", "cluster", *into, show=True)
        return True

    def down(self) -> None:
        run("kind", "delete", "cluster", "--name", KIND)


class Lab(Target):
    """The cluster of PLAYER_SESSIONS_DEV_KUBE, by its programs `cluster` and `images`."""

    def __init__(self, folder: Path) -> None:
        super().__init__("")
        self.folder = folder

    @property
    def environ(self) -> dict[str, str]:
        environ = lab_environ()
        return {**environ, "PATH": environ["PATH"] + os.environ["PATH"]}

    def up(self) -> bool:
        status = subprocess.run([self.folder / "cluster", "status"], capture_output=True)
        for command in (("cluster", "build"), ("cluster", "up"), ("images", "base", "3.12")):
            run(str(self.folder / command[0]), *command[1:], show=True)
        return status.returncode != 0

    def down(self) -> None:
        run(str(self.folder / "cluster"), "down")

    def image(self, name: str, context: Path, *options: str) -> None:
        # The lab reaches no registry, so its base has no digest.
        base = ("--build-arg", "PYTHON_IMAGE=python:3.12-slim")
        archive = run(str(self.folder / "images"), "build", name, str(context), *base, *options)
        run(str(self.folder / "cluster"), "load", archive.strip())


def choose(where: str, load: str) -> Target:
    """Return the target called `where`; raise MissingTool if there is none."""
    if where == "current":
        return Target(load)
    folder = lab() if where in ("auto", "lab") else None
    if folder is not None:
        return Lab(folder)
    if where in ("auto", "kind") and shutil.which("kind") and shutil.which("docker"):
        return Kind()
    raise MissingTool(
        f"no cluster: install kind and Docker, or set {LAB_VARIABLE} to the folder of a Kubernetes"
        " lab, or give --cluster current --load 'minikube image load' for the kubeconfig at hand"
    )


def run(*command: str, show: bool = False) -> str:
    """Return what the program printed; show its messages as they come, or only on failure."""
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=None if show else subprocess.PIPE, text=True
        )
    except OSError as error:
        raise MissingTool(f"`{command[0]}` does not run: {error}") from error
    if done.returncode:
        say(done.stderr or "")
        raise MissingTool(f"`{' '.join(command)}` failed: see above")
    return done.stdout
