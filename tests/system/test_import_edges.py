"""`player-sessions import` with what users really give it: wrong clocks, pipes, odd files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dev.cluster import Cluster
from dev.service import COMMAND, Server, inherited, variables, wait_for
from tests.system.test_import import assert_all_there, counts, data, run

OLD = ("--until", "2016-12-02T05:36:16", "--unfinished", "0")


@pytest.fixture
def environ(cassandra: Cluster, keyspace: str) -> dict[str, str]:
    return inherited() | variables(cassandra, keyspace)


def shell(environ: dict[str, str], folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", script],
        env=environ | {"COMMAND": str(COMMAND)}, cwd=folder, capture_output=True, text=True,
        timeout=120,
    )  # fmt: skip


def add(path: Path, *documents: Any) -> None:
    with path.open("a") as file:
        file.writelines(json.dumps(document) + "\n" for document in documents)


def test_a_device_in_the_far_future_does_not_discard_all_others(
    server: Server, environ: dict[str, str], tmp_path: Path
) -> None:
    events = data(tmp_path, "x", "--sessions", "100", "--days", "20", "--seed", "11", *OLD)
    add(tmp_path / "x", {**events[0], "ts": "2099-01-01T00:00:00Z"})
    done = run(environ, tmp_path, "--rebase", "x")
    assert done.returncode == 1
    last = max(event["ts"] for event in events)
    assert f"--rebase-to {last}.000Z" in done.stderr
    assert "--rebase-to 2099-01-01T00:00:00.000Z" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    done = run(environ, tmp_path, "--rebase-to", last, "x")
    assert (done.returncode, counts(done.stdout)) == (3, (len(events), 0, 1)), done.stderr
    assert "all times were moved" in done.stdout
    assert "timestamp-in-future: 1" in done.stdout
    assert_all_there(server, events)


def test_rebasing_on_purpose_to_a_lone_time_says_what_it_discards(
    environ: dict[str, str], tmp_path: Path
) -> None:
    events = data(tmp_path, "x", "--sessions", "20", "--seed", "12", *OLD)
    add(tmp_path / "x", {**events[0], "ts": "2099-01-01T00:00:00Z"})
    done = run(environ, tmp_path, "--rebase-to", "2099-01-01T00:00:00Z", "x")
    assert (done.returncode, counts(done.stdout)) == (4, (1, len(events), 0))
    assert "older than the retention of 365d" in done.stderr


def test_a_wrong_time_is_wrong_usage(environ: dict[str, str], tmp_path: Path) -> None:
    done = run(environ, tmp_path, "--rebase-to", "yesterday", "x")
    assert done.returncode == 2
    assert "must be a time such as 2016-12-02T05:36:16Z" in done.stderr


@pytest.mark.parametrize(
    "script",
    [
        "$COMMAND import /dev/stdin < x",
        "cat x | $COMMAND import /dev/stdin",
        "$COMMAND import <(gzip -c x)",
        "$COMMAND import /proc/self/fd/0 < x",
        "mkfifo pipe; (bzip2 -c x > pipe &); $COMMAND import pipe; rm pipe",
        "$COMMAND import <(head -20 x) <(tail -n +21 x)",
        "cat x | $COMMAND import --rejects /dev/null",
    ],
)
def test_a_stream_is_imported_and_leaves_no_state_file(
    server: Server, environ: dict[str, str], tmp_path: Path, script: str
) -> None:
    before = {*os.listdir("/dev"), *os.listdir("/dev/fd/")}
    events = data(tmp_path, "x", "--sessions", "20", "--unfinished", "0", "--seed", "13")
    done = shell(environ, tmp_path, script)
    assert (done.stderr, counts(done.stdout)) == ("", (len(events), 0, 0))
    assert_all_there(server, events)
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert not [name for name in {*os.listdir("/dev")} - before if "import-state" in name]


def test_a_stream_can_be_rebased_to_a_time(
    server: Server, environ: dict[str, str], tmp_path: Path
) -> None:
    events = data(tmp_path, "x", "--sessions", "20", "--seed", "14", *OLD)
    text = (tmp_path / "x").read_bytes()
    done = run(environ, tmp_path, "--rebase-to", "2016-12-02T05:36:16", stdin=text)
    assert (done.returncode, counts(done.stdout)) == (0, (len(events), 0, 0)), done.stderr
    assert_all_there(server, events)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("$COMMAND import {folder}/x", "cannot write the state file"),
        ("cd {folder} && $COMMAND import --state /tmp/unused x", "cannot write rejects.jsonl"),
        ("cd {folder} && $COMMAND import - < x", "cannot write rejects.jsonl"),
    ],
)
def test_a_read_only_folder_is_refused_before_anything_is_stored(
    environ: dict[str, str], tmp_path: Path, script: str, said: str
) -> None:
    folder = tmp_path / "read-only"
    folder.mkdir()
    data(folder, "x", "--sessions", "1")
    folder.chmod(0o555)
    # root may write everywhere, unless its capabilities are taken away
    bounded = "setpriv --bounding-set -all --inh-caps -all " if os.geteuid() == 0 else ""
    done = shell(
        environ, tmp_path, script.format(folder=folder).replace("$COMMAND", f"{bounded}$COMMAND")
    )
    assert done.returncode == 1
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert [path.name for path in folder.iterdir()] == ["x"]
    assert [path.name for path in tmp_path.iterdir()] == ["read-only"]


def test_a_read_only_folder_is_read_with_both_files_elsewhere(
    server: Server, environ: dict[str, str], tmp_path: Path
) -> None:
    folder = tmp_path / "read-only"
    folder.mkdir()
    events = data(folder, "x.jsonl", "--sessions", "5", "--unfinished", "0", "--seed", "15")
    folder.chmod(0o555)
    options = ("--state", "state", "--rejects", "rejects")
    done = run(environ, tmp_path, *options, "read-only/x.jsonl")
    assert (done.returncode, counts(done.stdout)) == (0, (len(events), 0, 0)), done.stderr
    assert_all_there(server, events)


def test_rejects_of_an_earlier_run_are_never_overwritten(
    environ: dict[str, str], tmp_path: Path
) -> None:
    for text in (b"first\n", b"second\n"):
        done = run(environ, tmp_path, stdin=text)
        assert done.returncode == 3
    assert "the rejected lines are in rejects-2.jsonl" in done.stderr
    kept = [
        json.loads((tmp_path / name).read_text()) for name in ("rejects.jsonl", "rejects-2.jsonl")
    ]
    assert [line["text"] for line in kept] == ["first", "second"]


def test_a_full_disk_is_one_clear_line(environ: dict[str, str], tmp_path: Path) -> None:
    done = run(environ, tmp_path, "--rejects", "/dev/full", stdin=b"bad\n")
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_silent_pipe_can_be_interrupted(
    environ: dict[str, str], tmp_path: Path, signum: int
) -> None:
    with subprocess.Popen(
        [COMMAND, "import"],
        env=environ, cwd=tmp_path, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            wait_for((tmp_path / "rejects.jsonl").exists, what="the import has begun")
            time.sleep(3)
            process.send_signal(signum)
            process.wait(timeout=10)
            assert process.stderr is not None
            said = process.stderr.read()
        finally:
            process.kill()
    assert process.returncode == 130
    assert "interrupted" in said
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []


def test_a_line_that_is_too_long_is_called_that_and_counted_by_its_events(
    environ: dict[str, str], tmp_path: Path
) -> None:
    now = datetime.now(UTC) - timedelta(minutes=1)
    event = {"player_id": "0" * 32, "session_id": "1" * 32, "event": "end", "ts": now.isoformat()}
    add(tmp_path / "x", [event] * 20_000, event)
    done = run(environ, tmp_path, "x")
    assert (done.returncode, counts(done.stdout)) == (3, (1, 0, 20_000)), done.stderr
    assert "line-too-long: 20000" in done.stdout
    reject = json.loads((tmp_path / "rejects.jsonl").read_text())
    assert (reject["line"], reject["reason"]) == (1, "line-too-long")
    assert "longer than 1048576 bytes" in reject["detail"]


def test_a_pretty_printed_array_gets_a_hint(environ: dict[str, str], tmp_path: Path) -> None:
    done = run(environ, tmp_path, stdin=json.dumps([{"event": "end"}], indent=2).encode())
    assert done.returncode == 3
    assert "jq -c '.[]' FILE" in done.stderr


def test_the_help_names_limit_packings_and_exit_codes(
    environ: dict[str, str], tmp_path: Path
) -> None:
    said = " ".join(run(environ, tmp_path, "--help").stdout.split())
    for part in ("at most 1 MiB", "gzip, bzip2 or zstd", "4 no line was rejected", "--rebase-to"):
        assert part in said
