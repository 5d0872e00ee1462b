"""The docs and the code agree: what a page names exists, and what exists is in its page."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from dev.pages import with_reasons
from player_sessions.cli import main
from player_sessions.rules import reasons
from player_sessions.settings import Settings
from player_sessions.web import app as api
from player_sessions.web.context import Context

ROOT = Path(__file__).parent.parent.parent
PAGES = [ROOT / "README.md", *ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]


def page(name: str) -> str:
    return (ROOT / name).read_text()


@pytest.mark.parametrize(
    ("name", "command"),
    [("docs/settings.md", ["settings", "--markdown"]), ("docs/metrics.md", ["metrics"])],
)
def test_a_page_made_from_code_is_up_to_date(name: str, command: list[str]) -> None:
    assert page(name) == CliRunner().invoke(main, command).output, "run `make docs`"


def openapi() -> dict[str, Any]:
    service = Context(Settings(), None)  # type: ignore[arg-type]
    document: dict[str, Any] = api.build(service).openapi_schema.to_schema()
    return document


def test_every_route_is_in_the_page_and_every_route_of_the_page_exists() -> None:
    made = {
        f"{method.upper()} {path}" for path, item in openapi()["paths"].items() for method in item
    }
    table = page("docs/api.md").partition("## Events in")[0]
    written = set(re.findall(r"^\| `((?:GET|POST|PUT|DELETE) [^`]+)` \|", table, re.MULTILINE))
    assert written == made | {"GET /docs"}


def test_the_page_has_every_problem_and_reason_as_the_code_has_them() -> None:
    text = page("docs/api.md")
    assert text == with_reasons(text), "run `make docs`"
    rows = re.findall(r"^\| `([a-z-]+)` \|", text.partition("## Problems")[2], re.MULTILINE)
    assert {"overloaded", "unauthorized", "forbidden"} < set(rows)
    assert sorted(rows) == sorted(reasons.BY_NAME)


def test_every_reason_is_registered_once_with_its_words() -> None:
    defined = [value for value in vars(reasons).values() if isinstance(value, reasons.Reason)]
    assert {reason.name for reason in defined} == set(reasons.BY_NAME)
    assert len(defined) == len(reasons.OF_PROBLEMS) + len(reasons.OF_EVENT)
    for reason in defined:
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", reason.name)
        assert 400 <= reason.status < 600
        assert reason.title[0].isupper(), reason.name
        assert reason.advice.endswith("."), reason.name


def test_no_other_module_spells_a_reason_out() -> None:
    names = "|".join(name for name in reasons.BY_NAME if "-" in name)
    literal = re.compile(rf"""["'](?:{names})["']""")
    package = ROOT / "service" / "player_sessions"
    found = [
        f"{path.name}: {match[0]}"
        for path in package.rglob("*.py")
        if path.name != "reasons.py"
        for match in literal.finditer(path.read_text())
    ]
    assert found == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_and_named_files_exist(path: Path) -> None:
    text = path.read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
    named = re.findall(r"`((?:tests|dev|loadtest|docs|service)/[\w./-]+)`", text)
    for target in [path.parent / link for link in links] + [ROOT / name for name in named]:
        assert target.exists(), f"{path.name} names {target}"


def test_make_help_lists_every_target_and_pages_name_no_other() -> None:
    makefile = page("Makefile")
    targets = set(re.findall(r"^([a-z0-9]+):", makefile, re.MULTILINE))
    listed = subprocess.run(
        ["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert set(re.findall(r"^  make (\w+) ", listed, re.MULTILINE)) == targets
    for path in PAGES:
        named = set(
            re.findall(r"`make ([a-z0-9]+)`|^make ([a-z0-9]+)", path.read_text(), re.MULTILINE)
        )
        assert {a or b for a, b in named} <= targets, path.name


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [ROOT / name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


def test_no_file_names_a_registry_or_this_machine() -> None:
    hosts = "pypi" + ".org|python" + "hosted|repo" + ".maven|--index" + "-url|find" + "-links"
    forbidden = re.compile(hosts + f"|{re.escape(str(ROOT))}/")
    found = [
        f"{path}: {match[0]}"
        for path in tracked()
        if path.suffix not in (".png", ".svg")
        and (match := forbidden.search(path.read_text(errors="replace")))
    ]
    assert found == []


@pytest.mark.parametrize("name", ["service", "dev", "build", "loadtest"])
def test_every_pinned_package_has_hashes(name: str) -> None:
    text = page(f"requirements/{name}.txt").replace("\\\n", "")
    pins = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert pins
    assert all("==" in pin and "--hash=sha256:" in pin for pin in pins)
