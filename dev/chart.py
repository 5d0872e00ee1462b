"""`make chart`: check everything about the chart that needs no cluster.

With `--write` it writes the chart's README instead.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import yaml

from dev import manifest_schemas, pod_requests
from dev.charttools import ROOT, has, tool
from dev.toolchain import MissingTool, say

CHART = ROOT / "charts" / "player-sessions"
DEVELOPMENT = CHART / "ci" / "development-values.yaml"
CLUSTERS = ROOT / "k8s" / "k8ssandra"
NODE = CLUSTERS / "dev" / "cluster.yaml"
SCENARIOS = [
    *sorted((CHART / "ci").glob("*-values.yaml")),
    *sorted(CLUSTERS.glob("*/values/*.yaml")),
]
# The schemas of the operators' kinds; cert-manager's two kinds have none here.
OPERATORS = (
    "tests/chart/schemas/{{.Group}}_{{.ResourceKind}}_{{.ResourceAPIVersion}}.json",
    "Issuer,Certificate",
)


class Failed(Exception):
    """A check failed; what it printed has been shown."""


def run(name: str, *arguments: str | Path, given: str | None = None) -> str:
    """Return what the tool printed; if it fails, show that and raise Failed."""
    done = subprocess.run(
        [tool(name), *arguments], cwd=ROOT, input=given, capture_output=True, text=True
    )
    if done.returncode:
        say(done.stdout + done.stderr)
        raise Failed(f"{name} {' '.join(str(part) for part in arguments)}")
    return done.stdout


def readme() -> str:
    return run("helm-docs", "--chart-search-root", CHART, "--dry-run", "--log-level", "error")


def check_readme() -> None:
    if readme().strip() != (CHART / "README.md").read_text().strip():
        raise Failed("the chart's README.md does not fit its values.yaml: run `make docs`")


def check_unit_tests() -> None:
    templates = {f.stem for f in CHART.glob("templates/*") if not f.name.startswith("_")}
    tested = {f.name.removesuffix("_test.yaml") for f in CHART.glob("tests/*_test.yaml")}
    if templates != tested:
        raise Failed(f"of these there is only the template or its test: {templates ^ tested}")
    say(run("helm-unittest", "--strict", CHART).strip())


def check_manifests() -> None:
    schemas = manifest_schemas.location()
    for values in [None, *SCENARIOS]:
        given: list[str | Path] = ["--values", values] if values else []
        run("helm", "lint", "--strict", CHART, *given)
        manifests = run("helm", "template", "example", CHART, "--namespace", "games", *given)
        found = run(
            *("kubeconform", "-strict", "-summary", "-schema-location", schemas), given=manifests
        )
        say(f"{values.name if values else 'no values'}: {found.strip()}")


def check_kustomizations() -> None:
    """Render each kustomization of k8s/k8ssandra and compare it with the schemas."""
    ours, (operators, skipped) = manifest_schemas.location(), OPERATORS
    for file in sorted(CLUSTERS.rglob("kustomization.yaml")):
        found = run(
            *("kubeconform", "-strict", "-summary", "-skip", skipped),
            *("-schema-location", ours, "-schema-location", operators),
            given=run(*kustomize(), file.parent),
        )
        say(f"{file.parent.relative_to(CLUSTERS)}: {found.strip()}")


def kustomize() -> tuple[str, ...]:
    """Return the command that renders a kustomization: kubectl has one, else Go builds it."""
    return ("kubectl", "kustomize") if has("kubectl") else ("kustomize", "build")


def check_requests() -> None:
    """Compare the README with what the pods of `skaffold run` request."""
    rendered = run("helm", "template", "example", CHART, "--values", DEVELOPMENT)
    chart = [each for each in yaml.safe_load_all(rendered) if each]
    words = pod_requests.statement(chart, yaml.safe_load(NODE.read_text()))
    if words not in " ".join((ROOT / "README.md").read_text().split()):
        raise Failed(f"README.md must say that the development profile requests {words}")
    say(words)


CHECKS = (
    check_manifests,
    check_kustomizations,
    check_unit_tests,
    check_readme,
    check_requests,
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, epilog="Example: make chart")
    parser.add_argument("--write", action="store_true", help="write the chart's README.md")
    write = parser.parse_args().write
    try:
        if write:
            (CHART / "README.md").write_text(readme())
            return 0
        for check in CHECKS:
            say(f"== {check.__name__.removeprefix('check_').replace('_', ' ')}")
            check()
    except (MissingTool, Failed) as error:
        say(f"make chart: {error}")
        return 1
    say("the chart is good")
    return 0


if __name__ == "__main__":
    sys.exit(main())
