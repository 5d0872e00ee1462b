"""Prometheus' own tool accepts the rules, and each alert has its tests and its page."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from dev import toolchain
from player_sessions.telemetry import metrics
from tests.operations.test_dashboard import MADE

ROOT = Path(__file__).parents[2]
RULES = ROOT / "charts" / "player-sessions" / "files" / "rules.yaml"
TESTS = Path(__file__).parent / "rules_test.yaml"
RUNBOOKS = ROOT / "docs" / "runbooks"
ALERTS: dict[str, dict[str, Any]] = {
    rule["alert"]: rule
    for group in yaml.safe_load(RULES.read_text())["groups"]
    for rule in group["rules"]
    if "alert" in rule
}


@pytest.mark.parametrize("command", [("check", RULES), ("test", TESTS)], ids=["check", "test"])
def test_promtool_finds_no_error(command: tuple[str, Path]) -> None:
    kind, file = command
    promtool = toolchain.program("promtool", "prometheus")
    run = subprocess.run([promtool, kind, "rules", file], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_is_shown_firing_and_silent_before_or_after(alert: str) -> None:
    fires: list[str] = []
    silent: list[str] = []
    for test in yaml.safe_load(TESTS.read_text())["tests"]:
        for each in test["alert_rule_test"]:
            if each["alertname"] == alert:
                (fires if each.get("exp_alerts") else silent).append(test["name"])
    assert fires
    assert set(fires) & set(silent), "the alert is never silent in a test in which it also fires"
    assert len(set(silent)) >= 2, "the alert is never silent in a healthy service"


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_has_a_severity_and_a_runbook(alert: str) -> None:
    rule = ALERTS[alert]
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["runbook_url"] == f"docs/runbooks/{alert}.md"
    page = (RUNBOOKS / f"{alert}.md").read_text()
    assert page.startswith(f"# {alert}\n")
    headings = [line[3:] for line in page.splitlines() if line.startswith("## ")]
    assert headings == ["What it means", "First look", "What to do", "Whom to call"]


def test_runbooks_name_panels_that_exist() -> None:
    titles = {panel["title"] for panel in MADE["panels"]}
    named = {
        name
        for page in RUNBOOKS.glob("*.md")
        for name in re.findall(r'"([A-Z][^"]+)"', page.read_text().replace("\n", " "))
    }
    assert len(named) > 10
    assert named <= titles


def test_the_runbook_of_shedding_has_every_reason() -> None:
    page = (RUNBOOKS / "PlayerSessionsShedding.md").read_text()
    (family,) = metrics.SHED.collect()
    reasons = {sample.labels["reason"] for sample in family.samples}
    assert reasons == set(re.findall(r"^\| `([a-z-]+)` \|", page, re.MULTILINE))


def test_there_is_no_runbook_without_an_alert() -> None:
    assert {page.stem for page in RUNBOOKS.glob("*.md")} == set(ALERTS)
