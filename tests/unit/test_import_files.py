"""The files that an import writes: rejected lines and its state."""

from __future__ import annotations

from pathlib import Path

import pytest

from player_sessions.transfer.opening import TransferStopped
from player_sessions.transfer.rejects import Rejects
from player_sessions.transfer.state import fingerprints, refuse_unusable


def test_rejects_of_an_earlier_run_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "rejects.jsonl"
    for number in range(3):
        rejects = Rejects.create(path)
        rejects.write(b"%d" % number)
        rejects.close()
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {
        "rejects.jsonl": b"0\n",
        "rejects-2.jsonl": b"1\n",
        "rejects-3.jsonl": b"2\n",
    }


def test_two_imports_at_once_write_two_files(tmp_path: Path) -> None:
    first, second = (Rejects.create(tmp_path / "rejects") for _ in range(2))
    assert (first.path.name, second.path.name) == ("rejects", "rejects-2")
    first.close()
    second.close()
    assert list(tmp_path.iterdir()) == []


def test_a_resumed_import_goes_on_where_its_state_says(tmp_path: Path) -> None:
    rejects = Rejects.create(tmp_path / "rejects")
    rejects.write(b"one")
    size = rejects.sync()
    rejects.write(b"lost")
    rejects.close()
    resumed = Rejects.resume(rejects.path, size)
    resumed.write(b"two")
    assert resumed.sync() == 8
    resumed.close()
    assert rejects.path.read_bytes() == b"one\ntwo\n"


@pytest.mark.parametrize("content", [None, b"x"])
def test_a_resumed_import_begins_a_new_file_where_the_old_one_is_gone(
    tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "rejects"
    if content is not None:
        path.write_bytes(content)
    resumed = Rejects.resume(path, 8)
    resumed.write(b"two")
    resumed.close()
    assert resumed.path.read_bytes() == b"two\n"
    assert content is None or path.read_bytes() == content


def test_rejects_may_go_to_a_device() -> None:
    rejects = Rejects.create(Path("/dev/null"))
    rejects.write(b"one")
    assert rejects.sync() == 0
    rejects.close()
    assert Path("/dev/null").exists()


@pytest.mark.parametrize("name", ["missing/rejects", "."])
def test_rejects_that_cannot_be_written_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(TransferStopped, match="name another file with --rejects"):
        Rejects.create(tmp_path / name)


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("missing/state", "No such file or directory; name another with --state"),
        (".", "cannot be the state file"),
        ("/dev/stdin.import-state", "cannot be the state file"),
        ("/proc/self/fd/0.import-state", "cannot be the state file"),
        ("old", "belongs to an interrupted import"),
    ],
)
def test_a_state_file_that_cannot_be_is_refused(tmp_path: Path, path: str, why: str) -> None:
    (tmp_path / "old").touch()
    with pytest.raises(TransferStopped, match=why):
        refuse_unusable(tmp_path / path)


def test_a_missing_file_has_no_fingerprint(tmp_path: Path) -> None:
    with pytest.raises(TransferStopped, match="missing: No such file"):
        fingerprints([str(tmp_path / "missing")])
