"""Rules for the repository's own files."""

from __future__ import annotations

import ast
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


def git_files(*options: str) -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", *options], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return listed.stdout.splitlines()


def test_no_tracked_file_is_also_ignored() -> None:
    assert git_files("--cached", "--ignored", "--exclude-standard") == []


def imports(file: Path) -> Iterator[str]:
    """Return the names that a file imports, counting `from` imports as modules too."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}: a relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def reached(file: Path) -> set[Path]:
    """Return the file and all files of this repository that it imports, also through others."""
    found, left = set(), [file]
    while left:
        each = left.pop()
        if each in found:
            continue
        found.add(each)
        modules = [ROOT / name.replace(".", "/") for name in imports(each)]
        candidates = [path for m in modules for path in (m.with_suffix(".py"), m / "__init__.py")]
        left += [path for path in candidates if path.exists()]
    return found


# Files of the package that may be longer than MAX_LINES, each with the reason; remove an entry when
# the file is short enough.
MAX_LINES = 250
LONG_FILES = {
    "service/player_sessions/store/schema/apply.py": "one procedure, read from top to bottom",
    "service/player_sessions/settings.py": "the one register of all settings",
    "service/player_sessions/telemetry/metrics.py": "the one register of all metrics",
}
# Functions that may be longer than MAX_FUNCTION_LINES, in the same way.
MAX_FUNCTION_LINES = 50
LONG_FUNCTIONS: dict[str, str] = {}
PACKAGE = "service/player_sessions/*.py"
SYSTEM = sorted((ROOT / "tests" / "system").glob("*.py"))


@pytest.mark.parametrize("file", [ROOT / "tests" / "conftest.py", *SYSTEM], ids=lambda f: f.name)
def test_a_black_box_test_imports_nothing_of_the_package_not_even_through_others(
    file: Path,
) -> None:
    guilty = {
        f"{each.relative_to(ROOT)} imports {name}"
        for each in reached(file)
        for name in imports(each)
        if name.partition(".")[0] == "player_sessions"
    }
    assert guilty == set()


def test_no_two_test_modules_share_a_name() -> None:
    """Check helper modules too, but not the names that pytest and Python give."""
    fixed = {"__init__.py", "__main__.py", "conftest.py"}
    names = Counter(Path(file).name for file in git_files("tests/*.py"))
    assert [name for name, many in names.items() if many > 1 and name not in fixed] == []


def private_attributes(file: Path) -> Iterator[str]:
    """Return the private names that a file takes from anything but `self` and `cls`."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_"):
            owner = node.value.id if isinstance(node.value, ast.Name) else ""
            if owner not in ("self", "cls") and not node.attr.startswith("__"):
                yield f"{file.relative_to(ROOT)}:{node.lineno} {node.attr}"
        elif isinstance(node, ast.ImportFrom):
            names = (alias.name for alias in node.names)
            yield from (f"{file.relative_to(ROOT)} {name}" for name in names if name[0] == "_")


def test_load_tools_take_no_private_names() -> None:
    files = sorted((ROOT / "loadtest").glob("**/*.py"))
    assert [name for file in files for name in private_attributes(file)] == []


def test_files_of_the_package_are_short() -> None:
    lines = {file: len((ROOT / file).read_text().splitlines()) for file in git_files(PACKAGE)}
    assert {file for file, many in lines.items() if many > MAX_LINES} == set(LONG_FILES)


def test_functions_are_short() -> None:
    long = {
        f"{file}:{node.name}"
        for file in git_files(PACKAGE, "loadtest/*.py", "dev/*.py")
        for node in ast.walk(ast.parse((ROOT / file).read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno + 1 > MAX_FUNCTION_LINES
    }
    assert long == set(LONG_FUNCTIONS)
