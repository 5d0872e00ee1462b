"""The bench judges its expectations and prints its tables rightly, on figures that are made up."""

from __future__ import annotations

import msgspec
import pytest

from loadtest.bench.contenders import CONTENDERS
from loadtest.bench.expectations import Expectation, expectations
from loadtest.bench.output import tables
from loadtest.bench.results import Figure, Report, Scenario

FEW, MANY = Scenario(sessions=20), Scenario(sessions=20_000)
SCENARIOS = (
    Scenario(batch=10),
    Scenario(batch=1),
    *(Scenario(sessions=s.sessions, half=half) for s in (FEW, MANY) for half in (False, True)),
)
BARS = {  # what is expected, and the server's µs (or ms) of its two sides at which it just holds
    "server CPU per event in 10-event batches: baseline / service": (200.0, 10.0),
    "server CPU per event in 10-event batches: service / peer": (9.0, 10.0),
    "server CPU per event in single-event requests: service / peer": (11.0, 10.0),
    "server CPU per read of 20 sessions: service / peer": (12.0, 10.0),
    "server CPU per read of 20 sessions: baseline / service": (60.0, 10.0),
    "p50 of a read at half load: 20,000 sessions / 20 sessions": (12.0, 10.0),
}


def figure(contender: str, scenario: str, value: float, number: int = 1) -> Figure:
    """Return a figure that has the same value for every metric."""
    metrics = dict.fromkeys(
        (
            *("seconds", "per_second", "requests_per_second", "server_us", "cassandra_us"),
            *("request_threads_us", "generator_us", "p50_ms", "p90_ms", "p99_ms", "p999_ms"),
            "resident_mib",
        ),
        value,
    )
    made = {"round": number, "contender": contender, "scenario": scenario, "units": 1, "checked": 0}
    return msgspec.convert(made | metrics, Figure)


def report(*figures: Figure) -> Report:
    return Report(list(CONTENDERS.values()), SCENARIOS, list(figures))


def sides(what: str) -> tuple[tuple[str, str], tuple[str, str]]:
    """Return contender and scenario of the two sides of an expectation."""
    named, _, compared = what.partition(": ")
    above, below = compared.split(" / ")
    if named.startswith("p50"):
        return ("service", f"{MANY.name}-half"), ("service", f"{FEW.name}-half")
    scenario = "write-10" if "10-event" in named else "write-1" if "single" in named else FEW.name
    return (above, scenario), (below, scenario)


def judged(what: str, *rounds: tuple[float, float]) -> Expectation:
    above, below = sides(what)
    figures = []
    for number, (value, other) in enumerate(rounds):
        figures += [figure(*above, value, number), figure(*below, other, number)]
    (found,) = [each for each in expectations(report(*figures)) if each.what == what]
    return found


@pytest.mark.parametrize("what", BARS)
def test_a_bar_holds_at_its_edge_and_not_beyond(what: str) -> None:
    above, below = BARS[what]
    worse = 0.99 if "≥" in judged(what, (above, below)).bar else 1.01
    assert judged(what, (above, below)).holds
    assert not judged(what, (above * worse, below)).holds


def test_ratios_are_taken_within_a_round_and_their_median_is_judged() -> None:
    what = "server CPU per read of 20 sessions: service / peer"
    found = judged(what, (100, 100), (30, 10), (1, 1))  # the second round was disturbed
    assert (found.ratio.least, found.ratio.median, found.ratio.most) == (1, 1, 3)
    assert found.holds


def test_an_expectation_is_left_out_if_one_side_did_not_take_part() -> None:
    made = expectations(report(figure("service", "read-20", 1), figure("driver", "read-20", 1)))
    assert [each.what for each in made] == ["resident memory of the service, MiB"]


def test_the_floor_of_reads_is_the_sum_of_its_parts() -> None:
    made = report(*(figure(name, "read-20", n) for name, n in (("driver", 100), ("asgi", 20))))
    lines = [line for line in tables(made).splitlines() if "floor" in line]
    assert lines == ["| 20 sessions | floor = driver + asgi |  | 120 |  |  |  |  |  |  |"]


def test_reads_have_tables_of_full_and_of_half_load() -> None:
    made = report(figure("service", "read-20", 7), figure("service", "read-20-half", 8))
    lines = tables(made).splitlines()
    assert "| 20 sessions | service | 7 | 7 | 7 | 7 | 7 | 7 | 7 | 7 |" in lines
    (head,) = [line for line in lines if line.startswith("| reads, half load")]
    assert "server µs/read | Cassandra µs/read | p50 ms | p90 ms | p99 ms" in head
    assert "| 20 sessions | service | 8 | 8 | 8 | 8 | 8 | 8 | 8 |  |" in lines
