"""The chart sets and lets through only settings that the service has."""

from __future__ import annotations

import json
import re
from pathlib import Path

from player_sessions.settings import PREFIX, describe

CHART = Path(__file__).parent.parent.parent / "charts" / "player-sessions"
TEMPLATES = "".join(file.read_text() for file in CHART.glob("templates/*.*"))
KNOWN = {variable.removeprefix(PREFIX) for variable, *_ in describe()}
SET = {
    name if name in KNOWN else name.removesuffix("_FILE")  # the chart gives secrets as files
    for name in re.findall(PREFIX + r"([A-Z][A-Z_]*)", TEMPLATES)
}


def test_the_chart_sets_only_what_the_service_knows() -> None:
    assert not SET - KNOWN


def test_its_value_config_takes_every_other_setting_and_no_other_name() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert set(schema["properties"]["config"]["properties"]) == KNOWN - SET
