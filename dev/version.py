"""The one version in all places: the package, its metadata, the chart and the changelog.

Standard library only, so that a release job can use it before anything is installed.
"""

from __future__ import annotations

import argparse
import re
import sys
from datetime import date
from pathlib import Path

ROOT = Path(__file__).parent.parent
# The group of each pattern is the version; each pattern matches once in its file.
PLACES = {
    "pyproject.toml": [r'^version = "(.+)"$'],
    "service/player_sessions/__init__.py": [r'^__version__ = "(.+)"$'],
    "charts/player-sessions/Chart.yaml": [
        r'^version: "?([^"\s]+)"?$',
        r'^appVersion: "?([^"\s]+)"?$',
    ],
}
CHANGELOG = "CHANGELOG.md"
VERSION = r"\d+\.\d+\.\d+"
RELEASE = re.compile(rf"^## ({VERSION}) \(.+\)$", re.M)
UNRELEASED = "## Unreleased\n"


class Disagreement(Exception):
    """The places cannot be made to agree; the message says which ones and what to do."""


def current(root: Path) -> str:
    """Return the version that all places have; raise Disagreement."""
    found = {
        f"{name}: {re.match('[^:= ]+', pattern.lstrip('^'))[0]}": once(root / name, pattern)[1]  # type: ignore[index]
        for name, patterns in PLACES.items()
        for pattern in patterns
    }
    if released := RELEASE.search((root / CHANGELOG).read_text()):
        found[f"{CHANGELOG}: newest release"] = released[1]
    if len(set(found.values())) != 1:
        listed = "\n".join(f"  {version:10} {place}" for place, version in found.items())
        raise Disagreement(
            f"not one version, but:\n{listed}\nmake version VERSION=x.y.z sets them all"
        )
    return found.popitem()[1]


def once(file: Path, pattern: str) -> re.Match[str]:
    matches = list(re.finditer(pattern, file.read_text(), re.M))
    if len(matches) != 1:
        raise Disagreement(f"{file}: {pattern} stands {len(matches)} times in it, not once")
    return matches[0]


def change(root: Path, version: str, today: date) -> None:
    """Write `version` everywhere, and date the unreleased part of the changelog."""
    before = current(root)
    text = (root / CHANGELOG).read_text()
    if not re.fullmatch(VERSION, version):
        raise Disagreement(f"{version} is not of the form 1.2.3")
    if RELEASE.search(text) and numbers(version) <= numbers(before):
        raise Disagreement(f"{version} does not come after {before}, which is released")
    head, found, rest = text.partition(UNRELEASED)
    if not found or not RELEASE.split(rest)[0].strip():
        raise Disagreement(f"{CHANGELOG} has nothing under '{UNRELEASED.strip()}' to release")
    (root / CHANGELOG).write_text(f"{head}{UNRELEASED}\n## {version} ({today})\n{rest}")
    for name, patterns in PLACES.items():
        for pattern in patterns:
            match = once(root / name, pattern)
            source = match.string
            (root / name).write_text(source[: match.start(1)] + version + source[match.end(1) :])


def numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


def notes(root: Path) -> str:
    """Return the changelog's text of the newest release."""
    _, _, text, *_ = [*RELEASE.split((root / CHANGELOG).read_text()), "", ""]
    return text.strip()


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Print the version that all places agree on, or set it in all of them.",
        epilog="Example: make version VERSION=1.2.0",
    )
    parser.add_argument("version", nargs="?", help="new version, such as 1.2.0")
    parser.add_argument("--notes", action="store_true", help="print the newest release's changes")
    arguments = parser.parse_args()
    try:
        if arguments.version:
            change(ROOT, arguments.version, date.today())
        print(notes(ROOT) if arguments.notes else current(ROOT))
    except (Disagreement, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
