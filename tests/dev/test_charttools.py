"""The Kubernetes lab is used only where its variable names it."""

from __future__ import annotations

from pathlib import Path

import pytest

from dev.charttools import LAB_VARIABLE, lab
from dev.toolchain import MissingTool


def test_without_the_variable_there_is_no_lab(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(LAB_VARIABLE, raising=False)
    assert lab() is None


def test_a_folder_with_the_program_cluster_is_a_lab(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "cluster").touch()
    monkeypatch.setenv(LAB_VARIABLE, str(tmp_path))
    assert lab() == tmp_path


def test_a_wrong_folder_is_refused_with_what_to_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(LAB_VARIABLE, str(tmp_path))
    with pytest.raises(MissingTool, match=f"{LAB_VARIABLE}=.*set it to a folder"):
        lab()
