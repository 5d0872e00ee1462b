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
from tests.e2e.databases import Operators, StandIn
from tests.e2e.kubernetes import choose
from tests.e2e.plan import STEPS, Step, name, steps
from tests.e2e.playground import LOGS, Failed
from tests.e2e.policies import enforcing_agent, remove_agent
from tests.e2e.steps import Run


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
    parser.add_argument(
        "--operators", choices=("stand-in", "installed"), default="stand-in",
        help="installed: a real K8ssandraCluster, by the operators that run in the cluster",
    )  # fmt: skip
    parser.add_argument("--keep", action="store_true", help="leave namespace and cluster")
    parser.add_argument(
        "--enforce", action="store_true",
        help="run kube-router, which Go builds, so that NetworkPolicies are enforced",
    )  # fmt: skip
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="STEP",
        choices=[name(step) for step in (enforcing_agent, *STEPS)],
        help="run these steps in the namespace that a run with --keep left; implies --keep",
    )  # fmt: skip
    arguments = parser.parse_args()
    keep = arguments.keep or arguments.only
    try:
        target = choose(arguments.cluster, arguments.load)
        started = target.up()
        database = Operators() if arguments.operators == "installed" else StandIn()
        run = Run(target, database, enforce=arguments.enforce)
        if not arguments.only:
            run.remove()
    except (MissingTool, Failed) as error:
        say(f"make e2e: {error}")
        return 1
    try:
        return play(run, steps(enforce=arguments.enforce, only=arguments.only))
    finally:
        if not keep:
            run.remove()
            if arguments.enforce:
                remove_agent(run)
            if started:
                target.down()


def play(run: Run, chosen: tuple[Step, ...]) -> int:
    """Run the steps in order, print each with its time, and return the exit code."""
    begun = time.monotonic()
    for number, step in enumerate(chosen, 1):
        since = time.monotonic()
        say(f"{number:2}/{len(chosen)} {name(step)} …")
        try:
            found = step(run)
        except (Failed, MissingTool, subprocess.TimeoutExpired) as error:
            run.keep_logs()
            say(f"make e2e: {name(step)} failed: {error}\nthe pods' logs: {LOGS}")
            return 1
        say(f"      {time.monotonic() - since:5.0f} s  {found}")
    say(f"make e2e: all {len(chosen)} steps good in {time.monotonic() - begun:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
