"""Thresholds, and the tally that is compared with them."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
import pytest

from loadtest.tally import Tally, rounded
from loadtest.thresholds import BadThresholds, load

KNOWN = {"all": {"p90_ms", "error_rate", "events_per_second"}, "knee": {"users"}}


def written(folder: Path, text: str) -> Path:
    path = folder / "some.toml"
    path.write_text(text)
    return path


def test_a_breach_names_the_line_and_what_was_measured(tmp_path: Path) -> None:
    text = "# why\n\n[all]  # over the run\np90_ms = 500\nmin_events_per_second = 100\n"
    slow, few = load(written(tmp_path, text), KNOWN)
    held = {"all": {"p90_ms": 500.0, "events_per_second": 100.0}}
    assert slow.breach(held) is None
    assert few.breach(held) is None
    broken = {"all": {"p90_ms": 501.0, "events_per_second": 99.0}}
    assert slow.breach(broken) == "some.toml:4: [all] p90_ms = 500: measured 501"
    said = "some.toml:5: [all] min_events_per_second = 100: measured 99"
    assert few.breach(broken) == said


def test_what_was_not_measured_is_a_breach(tmp_path: Path) -> None:
    (slow,) = load(written(tmp_path, "[all]\np90_ms = 500\n"), KNOWN)
    assert slow.breach({}) == "some.toml:2: [all] p90_ms = 500: not measured"
    assert slow.breach({"all": {"p90_ms": math.nan}}) is not None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[al]\np90_ms = 1\n", "[al] is none of all, knee"),
        ("[all]\np91_ms = 1\n", "[all] p91_ms is none of"),
        ("[all]\np90_ms = true\n", "must be a number"),
        ("[all\n", "some.toml: "),
    ],
)
def test_a_threshold_that_cannot_hold_anything_is_refused(
    tmp_path: Path, text: str, said: str
) -> None:
    with pytest.raises(BadThresholds) as refused:
        load(written(tmp_path, text), KNOWN)
    assert said in str(refused.value)


def test_tallies_of_several_processes_add_up_by_second_and_kind() -> None:
    total, one, two = Tally(), Tally(), Tally()
    for _ in range(9):
        one.sent(10.2, "write", "acknowledged", 0.010, 0.001, 5)
    two.sent(10.9, "write", "acknowledged", 0.200, 0.001, 5)
    two.sent(11.0, "read", "shed", 0.001, 0.001, 0)
    two.missed(11.5, "write")
    for each in (one, two):
        # Encode the tally as it travels to the master.
        total.merge(msgspec.msgpack.decode(msgspec.msgpack.encode(each.take()), strict=False))
    assert one.seconds == {}
    figures = total.between(10, 12).figures()
    assert figures["events_per_second"] == 25
    assert figures["requests_per_second"] == 5
    assert (figures["p50_ms"], figures["p99_ms"]) == (10, 200)
    assert figures["shed_rate"] == pytest.approx(1 / 12)
    assert figures["missed_rate"] == pytest.approx(1 / 12)
    assert total.between(10, 11, ["read"]).arrivals == 0


def test_a_rate_is_that_of_the_whole_seconds_that_a_window_takes_in() -> None:
    tally = Tally()
    for second in range(10, 15):
        for _ in range(30):
            tally.sent(second + 0.1, "write", "acknowledged", 0.01, 0.0, 1)
    for begin, end in ((10, 15), (10.4, 14.6), (10.6, 13.4), (11.3, 12.4)):
        assert tally.between(begin, end).figures()["events_per_second"] == 30


def test_latencies_are_kept_to_two_digits() -> None:
    assert [rounded(s) for s in (0.0004, 0.0994, 0.1049, 1.234, 12.34)] == [0, 99, 100, 1200, 12000]
