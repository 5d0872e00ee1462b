"""`player-sessions import` as a process on a real Cassandra."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from collections import defaultdict
from pathlib import Path
from typing import Any
from urllib.parse import quote
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
from loadtest import dataset


@pytest.fixture
def environ(cassandra: Cluster, keyspace: str) -> dict[str, str]:
    return inherited() | variables(cassandra, keyspace)


def run(
    environ: dict[str, str], folder: Path, *arguments: str, stdin: bytes = b""
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [COMMAND, "import", *arguments],
        env=environ, cwd=folder, input=stdin, capture_output=True, timeout=120,
    )  # fmt: skip
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
    )


def counts(summary: str) -> tuple[int, int, int]:
    """Return (stored, discarded, rejected) of a summary after checking its sum."""
    found = re.search(r"read (\d+) = stored (\d+) \+ discarded (\d+) \+ rejected (\d+)", summary)
    assert found, summary
    read, stored, discarded, rejected = map(int, found.groups())
    assert read == stored + discarded + rejected
    return stored, discarded, rejected


def data(folder: Path, name: str, *options: str) -> list[dict[str, Any]]:
    """Write a new file and return its events."""
    chosen = dataset.parser().parse_args([*options, "--players", "20", "-o", str(folder / name)])
    events = dataset.events(chosen)
    with dataset.opened(chosen.output) as file:
        file.writelines(dataset.lines(events, chosen.batch))
    return events


def complete(events: list[dict[str, Any]]) -> dict[str, set[str]]:
    """Return the complete sessions of each player."""
    starts = {(e["player_id"], e["session_id"]) for e in events if e["event"] == "start"}
    found: dict[str, set[str]] = defaultdict(set)
    for event in events:
        if event["event"] == "end" and (event["player_id"], event["session_id"]) in starts:
            found[event["player_id"]].add(event["session_id"])
    return found


def listed(server: Server, player: str) -> list[str]:
    """Return all of a player's sessions, page by page."""
    found: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = server.http.get(f"/v1/players/{UUID(player)}/sessions", params=cursor).json()
        found += [session["session_id"] for session in page["sessions"]]
        if page["next_cursor"] is None:
            return found
        cursor = {"cursor": page["next_cursor"]}


def assert_all_there(server: Server, events: list[dict[str, Any]]) -> None:
    for player, expected in complete(events).items():
        sessions = listed(server, player)
        assert len(sessions) == len(set(sessions))
        assert set(sessions) == expected


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.jsonl", []), ("b.jsonl.gz", ["--batch", "7"]), ("c.jsonl.bz2", ["--duplicates", "0.3"])],
)
def test_every_event_of_a_file_is_stored(
    server: Server, environ: dict[str, str], tmp_path: Path, name: str, options: list[str]
) -> None:
    events = data(tmp_path, name, "--sessions", "300", "--seed", str(ord(name[0])), *options)
    done = run(environ, tmp_path, name)
    assert (done.returncode, counts(done.stdout)) == (0, (len(events), 0, 0)), done.stderr
    assert_all_there(server, events)
    assert sorted(path.name for path in tmp_path.iterdir()) == [name]


def test_standard_input_is_read_and_bad_lines_are_rejected_with_number_and_reason(
    server: Server, environ: dict[str, str], tmp_path: Path
) -> None:
    events = data(tmp_path, "x", "--sessions", "20", "--unfinished", "0", "--seed", "5")
    good = (tmp_path / "x").read_bytes()
    half_bad = json.dumps({"rows": [events[0], {**events[1], "country": "?"}]}).encode()
    done = run(environ, tmp_path, "-", stdin=b"nope\n\n" + good + half_bad + b"\n")
    assert done.returncode == 3
    assert counts(done.stdout) == (40, 0, 3)
    rejects = [json.loads(line) for line in (tmp_path / "rejects.jsonl").read_text().splitlines()]
    assert [(r["line"], r["reason"]) for r in rejects] == [
        (1, "invalid-json"),
        (43, "invalid-country"),
    ]
    assert rejects[0]["text"] == "nope"
    assert [error["index"] for error in rejects[1]["errors"]] == [1]
    assert_all_there(server, events)


@pytest.mark.parametrize("batch", ["1", "4"])
def test_any_player_id_is_imported_unless_only_uuids_are_ids(
    server: Server, environ: dict[str, str], tmp_path: Path, batch: str
) -> None:
    options = ("--sessions", "40", "--unfinished", "0", "--seed", f"7{batch}")
    events = data(tmp_path, "x", *options)
    renamed = [{**event, "player_id": f"Jörg/{event['player_id']}"} for event in events]
    (tmp_path / "x").write_bytes(b"".join(dataset.lines(renamed, int(batch))))
    done = run({**environ, "PLAYER_SESSIONS_PLAYER_IDS": "uuid"}, tmp_path, "x")
    assert (done.returncode, counts(done.stdout)) == (3, (0, 0, 80)), done.stderr
    assert "invalid-player-id: 80" in done.stdout
    (tmp_path / "rejects.jsonl").unlink()
    done = run(environ, tmp_path, "x")
    assert (done.returncode, counts(done.stdout)) == (0, (80, 0, 0)), done.stderr
    for player, expected in complete(renamed).items():
        path = f"/v1/players/{quote(player, safe='')}/sessions"
        page = server.http.get(path, params={"limit": 20}).json()
        assert page["player_id"] == player
        assert {session["session_id"] for session in page["sessions"]} == expected


def test_killed_in_the_middle_it_goes_on_where_it_was(
    cassandra: Cluster, environ: dict[str, str], tmp_path: Path
) -> None:
    keyspace = new_keyspace()
    run_schema_apply(cassandra, keyspace)
    environ |= variables(cassandra, keyspace)
    events = data(tmp_path, "x.jsonl", "--sessions", "10000", "--players", "250", "--seed", "6")
    lines = (tmp_path / "x.jsonl").read_bytes().splitlines(keepends=True)
    lines[100:100] = [b"bad one\n"]
    lines[-100:-100] = [b"bad two\n"]
    (tmp_path / "x.jsonl").write_bytes(b"".join(lines))
    state = tmp_path / "x.jsonl.import-state"

    def progress() -> int:
        return int(json.loads(state.read_bytes())["read"]) if state.exists() else 0

    with subprocess.Popen(
        [COMMAND, "import", "--in-flight", "20", "x.jsonl"],
        env=environ, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        try:
            wait_for(lambda: progress() > 200, what="some of the import is done")
        finally:
            process.kill()
    assert 0 < progress() < len(events)
    again = run(environ, tmp_path, "x.jsonl")
    assert again.returncode == 1
    assert "--resume" in again.stderr
    done = run(environ, tmp_path, "--resume", "x.jsonl")
    assert (done.returncode, counts(done.stdout)) == (3, (len(events), 0, 2)), done.stderr
    rejects = (tmp_path / "rejects.jsonl").read_text().splitlines()
    assert [json.loads(line)["line"] for line in rejects] == [101, len(lines) - 100]
    assert not state.exists()
    with Server(variables(cassandra, keyspace)).ready() as server:
        assert_all_there(server, events)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_says_how_to_go_on(
    environ: dict[str, str], tmp_path: Path, signum: int
) -> None:
    data(tmp_path, "x.jsonl", "--sessions", "30000", "--seed", "7")
    with subprocess.Popen(
        [COMMAND, "import", "--in-flight", "5", "x.jsonl"],
        env=environ, cwd=tmp_path, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            wait_for((tmp_path / "x.jsonl.import-state").exists, what="the import has begun")
            time.sleep(1)
            process.send_signal(signum)
            _, said = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 130
    assert "interrupted" in said
    assert "--resume" in said
    assert "Traceback" not in said


def test_data_of_2016_is_discarded_unless_rebased(
    server: Server, environ: dict[str, str], tmp_path: Path
) -> None:
    old = ["--until", "2016-12-02T05:36:16", "--sessions", "50", "--seed", "8"]
    events = data(tmp_path, "old.jsonl", *old)
    done = run(environ, tmp_path, "old.jsonl")
    assert (done.returncode, counts(done.stdout)) == (4, (0, len(events), 0))
    assert "older than the retention of 365d" in done.stderr
    done = run(environ, tmp_path, "--rebase", "old.jsonl")
    assert (done.returncode, counts(done.stdout)) == (0, (len(events), 0, 0)), done.stderr
    assert_all_there(server, events)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["missing.jsonl"], "missing.jsonl: No such file"),
        (["--resume", "missing.jsonl"], "nothing to resume"),
        (["--resume"], "standard input"),
        (["--rebase", "-"], "standard input"),
        (["--state", "state", "-"], "standard input"),
        (["--rebase", "/dev/stdin"], "/dev/stdin is a stream"),
        (["."], "cannot read .: it is a folder"),
        (["--rejects", "missing/rejects", "x"], "cannot write missing/rejects: No such file"),
        (["--rejects", ".", "x"], "name another file with --rejects"),
        (["--state", "missing/state", "x"], "cannot write the state file missing/state"),
        (["--state", ".", "x"], "cannot be the state file"),
        (["--state", "/dev/state", "x"], "cannot be the state file"),
        (["x", "missing"], "missing: No such file"),
        (["x", "utf-16"], "utf-16: cannot be read: it is UTF-16"),
    ],
)
def test_what_cannot_work_is_one_clear_line(
    environ: dict[str, str], tmp_path: Path, arguments: list[str], said: str
) -> None:
    data(tmp_path, "x", "--sessions", "1")
    (tmp_path / "utf-16").write_text("{}", encoding="utf-16")
    done = run(environ, tmp_path, *arguments)
    assert done.returncode == 1
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["utf-16", "x"]


def test_without_cassandra_it_stops_after_its_patience(
    environ: dict[str, str], tmp_path: Path
) -> None:
    data(tmp_path, "x.jsonl", "--sessions", "5")
    environ["PLAYER_SESSIONS_CASSANDRA_PORT"] = "1"
    done = run(environ, tmp_path, "--patience", "1", "x.jsonl")
    assert done.returncode == 1
    assert "Cassandra" in done.stderr
    assert "--resume" in done.stderr
