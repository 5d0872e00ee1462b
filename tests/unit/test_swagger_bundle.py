"""The bundle of /docs is the one that origin.json names."""

from __future__ import annotations

import gzip
import hashlib
import json
from importlib.resources import files

import player_sessions.web.openapi


def test_the_scripts_are_the_recorded_ones_and_keep_their_licences() -> None:
    bundle = files(player_sessions.web.openapi) / "bundle"
    recorded = json.loads((bundle / "origin.json").read_text())["sha256"]
    assert recorded == {
        name: hashlib.sha256(gzip.decompress((bundle / f"{name}.gz").read_bytes())).hexdigest()
        for name in ("swagger-ui-bundle.js", "swagger-ui.css")
    }
    assert "Apache License" in (bundle / "LICENSE").read_text()
    assert (bundle / "swagger-ui-bundle.js.LICENSE.txt").read_text()
