"""`make chart`: everything about the chart that needs no cluster. `--write` makes its README."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from dev import manifest_schemas
from dev.charttools import ROOT, tool
from dev.toolchain import MissingTool, say

CHART = ROOT / "charts" / "player-sessions"
SCENARIOS = sorted((CHART / "ci").glob("*-values.yaml"))


class Failed(Exception):
    """A check failed; what it printed has been shown."""


def run(name: str, *arguments: str | Path, given: str | None = None) -> str:
    """What the tool printed; raises Failed after showing it."""
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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, epilog="Example: make chart")
    parser.add_argument("--write", action="store_true", help="write the chart's README.md")
    write = parser.parse_args().write
    try:
        if write:
            (CHART / "README.md").write_text(readme())
            return 0
        for check in (check_manifests, check_unit_tests, check_readme):
            say(f"== {check.__name__.removeprefix('check_').replace('_', ' ')}")
            check()
    except (MissingTool, Failed) as error:
        say(f"make chart: {error}")
        return 1
    say("the chart is good")
    return 0


if __name__ == "__main__":
    sys.exit(main())
