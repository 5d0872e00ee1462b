"""Check the form of the dashboard as far as that is possible without Grafana."""

from __future__ import annotations

import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from dev.dashboard import ROWS
from dev.grafana import WIDTH, dashboard

FILE = Path(__file__).parents[2] / "charts" / "player-sessions" / "files" / "dashboard.json"
MADE: dict[str, Any] = json.loads(FILE.read_text())
PANELS = [panel for panel in MADE["panels"] if panel["type"] != "row"]


def test_the_file_is_up_to_date() -> None:
    assert dashboard(ROWS) == MADE, "run `make docs`"


def test_no_two_panels_overlap_and_none_is_outside() -> None:
    places = [panel["gridPos"] for panel in MADE["panels"]]
    assert all(p["x"] >= 0 and p["x"] + p["w"] <= WIDTH and p["w"] > 0 < p["h"] for p in places)
    for one, other in combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above, (one, other)
    ids = [panel["id"] for panel in MADE["panels"]]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_every_panel_says_what_it_shows(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert all(target["expr"] and target["legendFormat"] for target in panel["targets"])
    refs = [target["refId"] for target in panel["targets"]]
    assert len(set(refs)) == len(refs) > 0
    legends = [target["legendFormat"] for target in panel["targets"]]
    assert len(set(legends)) == len(legends)


def test_panels_use_the_variables_and_no_others() -> None:
    defined = {variable["name"] for variable in MADE["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", FILE.read_text())) - {"__all", "__rate_interval"}
    assert used == defined == {"datasource", "namespace", "job", "instance"}
    for panel in PANELS:
        for target in panel["targets"]:
            selectors = re.findall(r"\b(?:player_sessions|process)_\w+(\{[^}]*\})?", target["expr"])
            assert all("$job" in selector for selector in selectors), target["expr"]
