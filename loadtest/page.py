"""Write the tables of a run into a page of the docs, with when, how and where it was made."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dev import toolchain

DOCS = Path(__file__).parent.parent / "docs"
_PACKAGES = (
    "cassandra-driver", "litestar", "uvicorn", "uvloop", "httptools", "msgspec", "flask",
)  # fmt: skip


def about(program: str) -> dict[str, Any]:
    """Return when, by which command and on which machine the figures were measured."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "command": command(program),
        "machine": machine(),
    }


def machine() -> dict[str, str]:
    """Return what the figures depend on, without a name of this machine."""
    jars = list(toolchain.jars().glob("cassandra-all-*.jar"))
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "kernel": platform.release().partition("-")[0],
        "Python": platform.python_version(),
        "Java": toolchain.java_version(toolchain.java()),
        "Cassandra": jars[0].stem.removeprefix("cassandra-all-"),
        **{name: version(name) for name in _PACKAGES},
    }


def command(program: str) -> str:
    """Return the command that was typed, without the folders of whoever typed it."""
    words = [Path(word).name if word.startswith("/") else word for word in sys.argv[1:]]
    return shlex.join(["python", "-m", f"loadtest.{program}", *words])


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table; a head that ends with `:` aligns its column right."""
    rule = ["--:" if each.endswith(":") else "---" for each in head]
    lines = [[each.removesuffix(":") for each in head], rule, *rows]
    return [f"| {' | '.join(cells)} |" for cells in lines]


def holds(value: bool) -> str:
    """Return the word for a bar that holds or does not."""
    return "yes" if value else "**no**"


def write_sections(page: Path, program: str, tables: dict[str, str]) -> None:
    """Replace each table between the page's markers of that name, with where it comes from."""
    origin = about(program)
    for marker, text in tables.items():
        write(page, origin, text, marker)


def write(page: Path, about: dict[str, Any], tables: str, marker: str = "bench") -> None:
    """Replace what stands between the page's markers with the tables and where they come from."""
    machine = ", ".join(f"{name} {value}" for name, value in about["machine"].items())
    made = f"Measured {about['date']} with `{about['command']}` on: {machine}.\n\n{tables}\n"
    replace(page, marker, made)


def replace(page: Path, marker: str, text: str) -> None:
    """Replace what stands between the page's markers."""
    first, last = f"<!-- {marker}:begin -->\n", f"<!-- {marker}:end -->\n"
    before, begin, rest = page.read_text().partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end:
        raise ValueError(f"{page} lacks the lines {first.strip()} and {last.strip()}")
    page.write_text(before + begin + text + end + after)
