"""The charts of the page for people are the ones that origin.json names."""

from __future__ import annotations

import gzip
import hashlib
import json
from importlib.resources import files

import player_sessions.web.page


def test_the_charts_are_the_recorded_ones_and_keep_their_licence() -> None:
    bundle = files(player_sessions.web.page) / "bundle"
    recorded = json.loads((bundle / "origin.json").read_text())
    assert recorded["package"] == "uplot"
    assert recorded["sha256"] == {
        name: hashlib.sha256(gzip.decompress((bundle / f"{name}.gz").read_bytes())).hexdigest()
        for name in ("uPlot.iife.min.js", "uPlot.min.css")
    }
    assert "MIT License" in (bundle / "LICENSE").read_text()
