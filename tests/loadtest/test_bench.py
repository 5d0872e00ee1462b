"""A tiny run of the bench: every contender is measured, and what it stored is looked up."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dev.cluster import Cluster
from dev.service import SUPERUSER, new_keyspace, variables
from loadtest.bench import row_costs, store, straight
from loadtest.bench.__main__ import measure
from loadtest.bench.generator import Job
from loadtest.bench.options import parser
from loadtest.progress import Progress
from player_sessions.store.rows import RowsProtocol
from tests.loadtest.commands import command

PEER = {"peer"} if shutil.which("go") else set()
HALF = PEER | {"baseline", "service", "bare"}
WRITERS = HALF | {"each-event", "traced", "asgi", "driver"}
READERS = HALF | {"asgi", "driver"}


def test_the_bench_measures_every_contender(
    cassandra: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, plot = tmp_path / "bench.json", tmp_path / "bench.svg"
    options = parser(None).parse_args(
        [
            *("--rounds", "1", "--seconds", "0.05", "--batches", "10", "--connections", "4"),
            *("--read-sizes", "30", "--pin", "none", "--sampled", "100"),
            *("--json", str(file), "--plot", str(plot)),
        ]
    )
    environ = variables(cassandra, new_keyspace(), **SUPERUSER)
    with Progress(1) as progress:
        assert measure(options, progress, cassandra, environ, tmp_path) == 0
    output = capsys.readouterr()
    assert "| expectation |" in output.out
    assert output.out.count("floor = driver + asgi") == 2  # of writes and of reads
    assert PEER or "peer is left out: Go is not installed" in output.err
    assert "100 % of the requests to `traced` were sampled" in output.out
    drawn = plot.read_text()
    assert "<svg" in drawn
    assert "<!-- 10 per request -->" in drawn
    assert "<!-- 30 sessions -->" in drawn

    document = json.loads(file.read_text())
    assert ("Go" in document["machine"]) == bool(PEER)
    figures = document["figures"]
    for scenario, full, half in (
        ("write-10", WRITERS, HALF | {"each-event"}),
        ("read-30", READERS, HALF),
    ):
        assert of(figures, scenario).keys() == full
        at_half = of(figures, f"{scenario}-half")
        assert at_half.keys() == half
        for name, figure in at_half.items():
            assert figure["rate"] == of(figures, scenario)[name]["requests_per_second"] / 2
    assert {f["contender"] for f in figures if f["checked"]} == WRITERS - {"asgi"}
    assert all(f["per_second"] > 0 and f["server_us"] > 0 and f["p999_ms"] > 0 for f in figures)
    assert all(f["request_threads_us"] > 0 for f in figures if f["checked"])
    assert all(f["resident_mib"] > 0 for f in figures if f["contender"] != "driver")


def test_a_window_without_an_answer_lasts_until_the_first_one() -> None:
    def begin(_: int, done: Callable[[None], None], __: object) -> None:
        threading.Timer(0.2, done, (None,)).start()

    job = Job(port=0, server=0, cassandra=os.getpid(), connections=1, warm_up=0, seconds=0.01)
    measured = straight._measure(job, straight._Straight(begin))
    assert measured.requests
    assert measured.latencies


def test_what_rows_cost_is_measured_by_writing_them(cassandra: Cluster) -> None:
    keyspace = new_keyspace()
    with store.opened(variables(cassandra, keyspace, **SUPERUSER)) as session:
        session.client_protocol_handler = RowsProtocol
        for batch in row_costs.forms(session, keyspace).values():
            assert row_costs.measure(session, cassandra, 40, 16, batch) > 0
        starts = session.execute(f"SELECT latest FROM {keyspace}.session_starts").all()
        ends = session.execute(f"SELECT session_id FROM {keyspace}.session_ends").all()
        hours = session.execute(f"SELECT start_keys FROM {keyspace}.starts_by_hour").all()
    assert (len(starts), len(ends)) == (60, 60)
    assert sum(latest is not None for (latest,) in starts) == 40  # of two of the three forms
    assert sorted(len(keys) // 8 for (keys,) in hours) == [4, 8, 8]  # group commits of 16, 16, 8


def test_the_interval_of_a_ratio_is_as_wide_as_its_rounds_differ() -> None:
    base = [10.0, 20.0, 30.0, 40.0]
    assert row_costs.interval([2 * cost for cost in base], base) == (2.0, 2.0)
    low, high = row_costs.interval([20.0, 20.0, 60.0, 40.0], base)
    assert 1.0 <= low < 1.4 < high <= 2.0


def of(figures: list[dict[str, Any]], scenario: str) -> dict[str, dict[str, Any]]:
    """Return the figures of a scenario by the names of their contenders."""
    return {f["contender"]: f for f in figures if f["scenario"] == scenario}


def test_the_command_says_which_option_is_wrong() -> None:
    done = command("loadtest.bench", "--contenders", "service,nobody")
    assert done.returncode == 2
    assert "nobody is none of baseline, each-event, service" in done.stderr
