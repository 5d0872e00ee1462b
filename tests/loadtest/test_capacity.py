"""The calculator's arithmetic is right on hand-made measurements; the page fits the data file."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from loadtest.capacity import __main__ as cli
from loadtest.capacity import compression
from loadtest.capacity.model import (
    Cost,
    Demand,
    Disk,
    Measured,
    Model,
    Reads,
    Run,
    fit,
    kept_days,
    plan,
)
from tests.loadtest.commands import command


def runs(nodes: int, replication: int, request: float, event: float) -> list[Run]:
    """Return the runs of a Cassandra that costs exactly what the model says.

    The service costs 70 per request and 8 per event at RF 1, and 90 and 10 at RF 3.
    """
    service = fit(70 + 8, 7 + 8) if replication == 1 else fit(90 + 10, 9 + 10)
    return [
        Run(nodes, replication, batch, 1000, service.of(batch), request / batch + event)
        for batch in (1, 5, 10)
    ]


MADE = Measured(
    date="2026-01-01",
    command="none",
    machine={"processor": "made up", "cores": "2"},
    runs=runs(1, 1, 50, 20) + runs(3, 3, 110, 40) + runs(5, 3, 110, 40),
    reads=[Reads(1, 1, 500, 1000, 800), Reads(3, 3, 500, 1000, 1600)],
    disks=[Disk("sorted", 1000, 12, 2, 60), Disk("shuffled", 1000, 2, 10, 40)],
)


def test_costs_of_a_request_and_of_an_event_come_from_batches_of_1_and_10() -> None:
    assert fit(one=100, ten=19) == pytest.approx(Cost(90, 10))
    assert fit(one=10, ten=12).request == 0  # noise leads to no negative cost


def test_the_model_reproduces_its_data_and_interpolates() -> None:
    model = Model(MADE)
    assert model.service(2) == pytest.approx(Cost(80, 9))
    assert model.service(3) == pytest.approx(Cost(90, 10))
    assert model.cassandra(3) == pytest.approx(Cost(110, 40))
    assert model.cassandra(2) == pytest.approx(Cost(80, 30))
    for run in MADE.runs:
        predicted = model.predict(run.nodes, run.replication, run.batch)
        assert predicted == pytest.approx((run.service_us, run.cassandra_us))
    # 60 = row + partition / 2, 40 = row + partition / 10.
    assert model.bytes_per_event(2) == pytest.approx(60)
    assert model.bytes_per_event(10) == pytest.approx(40)
    assert model.bytes_per_event(1e9) == pytest.approx(35)


def test_a_plan_by_hand() -> None:
    demand = Demand(
        events_per_second=100_000, batch=10, peak_to_mean=2, events_per_player_day=10 / 15
    )
    made = plan(Model(MADE), demand)
    assert made.service_cores == pytest.approx(1.9)  # 100,000 x (90 / 10 + 10) µs
    assert made.pods == 5  # 4 pods at half use, and one to spare
    assert made.cassandra_cores == pytest.approx(5.1)  # 100,000 x (110 / 10 + 40) µs
    assert made.nodes_for_cpu == 2
    # 50,000 events/s for 365 days and the overhang, 40 bytes each, three times.
    stored = 50_000 * kept_days(demand) * 86_400
    assert made.events_stored == pytest.approx(stored)
    assert made.disk_tb == pytest.approx(stored * 40 * 3 / 1e12)
    assert made.nodes == made.nodes_for_disk == -(-made.disk_tb // 1.2)
    assert "disks" in cli.driver(demand, made)


def test_shuffled_data_counts_for_twice_the_retention_and_late_data_for_once() -> None:
    demand = Demand(events_per_second=1, retention_days=364)
    assert kept_days(demand) == pytest.approx(364 + 14 + 10)
    shuffled = msgspec.structs.replace(demand, shuffled=1.0)
    assert kept_days(shuffled) == pytest.approx(2 * 364 + 14 + 10)


def test_a_small_load_needs_as_many_nodes_as_replicas_and_two_pods() -> None:
    demand = Demand(events_per_second=10)
    made = plan(Model(MADE), demand)
    assert (made.pods, made.nodes) == (2, 3)
    assert "replication factor" in cli.driver(demand, made)


def test_reads_cost_too() -> None:
    with_reads = plan(Model(MADE), Demand(events_per_second=10, reads_per_second=1000))
    without = plan(Model(MADE), Demand(events_per_second=10))
    assert with_reads.service_cores - without.service_cores == pytest.approx(1)
    assert with_reads.cassandra_cores - without.cassandra_cores == pytest.approx(1.6)


@pytest.mark.parametrize("rate", ["1000", "1000000"])
def test_the_calculator_prints_its_assumptions_and_a_plan(rate: str) -> None:
    done = command("loadtest.capacity", "plan", "--events-per-second", rate, "--shuffled", "0.1")
    assert done.returncode == 0, done.stderr
    for name in Demand.__struct_fields__:
        assert f"--{name.replace('_', '-')}" in done.stdout
    for word in ("service:", "Cassandra:", "disk:", "network:", "cost driver:"):
        assert f"\n{word}" in done.stdout


def test_the_page_shows_what_the_data_file_says() -> None:
    measured = msgspec.json.decode(cli.FILE.read_bytes(), type=Measured)
    assert {run.nodes for run in measured.runs} == {1, 3, 5}
    assert cli.tables(measured) in cli.PAGE.read_text(), "run `capacity check --write`"


def test_batches_of_5_cost_what_the_model_predicts() -> None:
    """Allow a factor of 1.5; leave out five nodes, which disturb one another on two cores."""
    measured = msgspec.json.decode(cli.FILE.read_bytes(), type=Measured)
    model = Model(measured)
    unknown = [run for run in measured.runs if run.nodes in (1, 3) and run.batch == 5]
    assert len(unknown) == 2
    for run in unknown:
        service, cassandra = model.predict(run.nodes, run.replication, run.batch)
        assert 1 / 1.5 < service / run.service_us < 1.5, run
        assert 1 / 1.5 < cassandra / run.cassandra_us < 1.5, run


def test_without_measurements_it_names_the_command_that_makes_them(tmp_path: Path) -> None:
    done = command("loadtest.capacity", "--data", str(tmp_path / "none.json"), "check")
    assert done.returncode == 2
    assert "`measure` writes it" in done.stderr


def test_the_comparison_of_compressors_shows_medians_and_their_spread() -> None:
    made = compression.Compressed("none", 41.24, [1.0, 3.0, 2.0], [90.4, 80.0, 100.0])
    assert compression.table([made]).splitlines()[-1] == (
        "| none | 41.2 | 2.00 (1.00 to 3.00) | 90 (80 to 100) |"
    )
