"""The register of metrics and the form of the log."""

from __future__ import annotations

import json
import logging

import pytest
import structlog

from player_sessions import telemetry

OURS = [m for m in telemetry.REGISTRY.collect() if m.name.startswith("player_sessions_")]


@pytest.mark.parametrize("metric", OURS, ids=lambda metric: metric.name)
def test_every_metric_says_what_it_is_and_exists_from_the_start(metric: object) -> None:
    assert metric.documentation.endswith(".")  # type: ignore[attr-defined]
    assert metric.samples, "a labelled metric without children"  # type: ignore[attr-defined]


def test_no_request_can_add_a_label_value() -> None:
    labels = {label for metric in OURS for sample in metric.samples for label in sample.labels}
    assert labels <= {"le", "route", "status", "kind", "outcome", "reason", "operation", "version"}


def test_the_exposition_is_prometheus_text() -> None:
    assert b"# TYPE player_sessions_requests_total counter" in telemetry.exposition()


@pytest.mark.parametrize("form", ["auto", "json"])
def test_without_a_terminal_a_log_line_is_one_json_object(
    capsys: pytest.CaptureFixture[str], form: str
) -> None:
    try:
        telemetry.configure_logging("INFO", form)
        log = structlog.get_logger()
        log.debug("hidden")
        log.info("shown", n=1)
        try:
            raise ValueError("in\ntwo lines")
        except ValueError as error:
            log.error("failed", exc_info=error)
        logging.getLogger("library").warning("from a library")
        lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    finally:
        structlog.reset_defaults()
        logging.basicConfig(handlers=[], force=True)
    assert [line["event"] for line in lines] == ["shown", "failed", "from a library"]
    assert (lines[0]["n"], lines[0]["level"]) == (1, "info")
    assert "ValueError" in lines[1]["exception"]


def test_on_demand_a_log_line_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        telemetry.configure_logging("INFO", "console")
        structlog.get_logger().info("shown", n=1)
        said = capsys.readouterr().err
    finally:
        structlog.reset_defaults()
        logging.basicConfig(handlers=[], force=True)
    assert "shown" in said
    assert not said.startswith("{")
