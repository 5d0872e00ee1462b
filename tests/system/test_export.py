"""`player-sessions export` as a process on a real Cassandra, and the import of what it wrote."""

from __future__ import annotations

import gzip
import json
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from dev.cluster import Cluster
from dev.service import (
    COMMAND,
    Server,
    inherited,
    new_keyspace,
    run_schema_apply,
    variables,
    wait_for,
)
from tests.system.test_import import data
from tests.system.test_import import run as run_import

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

SESSIONS = 16_000
UNPACK: dict[str, Callable[[bytes], bytes]] = {".gz": gzip.decompress, ".zst": zstd.decompress}


def keyspace_of(cassandra: Cluster, **changes: str) -> dict[str, str]:
    """Make a keyspace, and return the variables of a command that uses it."""
    keyspace = new_keyspace()
    run_schema_apply(cassandra, keyspace, **changes)
    return inherited() | variables(cassandra, keyspace, **changes)


def run(
    environ: dict[str, str], folder: Path, *arguments: str, under: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*under, COMMAND, "export", *arguments],
        env=environ, cwd=folder, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def lines(path: Path) -> list[bytes]:
    """Return the lines of an export; fail where one stands in it twice."""
    packed = path.read_bytes()
    found = UNPACK.get(path.suffix, bytes)(packed).splitlines()
    assert len(found) == len(set(found))
    return found


@pytest.fixture(scope="module")
def many(
    cassandra: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, str], int]:
    """Share a keyspace with many events; return its variables, and how many events it has."""
    environ, folder = keyspace_of(cassandra), tmp_path_factory.mktemp("many")
    events = data(folder, "x.jsonl", "--sessions", str(SESSIONS), "--sorted", "--seed", "21")
    done = run_import(environ, folder, "x.jsonl")
    assert done.returncode == 0, done.stderr
    return environ, len(events)


@pytest.fixture(scope="module")
def few(cassandra: Cluster, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Share a keyspace with 40 events."""
    environ, folder = keyspace_of(cassandra), tmp_path_factory.mktemp("few")
    data(folder, "x.jsonl", "--sessions", "20", "--unfinished", "0", "--seed", "22")
    assert run_import(environ, folder, "x.jsonl").returncode == 0
    return environ


def history(draw: random.Random, player: str, sessions: int) -> list[dict[str, Any]]:
    """Return what clients send of sessions: some events twice, missing, or from broken clocks."""
    now = datetime.now(UTC).replace(tzinfo=None, microsecond=0)
    made: list[dict[str, Any]] = []
    for _ in range(sessions):
        common = {"player_id": player, "session_id": str(UUID(int=draw.getrandbits(128)))}
        began = now - timedelta(seconds=draw.randrange(86_400, 10_000_000))
        for _ in range(draw.choice((0, 1, 1, 1, 2))):
            later = began + timedelta(milliseconds=draw.randrange(100_000))
            country = draw.choice(("FI", "SE", "UK"))
            at = {"ts": later.isoformat(timespec="milliseconds")}
            made.append({"event": "start", "country": country, **common, **at})
        for _ in range(draw.choice((0, 1, 1, 1, 3))):
            ended = began + timedelta(milliseconds=draw.randrange(-3_600_000, 3_600_000))
            made.append({"event": "end", **common, "ts": ended.isoformat()})
    draw.shuffle(made)
    return made


def answers(server: Server, players: list[str]) -> dict[str, list[dict[str, Any]]]:
    """Return all pages of all players, and the answers of the original contract."""
    found: dict[str, list[dict[str, Any]]] = {}
    for player in players:
        pages = [server.http.request("GET", "/", json={"player_id": player}).json()]
        cursor: dict[str, str] = {}
        while True:
            path = f"/v1/players/{player}/sessions"
            page = server.http.get(path, params={"limit": "7", **cursor}).json()
            pages.append(page)
            if page["next_cursor"] is None:
                break
            cursor = {"cursor": page["next_cursor"]}
        found[player] = pages
    return found


def test_what_is_exported_and_imported_elsewhere_answers_alike(
    cassandra: Cluster, tmp_path: Path
) -> None:
    here, there = keyspace_of(cassandra), keyspace_of(cassandra)
    draw = random.Random(24)
    players = [UUID(int=draw.getrandbits(128)).hex for _ in range(12)]
    with Server(here).ready() as server:
        for number, player in enumerate(players):
            events = history(draw, player, number * 5)
            for begin in range(0, len(events), 10):
                assert server.post(*events[begin : begin + 10]).status_code == 200
        expected = answers(server, players)
    assert sum(len(pages[1]["sessions"]) for pages in expected.values()) > 20
    for name in ("x.jsonl", "x.jsonl.gz", "x.jsonl.zst"):
        done = run(here, tmp_path, name)
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
        assert f"exported {len(lines(tmp_path / name))} events\n" in done.stderr
        assert set(lines(tmp_path / name)) == set(lines(tmp_path / "x.jsonl"))
    for name in ("x.jsonl.gz", "x.jsonl.zst"):
        imported = run_import(there, tmp_path, name)
        assert imported.returncode == 0, imported.stderr
        with Server(there).ready() as server:
            assert answers(server, players) == expected
    assert run(there, tmp_path, "again.jsonl").returncode == 0
    assert set(lines(tmp_path / "again.jsonl")) == set(lines(tmp_path / "x.jsonl"))


def test_only_the_named_players_are_exported(cassandra: Cluster, tmp_path: Path) -> None:
    environ = keyspace_of(cassandra)
    events = data(tmp_path, "in.jsonl", "--sessions", "200", "--players", "5", "--seed", "23")
    assert run_import(environ, tmp_path, "in.jsonl").returncode == 0
    one, other, *_ = sorted({event["player_id"] for event in events})
    chosen = [event for event in events if event["player_id"] in (one, other)]
    options = ["--player", one, "--player", str(UUID(other)), "--player", one.upper()]
    done = run(environ, tmp_path, *options, "-")
    assert (done.returncode, done.stderr.splitlines()[0]) == (0, f"exported {len(chosen)} events")
    found = [json.loads(text) for text in done.stdout.splitlines()]
    assert sorted(map(essence, found)) == sorted(map(essence, chosen))
    nobody = run(environ, tmp_path, "--player", "0" * 32, "-")
    assert (nobody.returncode, nobody.stdout) == (0, "")
    assert "exported 0 events" in nobody.stderr


def essence(event: dict[str, Any]) -> str:
    """Return what an event says, whatever form its time has."""
    at = datetime.fromisoformat(event["ts"]).replace(tzinfo=None).isoformat()
    return json.dumps({**event, "ts": at}, sort_keys=True)


@pytest.mark.parametrize("name", ["x.jsonl", "x.jsonl.gz", "x.jsonl.zst"])
def test_killed_in_the_middle_it_goes_on_without_a_line_lost_or_twice(
    many: tuple[dict[str, str], int], tmp_path: Path, name: str
) -> None:
    environ, total = many
    state = tmp_path / f"{name}.export-state"

    def done_so_far() -> int:
        return int(json.loads(state.read_bytes())["events"]) if state.exists() else 0

    with subprocess.Popen(
        [COMMAND, "export", "--parallel", "2", name],
        env=environ, cwd=tmp_path, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        try:
            wait_for(lambda: written(tmp_path / name), what="the export has begun")
            process.send_signal(signal.SIGSTOP)
            time.sleep(1.1)  # the state is saved once a second, so soon after this
            process.send_signal(signal.SIGCONT)
            wait_for(lambda: done_so_far() > 0, what="some of the export is saved")
        finally:
            process.kill()
    assert 0 < done_so_far() < total
    again = run(environ, tmp_path, name)
    assert again.returncode == 1
    assert "--resume" in again.stderr
    other = run(environ, tmp_path, "--resume", "--player", "0" * 32, name)
    assert (other.returncode, "other players" in other.stderr) == (1, True)
    done = run(environ, tmp_path, "--resume", name)
    assert done.returncode == 0, done.stderr
    assert f"exported {total} events" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert len(lines(tmp_path / name)) == total
    whole = run(environ, tmp_path, f"whole-{name}")
    assert whole.returncode == 0, whole.stderr
    assert set(lines(tmp_path / f"whole-{name}")) == set(lines(tmp_path / name))
    repeated = run(environ, tmp_path, name)
    assert (repeated.returncode, f"{name} exists" in repeated.stderr) == (1, True)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_says_how_to_go_on(
    many: tuple[dict[str, str], int], tmp_path: Path, signum: int
) -> None:
    environ, total = many
    with subprocess.Popen(
        [COMMAND, "export", "--parallel", "1", "x.jsonl.gz"],
        env=environ, cwd=tmp_path, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            wait_for(lambda: written(tmp_path / "x.jsonl.gz"), what="the export has begun")
            process.send_signal(signum)
            _, said = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 130
    assert "Traceback" not in said
    assert said.splitlines()[-2:] == [  # a slow export also says how far it is
        "player-sessions: interrupted",
        "what is done is kept; run the same command with --resume to go on",
    ]
    assert run(environ, tmp_path, "--resume", "x.jsonl.gz").returncode == 0
    assert len(lines(tmp_path / "x.jsonl.gz")) == total


def written(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def test_a_full_disk_stops_it_and_with_room_it_goes_on(
    many: tuple[dict[str, str], int], tmp_path: Path
) -> None:
    environ, total = many
    one_mib = ("sh", "-c", 'ulimit -f 2048; exec "$@"', "sh")  # in blocks of 512 bytes
    full = run(environ, tmp_path, "x.jsonl", under=one_mib)
    assert full.returncode == 1
    assert full.stderr.splitlines()[-2:] == [
        "player-sessions: cannot write x.jsonl: File too large",
        "what is done is kept; run the same command with --resume to go on",
    ]
    done = run(environ, tmp_path, "--resume", "x.jsonl")
    assert done.returncode == 0, done.stderr
    assert len(lines(tmp_path / "x.jsonl")) == total


def test_a_reader_that_ends_early_ends_the_export_in_one_clear_message(
    many: tuple[dict[str, str], int], tmp_path: Path
) -> None:
    environ, _ = many
    done = subprocess.run(
        ["bash", "-c", f"{COMMAND} export - | head -3; exit ${{PIPESTATUS[0]}}"],
        env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 3
    assert done.stderr.splitlines()[-2:] == [
        "player-sessions: the reader of the output ended before the export did",
        "the export is not complete; run the same command again for all of it",
    ]


def test_a_reader_that_pauses_for_long_gets_everything(
    many: tuple[dict[str, str], int], tmp_path: Path
) -> None:
    environ, total = many
    done = subprocess.run(
        ["bash", "-c", f"{COMMAND} export - | (sleep 25; sort -u | wc -l)"],
        env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert int(done.stdout) == total, done.stderr


def test_while_cassandra_is_away_it_waits_and_then_goes_on(mortal: Cluster, tmp_path: Path) -> None:
    environ = keyspace_of(mortal)
    events = data(tmp_path, "in.jsonl", "--sessions", "5000", "--seed", "25")
    assert run_import(environ, tmp_path, "in.jsonl").returncode == 0
    with subprocess.Popen(
        [COMMAND, "export", "--parallel", "1", "x.jsonl"],
        env=environ, cwd=tmp_path, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            wait_for(lambda: written(tmp_path / "x.jsonl"), what="the export has begun")
            process.send_signal(signal.SIGSTOP)
            mortal.kill_node(1)
            process.send_signal(signal.SIGCONT)
            time.sleep(1)
            assert process.poll() is None
            mortal.start_node(1)
            _, said = process.communicate(timeout=120)
        finally:
            process.kill()
            if not mortal.running(1):
                mortal.start_node(1)
    assert process.returncode == 0, said
    assert len(lines(tmp_path / "x.jsonl")) == len(events)


def peak_kib(environ: dict[str, str], folder: Path, *arguments: str) -> int:
    """Run an export, and return the most memory that its process had resident."""
    peak = 0
    with subprocess.Popen([COMMAND, "export", *arguments], env=environ, cwd=folder) as process:
        status = Path(f"/proc/{process.pid}/status")
        while process.poll() is None:
            found = re.search(r"^VmHWM:\s+(\d+) kB$", status.read_text(), re.MULTILINE)
            peak = int(found[1]) if found else peak  # a process that ends has no memory any more
            time.sleep(0.01)
    assert process.returncode == 0
    return peak


def test_memory_stays_bounded(
    many: tuple[dict[str, str], int], few: dict[str, str], tmp_path: Path
) -> None:
    environ, _ = many
    at_rest = peak_kib(few, tmp_path, "few.jsonl.gz")
    grown = peak_kib(environ, tmp_path, "--parallel", "2", "many.jsonl.gz") - at_rest
    assert grown < 8 << 10  # to hold all events takes 11 MiB


def test_rows_older_than_a_shorter_retention_are_left_out(
    few: dict[str, str], tmp_path: Path
) -> None:
    assert run(few, tmp_path, "all").returncode == 0
    whole = [json.loads(text) for text in lines(tmp_path / "all")]
    bound = sorted(datetime.fromisoformat(event["ts"]) for event in whole)[20]
    age = datetime.now(UTC) - bound - timedelta(minutes=1)
    done = run(few | {"PLAYER_SESSIONS_RETENTION": f"{age.total_seconds():.0f}s"}, tmp_path, "new")
    assert done.returncode == 0, done.stderr
    kept = [json.loads(text) for text in lines(tmp_path / "new")]
    assert 0 < len(kept) < len(whole)
    assert sorted(map(str, kept)) == sorted(
        str(event) for event in whole if datetime.fromisoformat(event["ts"]) > bound
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["missing/x"], "cannot write missing/x: its folder does not exist"),
        (["."], "cannot write .: it is a folder"),
        (["x.bz2"], "packed with gzip (.gz) or zstd (.zst)"),
        (["there"], "there exists: name another file, or remove it"),
        (["--resume", "there"], "nothing to resume at there.export-state"),
        (["--resume", "-"], "standard output cannot be cut"),
        (["--state", "state", "-"], "standard output cannot be cut"),
        (["--resume", "/dev/null"], "/dev/null is a stream"),
        (["--state", "missing/state", "x"], "cannot write the state file missing/state"),
        (["--state", ".", "x"], "cannot be the state file"),
    ],
)
def test_what_cannot_work_is_one_clear_line(
    few: dict[str, str], tmp_path: Path, arguments: list[str], said: str
) -> None:
    (tmp_path / "there").write_bytes(b"mine")
    done = run(few, tmp_path, *arguments)
    assert done.returncode == 1
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
    assert (tmp_path / "there").read_bytes() == b"mine"


def test_a_wrong_player_is_wrong_usage(few: dict[str, str], tmp_path: Path) -> None:
    done = run(few, tmp_path, "--player", "null", "x")
    assert done.returncode == 2
    assert "this id is the text of a missing value" in done.stderr


def test_without_cassandra_it_stops_after_its_patience(few: dict[str, str], tmp_path: Path) -> None:
    environ = few | {"PLAYER_SESSIONS_CASSANDRA_PORT": "1"}
    done = run(environ, tmp_path, "--patience", "1", "x")
    assert done.returncode == 1
    assert "Cassandra cannot be used" in done.stderr
    assert "--resume" in done.stderr
    done = run(few, tmp_path, "--resume", "x")
    assert done.returncode == 0, done.stderr
    assert len(lines(tmp_path / "x")) == 40
