"""The time that --rebase moves to now, and the two newest times that it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from uuid import uuid4

import pytest

from dev.game_events import end
from player_sessions.rules.events import MAX_MS, BatchRefused, to_ms
from player_sessions.transfer.input import events_of
from player_sessions.transfer.opening import TransferStopped
from player_sessions.transfer.progress import Progress
from player_sessions.transfer.rebase import newest, shown

DAY = 86_400_000
YEAR = 365 * DAY
BASE = 1_480_656_976_000  # 2016-12-02T05:36:16Z


def found(folder: Path, times: list[int]) -> int:
    lines = [json.dumps(end(uuid4(), uuid4(), at)) for at in times]
    (folder / "x").write_text("\n".join(lines))
    return newest([str(folder / "x")], Progress(), YEAR)


@pytest.mark.parametrize(
    "times",
    [
        [BASE],
        [BASE - 3 * DAY, BASE],
        [BASE - day * DAY for day in range(0, 360, 30)],  # few events, evenly over a year
        [BASE - n * 360 * DAY // 5000 for n in range(5000)],
        [*[BASE - n * 1000 for n in range(3000)], BASE + 20 * 3_600_000],  # less than a day
    ],
)
def test_a_newest_time_with_company_is_found(tmp_path: Path, times: list[int]) -> None:
    assert found(tmp_path, times) == max(times)


@pytest.mark.parametrize(
    ("usual", "wrong"),
    [
        ([BASE - n * 1000 for n in range(3000)], [BASE + 2 * DAY]),
        ([BASE - n * 3_600_000 for n in range(3000)], [BASE + 90 * YEAR, BASE + 91 * YEAR]),
        ([BASE - n * DAY for n in range(100)], [BASE + 90 * YEAR]),
        # Too many for a percentile, but they would discard the others.
        ([BASE - n * DAY for n in range(20)], [BASE + 2 * YEAR] * 6),
        ([BASE - 1, BASE], [BASE + 2 * YEAR]),
    ],
)
def test_a_newest_time_that_lies_alone_is_refused_with_both_times(
    tmp_path: Path, usual: list[int], wrong: list[int]
) -> None:
    with pytest.raises(TransferStopped) as stopped:
        found(tmp_path, usual + wrong)
    assert "--rebase-to 2016-12-02T05:36:16.000Z" in str(stopped.value)
    assert f"--rebase-to {shown(max(wrong))}" in str(stopped.value)


def test_what_would_be_discarded_is_counted(tmp_path: Path) -> None:
    with pytest.raises(TransferStopped, match="would discard 7 of 10 events as older"):
        found(tmp_path, [BASE] * 7 + [BASE + YEAR + 2 * 3_600_000] * 3)


def test_a_time_moved_out_of_the_calendar_is_its_first_or_last() -> None:
    text = json.dumps(end(uuid4(), uuid4(), BASE)).encode()
    (early,) = events_of(text, MAX_MS, -(1 << 60))
    assert early.ts.year == 1
    (late,) = events_of(text, MAX_MS, 1 << 60)
    assert (late.ts.year, to_ms(late.ts)) == (9999, MAX_MS)
    with pytest.raises(BatchRefused) as refused:
        events_of(text, BASE, 1 << 60)
    assert [error.reason for error in refused.value.errors] == ["timestamp-in-future"]
