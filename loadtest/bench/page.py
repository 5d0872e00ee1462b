"""Where a run was made, and how its tables come into a page."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dev import toolchain

_PACKAGES = (
    "cassandra-driver", "litestar", "uvicorn", "uvloop", "httptools", "msgspec", "flask",
)  # fmt: skip


def machine() -> dict[str, str]:
    """What the figures depend on, without a name of this machine."""
    run = subprocess.run([toolchain.java(), "-version"], capture_output=True, text=True)
    jars = list(toolchain.jars().glob("cassandra-all-*.jar"))
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "kernel": platform.release().partition("-")[0],
        "Python": platform.python_version(),
        "Java": run.stderr.splitlines()[0].split('"')[1],
        "Cassandra": jars[0].stem.removeprefix("cassandra-all-"),
        **{name: version(name) for name in _PACKAGES},
    }


def command(program: str) -> str:
    """What was typed, without the folders of whoever typed it."""
    words = [Path(word).name if word.startswith("/") else word for word in sys.argv[1:]]
    return shlex.join(["python", "-m", program, *words])


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def write(page: Path, document: dict[str, Any], tables: str, marker: str = "bench") -> None:
    """Replace what stands between the page's markers."""
    first, last = f"<!-- {marker}:begin -->\n", f"<!-- {marker}:end -->\n"
    before, begin, rest = page.read_text().partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end:
        raise ValueError(f"{page} lacks the lines {first.strip()} and {last.strip()}")
    machine = ", ".join(f"{name} {value}" for name, value in document["machine"].items())
    made = f"Measured {document['date']} with `{document['command']}` on: {machine}.\n\n{tables}\n"
    page.write_text(before + begin + made + end + after)
