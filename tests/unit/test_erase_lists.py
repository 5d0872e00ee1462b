"""The command `erase` without Cassandra: what a list of players may be, and when it gives up."""

from __future__ import annotations

import asyncio
import gzip
from pathlib import Path
from uuid import UUID, uuid4

import pytest
import uvloop

from player_sessions.rules.reasons import STORE_UNAVAILABLE
from player_sessions.settings import Settings
from player_sessions.store.store import StoreError
from player_sessions.transfer.erase import NOT_ALL, Eraser, _read_ids, report
from player_sessions.transfer.opening import TransferStopped

PLAYERS = [uuid4().hex for _ in range(3)]


@pytest.mark.parametrize(
    "written",
    [
        "\n".join(PLAYERS).encode(),
        "\r\n".join([*PLAYERS, "", "  ", ""]).encode(),
        b"\xef\xbb\xbf" + "\n".join(PLAYERS).encode(),
        gzip.compress("\n".join(PLAYERS).encode()),
    ],
    ids=["plain", "windows", "byte-order-mark", "gzip"],
)
def test_a_list_has_one_id_a_line(tmp_path: Path, written: bytes) -> None:
    (tmp_path / "players").write_bytes(written)
    assert _read_ids(str(tmp_path / "players")) == PLAYERS


@pytest.mark.parametrize(
    ("written", "why"),
    [
        (b"x" * 2000, "line 1 is too long"),
        (b"a\n\xff\xff\xffplayer\n", "line 2 is not UTF-8"),
        ("player".encode("utf-16"), "UTF-16"),
    ],
)
def test_what_is_no_list_is_refused(tmp_path: Path, written: bytes, why: str) -> None:
    (tmp_path / "players").write_bytes(written)
    with pytest.raises(TransferStopped, match=why):
        _read_ids(str(tmp_path / "players"))


class Failing:
    """A double of a store that cannot erase some players, the first so many times."""

    def __init__(self, failures: dict[str, int]) -> None:
        self.failures = failures
        self.asked: list[str] = []

    async def erase(self, player: UUID) -> int:
        self.asked.append(player.hex)
        if self.failures.get(player.hex, 0) > 0:
            self.failures[player.hex] -= 1
            raise StoreError(STORE_UNAVAILABLE, "too few replicas are up")
        return 1_764_000_000_000


def erased(store: Failing, patience: float, *ids: str) -> Eraser:
    async def work() -> Eraser:
        eraser, double = Eraser(Settings(), patience), store
        for text in ids:
            await eraser._erase(double, text)  # type: ignore[arg-type]
        return eraser

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work())


def test_a_player_is_retried_and_then_erased() -> None:
    store = Failing({PLAYERS[1]: 2})
    eraser = erased(store, 60, *PLAYERS)
    assert eraser.failed == []
    assert store.asked == [PLAYERS[0], *[PLAYERS[1]] * 3, PLAYERS[2]]
    assert eraser.summary(3) == (
        "erased 3 of 3 players: all their events up to 2025-11-24T16:00:00.000Z are gone"
    )


def test_an_error_of_one_player_does_not_stop_the_others_and_is_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    store = Failing({PLAYERS[0]: 1000})
    eraser = erased(store, 0.2, PLAYERS[0], "null", *PLAYERS[1:])
    assert report(eraser, 4) == NOT_ALL
    said = capsys.readouterr()
    assert said.out.startswith("erased 2 of 4 players")
    assert [line.removeprefix("player-sessions: ") for line in said.err.splitlines()] == [
        "not erased: null: this id is the text of a missing value, which is a bug in the client",
        f"not erased: {PLAYERS[0]}: too few replicas are up",
        "run the command again for the players that failed, which also erases what a player did"
        " in between",
    ]


def test_what_is_no_player_id_is_not_tried_again(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(erased(Failing({}), 0.2, "null", PLAYERS[0]), 2) == NOT_ALL
    assert "run the command again" not in capsys.readouterr().err


def test_once_nothing_was_erased_for_the_whole_patience_each_player_gets_one_attempt() -> None:
    store = Failing(dict.fromkeys(PLAYERS, 1000))
    eraser = erased(store, 0.2, *PLAYERS)
    assert [player for player, _ in eraser.failed] == PLAYERS
    assert store.asked.count(PLAYERS[0]) > 1
    assert store.asked[-2:] == PLAYERS[1:]
