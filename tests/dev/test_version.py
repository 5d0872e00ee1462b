"""All places have the same version, and one command changes it in all of them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

import player_sessions
from dev import version

TODAY = date(2026, 1, 31)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Copy the files that name the version, with something unreleased in the changelog."""
    for name in [*version.PLACES, version.CHANGELOG]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(version.ROOT / name, tmp_path / name)
    changelog = tmp_path / version.CHANGELOG
    changelog.write_text(
        changelog.read_text().replace(version.UNRELEASED, "## Unreleased\n\n- More.\n")
    )
    return tmp_path


def test_this_repository_has_one_version_and_the_command_prints_it() -> None:
    done = subprocess.run(
        [sys.executable, version.ROOT / "dev" / "version.py"], capture_output=True, text=True
    )
    assert (done.stdout.strip(), done.stderr) == (player_sessions.__version__, "")


def test_a_new_version_is_written_everywhere_and_nothing_else_changes(copy: Path) -> None:
    names = [*version.PLACES, version.CHANGELOG]
    before = {name: (copy / name).read_text().splitlines() for name in names}
    version.change(copy, "7.8.9", TODAY)
    assert version.current(copy) == "7.8.9"
    for name, patterns in version.PLACES.items():
        after = (copy / name).read_text().splitlines()
        changed = [line for line, old in zip(after, before[name], strict=True) if line != old]
        assert len(changed) == len(patterns)
        assert all("7.8.9" in line for line in changed)


def test_what_was_unreleased_becomes_the_notes_of_the_release(copy: Path) -> None:
    version.change(copy, "7.8.9", TODAY)
    assert (
        "## Unreleased\n\n## 7.8.9 (2026-01-31)\n\n- More."
        in (copy / version.CHANGELOG).read_text()
    )
    assert version.notes(copy).startswith("- More.")
    assert "## " not in version.notes(copy).replace("### ", "")


@pytest.mark.parametrize("name", list(version.PLACES))
def test_a_place_that_was_forgotten_is_named(copy: Path, name: str) -> None:
    version.change(copy, "7.8.9", TODAY)
    file = copy / name
    file.write_text(file.read_text().replace("7.8.9", "7.8.8", 1))
    with pytest.raises(version.Disagreement, match=f"7.8.8 +{name}"):
        version.current(copy)


def test_a_changelog_that_lacks_the_release_is_named(copy: Path) -> None:
    version.change(copy, "7.8.9", TODAY)
    changelog = copy / version.CHANGELOG
    changelog.write_text(changelog.read_text().replace("## 7.8.9", "## 7.8.8"))
    with pytest.raises(version.Disagreement, match=r"7\.8\.8 +CHANGELOG"):
        version.current(copy)


@pytest.mark.parametrize("wrong", ["7.8", "v7.8.9", "7.8.9-rc1", "7.8.8"])
def test_an_invalid_or_older_version_changes_nothing(copy: Path, wrong: str) -> None:
    version.change(copy, "7.8.8", TODAY)
    with pytest.raises(version.Disagreement, match=wrong):
        version.change(copy, wrong, TODAY)
    assert version.current(copy) == "7.8.8"


def test_a_release_without_changes_is_refused(copy: Path) -> None:
    version.change(copy, "7.8.8", TODAY)
    with pytest.raises(version.Disagreement, match="nothing under"):
        version.change(copy, "7.8.9", TODAY)
    assert version.current(copy) == "7.8.8"
