"""`make e2e`: the image, the chart and the service on a real Kubernetes, from install to reinstall.

Everything happens in one namespace of its own. Each step prints what it did; when one fails, the
logs of all pods and the events are kept.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

from dev.toolchain import MissingTool, say
from tests.e2e.playground import LOGS, Failed
from tests.e2e.steps import STEPS, Run
from tests.e2e.target import choose


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.e2e",
        description="Try image, chart and service on a real Kubernetes.",
        epilog="Example: make e2e E2E='--cluster current --load \"minikube image load\"'",
    )
    parser.add_argument(
        "--cluster", choices=("auto", "lab", "kind", "current"), default="auto",
        help="auto: the lab of PLAYER_SESSIONS_DEV_KUBE where there is one, else kind;"
        " current: the kubeconfig at hand",
    )  # fmt: skip
    parser.add_argument("--load", default="", help="with current: the command that loads an image")
    parser.add_argument("--keep", action="store_true", help="leave namespace and cluster")
    arguments = parser.parse_args()
    try:
        target = choose(arguments.cluster, arguments.load)
        started = target.up()
        run = Run(target)
        run.remove()
    except (MissingTool, Failed) as error:
        say(f"make e2e: {error}")
        return 1
    try:
        return play(run)
    finally:
        if not arguments.keep:
            run.remove()
            if started:
                target.down()


def play(run: Run) -> int:
    """The steps in order, each with its time; the exit code."""
    begun = time.monotonic()
    for number, step in enumerate(STEPS, 1):
        name, since = step.__name__.replace("_", " "), time.monotonic()
        say(f"{number:2}/{len(STEPS)} {name} …")
        try:
            found = step(run)
        except (Failed, MissingTool, subprocess.TimeoutExpired) as error:
            run.keep_logs()
            say(f"make e2e: {name} failed: {error}\nthe pods' logs: {LOGS}")
            return 1
        say(f"      {time.monotonic() - since:5.0f} s  {found}")
    say(f"make e2e: all {len(STEPS)} steps good in {time.monotonic() - begun:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
