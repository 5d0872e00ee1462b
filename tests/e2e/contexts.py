"""Make the build contexts of all images other than the service's, each in a new folder."""

from __future__ import annotations

import shutil
from pathlib import Path

from dev import toolchain
from dev.charttools import ROOT
from player_sessions.store import schema

HERE = Path(__file__).parent


def next_release(folder: Path) -> Path:
    """Make a build context like this repository's, with one migration more."""
    folder.mkdir()
    for name in ("Dockerfile", ".dockerignore", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / name)
    for name in ("requirements", "service"):
        shutil.copytree(ROOT / name, folder / name)
    number = len(schema.migrations()) + 1
    migration = folder / "service" / "player_sessions" / "store" / "schema" / f"{number:04}_e2e.cql"
    migration.write_text(
        "-- serves: 1\nALTER TABLE $keyspace.session_starts ADD IF NOT EXISTS e2e int;\n"
    )
    return folder


def stand_in(folder: Path) -> Path:
    """Make the build context of the stand-in Cassandra: the launcher of dev/ and Maven's jars."""
    shutil.copytree(HERE / "cassandra", folder)
    shutil.copytree(ROOT / "dev", folder / "dev")
    shutil.copytree(toolchain.jars(), folder / "jars")
    return folder


def tester(folder: Path) -> Path:
    """Make the build context of the tests' image."""
    shutil.copytree(HERE / "tester", folder)
    shutil.copy(ROOT / "pyproject.toml", folder)
    for name in ("requirements", "service", "dev", "loadtest", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder
