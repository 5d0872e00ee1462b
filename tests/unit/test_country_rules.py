"""The rules of starts per country: the hours of a question, how long a count is kept, sums."""

from __future__ import annotations

import pytest

from player_sessions.rules.countries import (
    HOUR_MS,
    MAX_SHARDS,
    Count,
    expires_at,
    hours_until,
    summed,
)
from player_sessions.settings import describe
from player_sessions.store.store import now_ms
from player_sessions.web.countries import _document
from player_sessions.web.documents import moment

HOUR = 500_000 * HOUR_MS
MINUTE_MS = 60_000


@pytest.mark.parametrize("past", [0, 1, HOUR_MS - 1])
def test_the_last_hours_end_with_the_one_under_way(past: int) -> None:
    assert hours_until(HOUR + past, 1) == [HOUR]
    assert hours_until(HOUR + past, 3) == [HOUR - 2 * HOUR_MS, HOUR - HOUR_MS, HOUR]


@pytest.mark.parametrize(
    ("since_its_end", "seconds"),
    [
        (-HOUR_MS, 60),  # the hour has just begun
        (0, 60),
        (10 * MINUTE_MS, 60),
        (10 * MINUTE_MS + 9_999, 60),
        (10 * MINUTE_MS + 10_000, 61),
        (HOUR_MS, 360),
        (166 * HOUR_MS, 166 * 360),
    ],
)
def test_a_count_is_kept_for_a_tenth_of_the_time_since_its_hour(
    since_its_end: int, seconds: int
) -> None:
    counted_at = HOUR + HOUR_MS + since_its_end
    assert expires_at(HOUR, counted_at, took=0.0) == counted_at + seconds * 1000


@pytest.mark.parametrize(("took", "seconds"), [(5.9, 60), (6.1, 61), (30.0, 300)])
def test_counting_takes_at_most_a_tenth_of_the_time(took: float, seconds: int) -> None:
    assert expires_at(HOUR, HOUR, took) == HOUR + seconds * 1000


def test_a_late_start_is_shown_after_at_most_a_tenth_of_its_lateness() -> None:
    for began in (HOUR, HOUR + HOUR_MS - 1):
        for lateness in range(10 * MINUTE_MS, 168 * HOUR_MS, 7 * MINUTE_MS + 1):
            counted_at = began + lateness  # just before the start arrived
            shown_after = expires_at(HOUR, counted_at, took=0.0) - counted_at
            assert shown_after <= max(MINUTE_MS, lateness / 10)


def test_a_sum_is_as_old_as_its_oldest_part() -> None:
    parts = [Count({"FI": 1, "SE": 2}, 20), Count({}, 30), Count({"FI": 3}, 10)]
    whole = summed(parts, 25)
    assert (whole.starts, whole.counted_at) == ({"FI": 4, "SE": 2}, 10)
    assert summed(parts, 5).counted_at == 5
    assert (summed([], 25).starts, summed([], 25).counted_at) == ({}, 25)


def test_countries_are_ranked_by_their_starts_and_then_by_their_letters() -> None:
    count = Count({"SE": 2, "FI": 2, "UK": 7, "AA": 1}, 0)
    assert count.ranked() == [("UK", 7), ("FI", 2), ("SE", 2), ("AA", 1)]
    assert count.total == 12


def test_a_clock_ahead_does_not_make_an_answer_newer_than_now() -> None:
    count = Count({"FI": 1}, now_ms() + HOUR_MS)
    document = _document({HOUR: count}, series=True)
    assert document.as_of <= moment(now_ms())


def test_the_rules_know_the_most_shards_of_the_setting() -> None:
    (allowed,) = [row[2] for row in describe() if row[0] == "PLAYER_SESSIONS_COUNTRY_SHARDS"]
    assert allowed == f"a whole number from 1 to {MAX_SHARDS}"
