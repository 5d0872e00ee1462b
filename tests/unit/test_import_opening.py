"""What the import reads, told by its first bytes: packings, encodings, streams, long lines."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from player_sessions.rules.events import MAX_MS, BatchRefused
from player_sessions.transfer.input import MAX_LINE, events_in, events_of, lines_of
from player_sessions.transfer.opening import (
    TransferStopped,
    in_device_folder,
    is_stream,
    refuse_unreadable,
)

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PACKINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "zstd": zstd.compress,
}
EVENT = b'{"player_id":"%032x","session_id":"%032x","event":"end","ts":"2026-01-02T03:04:05"}' % (
    1,
    2,
)


def texts(name: Path | str) -> list[bytes]:
    return [line.text for line in lines_of(str(name))]


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("name", ["x", "x.jsonl", "x.gz", "x.bz2", "x.zst"])
def test_a_packed_file_is_recognised_whatever_its_name(
    tmp_path: Path, packing: str, name: str
) -> None:
    pack = PACKINGS[packing]
    (tmp_path / name).write_bytes(pack(b"one\n") + pack(b"two\n"))
    assert texts(tmp_path / name) == [b"one\n", b"two\n"]


@pytest.mark.parametrize("name", ["x.gz", "x.bz2", "x.zst"])
def test_a_plain_file_is_read_even_if_its_name_says_packed(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(EVENT)
    assert texts(tmp_path / name) == [EVENT]
    (tmp_path / name).write_bytes(b"")
    assert texts(tmp_path / name) == []


@pytest.mark.parametrize("packing", PACKINGS)
def test_a_damaged_file_stops_the_import(tmp_path: Path, packing: str) -> None:
    whole = PACKINGS[packing](b"".join(b"%d\n" % (n * n) for n in range(50_000)))
    middle = len(whole) // 2
    for damaged in (whole[:-20], whole[:middle] + b"nothing" + whole[middle + 7 :]):
        (tmp_path / "x").write_bytes(damaged)
        with pytest.raises(TransferStopped, match="cannot be read"):
            texts(tmp_path / "x")


def test_a_byte_order_mark_of_utf_8_is_taken_also_where_files_were_put_together(
    tmp_path: Path,
) -> None:
    marked = b"\xef\xbb\xbf" + EVENT + b"\n"
    (tmp_path / "x").write_bytes(marked + marked + b"\xef\xbb\xbf\n")
    assert texts(tmp_path / "x") == [EVENT + b"\n"] * 2


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("encoding", "kind"),
    [
        ("utf-16", "UTF-16"),
        ("utf-16-le", "UTF-16"),
        ("utf-16-be", "UTF-16"),
        ("utf-32", "UTF-32"),
        ("utf-32-le", "UTF-32"),
        ("utf-32-be", "UTF-32"),
    ],
)
def test_another_encoding_is_named(tmp_path: Path, encoding: str, kind: str, packed: bool) -> None:
    text = EVENT.decode().encode(encoding)
    (tmp_path / "x").write_bytes(gzip.compress(text) if packed else text)
    with pytest.raises(TransferStopped, match=f"it is {kind}; convert it to UTF-8"):
        refuse_unreadable(str(tmp_path / "x"))


@pytest.mark.parametrize(
    ("head", "kind"),
    [(lzma.compress(EVENT), "xz"), (b"PK\x03\x04rest", "zip"), (b"\x04\x22\x4d\x18rest", "lz4")],
)
def test_another_packing_is_named(tmp_path: Path, head: bytes, kind: str) -> None:
    (tmp_path / "x").write_bytes(head)
    with pytest.raises(TransferStopped, match=f"packed with {kind}; unpack it first"):
        refuse_unreadable(str(tmp_path / "x"))


def test_a_pipe_is_read_once_and_whole_even_if_it_comes_byte_by_byte(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    def write() -> None:
        with pipe.open("wb", buffering=0) as file:
            for byte in gzip.compress(b"one\ntwo\n"):
                file.write(bytes([byte]))

    refuse_unreadable(str(pipe))  # takes nothing from it, and does not wait for a writer
    writer = threading.Thread(target=write)
    writer.start()
    assert texts(pipe) == [b"one\n", b"two\n"]
    writer.join()


def test_whatever_is_no_plain_file_is_a_stream(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "x").touch()
    (tmp_path / "link").symlink_to("x")
    for name in ("-", "/dev/stdin", "/dev/fd/63", "/dev/null", "/proc/self/fd/0"):
        assert is_stream(name)
    assert is_stream(str(tmp_path / "pipe"))
    for path in (tmp_path / "x", tmp_path / "link", tmp_path / "missing", tmp_path):
        assert not is_stream(str(path))
    assert not in_device_folder("/dev/shm/x.jsonl")
    assert not in_device_folder("/device/x.jsonl")


def test_a_line_is_too_long_from_one_byte_over_the_limit(tmp_path: Path) -> None:
    most = EVENT + b" " * (MAX_LINE - len(EVENT))
    (tmp_path / "x").write_bytes(most + b"\n" + most + b" \n" + most)
    first, second, third = lines_of(str(tmp_path / "x"))
    assert [line.too_long for line in (first, second, third)] == [0, 1, 0]
    assert len(events_in(first, MAX_MS, 0) + events_in(third, MAX_MS, 0)) == 2
    with pytest.raises(BatchRefused, match="longer than 1048576 bytes") as refused:
        events_in(second, MAX_MS, 0)
    assert refused.value.reason.name == "line-too-long"


def test_a_line_that_is_too_long_counts_the_events_that_it_holds(tmp_path: Path) -> None:
    # 97 bytes for each event put a key over every kind of border between two pieces.
    batch = json.dumps([json.loads(EVENT)] * 50_000).encode()
    assert len(batch) > 4 * MAX_LINE
    (tmp_path / "x").write_bytes(batch + b"\nnext\n" + b" " * MAX_LINE + batch)
    assert [line.too_long for line in lines_of(str(tmp_path / "x"))] == [50_000, 0, 50_000]


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        (b"[\n", "jq -c '.[]' FILE"),
        (b" [ {\r\n", "jq -c '.[]' FILE"),
        (b"[" + EVENT + b",\n", "jq -c '.[]' FILE"),
        (b"{\n", "jq -c . FILE"),
    ],
)
def test_a_document_over_many_lines_gets_a_hint(text: bytes, hint: str) -> None:
    with pytest.raises(BatchRefused) as refused:
        events_of(text, MAX_MS, 0)
    assert refused.value.reason.name == "invalid-json"
    assert hint in refused.value.detail


def test_a_line_that_is_cut_off_gets_no_hint() -> None:
    with pytest.raises(BatchRefused) as refused:
        events_of(EVENT[:40], MAX_MS, 0)
    assert "jq" not in refused.value.detail
