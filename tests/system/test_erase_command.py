"""`player-sessions erase` as a process on a real Cassandra."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from typing import Any
from uuid import uuid4

from dev.cluster import Cluster
from dev.game_events import iso, now_ms
from dev.service import COMMAND, Service, inherited, variables
from tests.system.test_erasure import whole


def run(environ: dict[str, str], *arguments: str, stdin: str = "") -> Any:
    return subprocess.run(
        [COMMAND, "erase", *arguments],
        env=inherited() | environ, input=stdin, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def test_the_command_erases_players_of_arguments_file_and_standard_input(
    cassandra: Cluster, keyspace: str, server: Service, tmp_path: Path
) -> None:
    environ, now = variables(cassandra, keyspace), now_ms()
    players = [uuid4() for _ in range(100)]
    for player in players:
        assert server.post(*whole(player, now)).status_code == 200
    names = [str(player) for player in players]
    (tmp_path / "players").write_text("\n".join(names[2:50]))
    done = run(environ, *names[:2], "--file", str(tmp_path / "players"))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("erased 50 of 50 players: all their events up to ")
    assert done.stdout.split()[-3] >= iso(now + 300_000)
    done = run(environ, "--file", "-", stdin="\n".join(names[50:99]) + "\n")
    assert (done.returncode, done.stderr) == (0, "")
    left = [player for player in players if server.sessions(player)]
    assert left == players[99:]


def test_the_command_goes_on_after_an_error_names_it_and_can_be_repeated(
    cassandra: Cluster, keyspace: str, server: Service
) -> None:
    environ, player = variables(cassandra, keyspace), uuid4()
    assert server.post(*whole(player, now_ms())).status_code == 200
    for _ in range(2):
        done = run(environ, "null", player.hex)
        assert done.returncode == 3
        assert done.stdout.startswith("erased 1 of 2 players")
        assert "not erased: null: this id is the text of a missing value" in done.stderr
        assert player.hex not in done.stderr
    assert server.sessions(player) == []


def test_the_command_says_why_it_cannot_begin(
    cassandra: Cluster, keyspace: str, tmp_path: Path
) -> None:
    environ = variables(cassandra, keyspace)
    none = run(environ)
    assert (none.returncode, none.stdout) == (2, "")
    assert "name a player, or a list of players by --file" in none.stderr
    dash = run(environ, "-", stdin=f"{uuid4().hex}\n")
    assert (dash.returncode, dash.stdout) == (2, "")
    assert "to read standard input, write --file -" in dash.stderr
    missing = run(environ, "--file", str(tmp_path / "missing"))
    assert (missing.returncode, missing.stdout) == (1, "")
    assert "cannot read" in missing.stderr
    away = environ | {"PLAYER_SESSIONS_CASSANDRA_PORT": "9"}
    stopped = run(away, uuid4().hex, "--patience", "0.5")
    assert stopped.returncode == 1
    assert stopped.stderr.startswith("player-sessions: Cassandra cannot be used: no connection")
    assert stopped.stdout.startswith("erased 0 of 1 players")


def test_an_interruption_is_answered_at_once_and_says_what_to_do() -> None:
    environ = inherited() | {"PLAYER_SESSIONS_CASSANDRA_PORT": "9"}
    with subprocess.Popen(
        [COMMAND, "erase", uuid4().hex],
        env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        waiting = process.stderr.readline()
        process.send_signal(signal.SIGINT)
        said, errors = process.communicate(timeout=60)
    assert waiting.startswith("player-sessions: waiting up to 120 s for Cassandra: no connection")
    assert process.returncode == 130
    assert said == "erased 0 of 1 players\n"
    assert "interrupted: run the same command again" in errors
