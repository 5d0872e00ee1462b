"""What the export writes, without Cassandra: its lines, its packed files, and what it refuses."""

from __future__ import annotations

import asyncio
import gzip
import os
from datetime import datetime
from pathlib import Path
from uuid import UUID

import pytest

from player_sessions.rules.events import MAX_MS, End, Event, Start
from player_sessions.settings import Settings
from player_sessions.store.scan import Page, parts_of_all, parts_of_players
from player_sessions.transfer.exporter import Exporter, ExportState, line
from player_sessions.transfer.input import events_of, lines_of
from player_sessions.transfer.opening import TransferStopped
from player_sessions.transfer.output import Output, refuse_unwritable
from player_sessions.transfer.progress import Progress
from player_sessions.transfer.state import read_saved

PLAYER = UUID("0a2d12a1a7e145de8bae44c0c6e06629")
SESSION = UUID("4a0c43c9-c43a-42ff-ba55-67563dfa35d4")
NAMES = ["x.jsonl", "x.jsonl.gz", "x.jsonl.zst", "x.jsonl.zstd"]


@pytest.mark.parametrize(
    "event",
    [
        Start(PLAYER, SESSION, datetime(2026, 1, 2, 3, 4, 5, 678_000), "FI"),
        End(PLAYER, SESSION, datetime(2026, 1, 2, 3, 4, 5)),
        End(UUID(int=7), UUID(int=0), datetime(2026, 1, 2, 3, 4, 5, 1000)),
    ],
)
def test_a_line_is_the_event_when_it_is_imported(event: Event) -> None:
    (read,) = events_of(line(event).encode(), MAX_MS, 0)
    assert type(read) is type(event)
    assert (read.player_id, read.session_id) == (event.player_id, event.session_id)
    assert (read.at_ms, read.country) == (event.at_ms, event.country)


def test_lines_sort_by_time() -> None:
    times = [datetime(2026, 1, 2), datetime(2026, 1, 2, 3, 4, 5, 9000), datetime(2026, 11, 2)]
    lines = [line(End(UUID(int=9 - n), SESSION, time)) for n, time in enumerate(times)]
    assert sorted(lines) == lines


@pytest.mark.parametrize("ranges", [1, 3, 256])
def test_the_parts_have_every_token_once(ranges: int) -> None:
    parts = parts_of_all(ranges)
    for kind in ("start", "end"):
        conditions = [part.where for part in parts if part.kind == kind]
        bounds = [
            tuple(int(text.split()[-1]) for text in where.split(" AND ")) for where in conditions
        ]
        assert len(bounds) == ranges
        assert [low for low, _ in bounds] == [-(2**63), *(high for _, high in bounds[:-1])]
        assert bounds[-1][1] == 2**63 - 1
    assert len(parts_of_players([PLAYER, SESSION])) == 4


def texts(path: Path) -> list[bytes]:
    return [found.text for found in lines_of(str(path))]


@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_packed_as_its_name_says_and_cut_at_a_checkpoint(
    tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    output = Output.create(str(path))
    output.write(b"one\n")
    output.checkpoint()
    output.write(b"two\n")
    size = output.checkpoint()
    output.write(b"lost\n" * 100_000)
    output.close()
    output = Output.resume(str(path), size)
    output.write(b"three\n")
    output.finish()
    output.close()
    assert texts(path) == [b"one\n", b"two\n", b"three\n"]
    begins = {"x.jsonl": b"one", "x.jsonl.gz": b"\x1f\x8b"}.get(name, b"\x28\xb5\x2f\xfd")
    assert path.read_bytes().startswith(begins)


@pytest.mark.parametrize("name", NAMES)
def test_an_export_of_nothing_is_a_whole_file(tmp_path: Path, name: str) -> None:
    output = Output.create(str(tmp_path / name))
    output.finish()
    output.close()
    assert texts(tmp_path / name) == []
    if name.endswith(".gz"):
        assert gzip.decompress((tmp_path / name).read_bytes()) == b""
    assert bool((tmp_path / name).stat().st_size) == (name != "x.jsonl")


def test_a_file_that_lost_what_was_written_is_not_gone_on_with(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"one\n")
    with pytest.raises(TransferStopped, match="start without --resume"):
        Output.resume(str(tmp_path / "x"), 5)
    assert (tmp_path / "x").read_bytes() == b"one\n"
    with pytest.raises(TransferStopped, match=r"cannot write .*No such file"):
        Output.resume(str(tmp_path / "missing"), 5)


def test_two_exports_do_not_write_the_same_file(tmp_path: Path) -> None:
    name = str(tmp_path / "x")
    output = Output.create(name)
    output.write(b"one\n")
    with pytest.raises(TransferStopped, match="another export is writing"):
        Output.resume(name, 0)
    assert Path(name).read_bytes() == b"one\n"
    output.close()
    Output.resume(name, 0).close()
    assert Path(name).read_bytes() == b""


def test_a_file_that_exists_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"mine")
    with pytest.raises(TransferStopped, match="exists: name another file, or remove it"):
        refuse_unwritable(str(tmp_path / "x"))
    with pytest.raises(TransferStopped, match=r"cannot write .*File exists"):
        Output.create(str(tmp_path / "x"))
    assert (tmp_path / "x").read_bytes() == b"mine"


@pytest.mark.parametrize("name", ["x.bz2", "x.xz", "x.zip", "x.lz4", "x.7z"])
def test_a_packing_that_is_not_written_is_refused_by_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(TransferStopped, match=r"packed with gzip \(.gz\) or zstd \(.zst\)"):
        refuse_unwritable(str(tmp_path / name))


def test_a_full_disk_is_named() -> None:
    output = Output.create("/dev/full")
    with pytest.raises(TransferStopped, match="cannot write /dev/full: No space left on device"):
        output.write(b"one\n")
    output.close()


def test_after_a_page_was_half_written_no_other_page_is_kept(tmp_path: Path) -> None:
    state = ExportState("games", [PLAYER], begun=2, positions={0: None, 1: None})
    output = Output.create("/dev/full")
    exporter = Exporter(
        Settings(), state, output,
        state_file=tmp_path / "state", parallel=2, patience=1, progress=Progress(),
    )  # fmt: skip
    exporter._saved -= 60  # so that the next page also saves the state
    event = End(PLAYER, SESSION, datetime(2026, 1, 2, 3, 4, 5))
    with pytest.raises(TransferStopped, match="No space left"):
        exporter._keep(0, Page([event], None))
    with pytest.raises(asyncio.CancelledError):
        exporter._keep(1, Page([], None))
    assert state.positions == {0: None, 1: None}
    assert not (tmp_path / "state").exists()
    output.close()


def test_a_reader_that_ends_early_stops_the_export(tmp_path: Path) -> None:
    name = str(tmp_path / "pipe")
    os.mkfifo(name)
    reader = os.open(name, os.O_RDONLY | os.O_NONBLOCK)
    output = Output.create(name)
    output.write(b"one\n")
    assert output.checkpoint() == 0
    os.close(reader)
    with pytest.raises(TransferStopped, match="the reader of the output ended"):
        output.write(b"two\n")
    output.close()


def test_the_state_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    state = ExportState("games", [PLAYER], 256, 9, {7: b"\0\xff", 8: None}, 5, 600)
    state.save(tmp_path / "state")
    assert read_saved(tmp_path / "state", ExportState) == state
