"""Opens what an import reads: files and streams, packed or plain, and refuses what is not UTF-8."""

from __future__ import annotations

import bz2
import gzip
import io
import os
import re
import stat
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import IO, Any

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

STDIN = "-"
BOM = b"\xef\xbb\xbf"
UNREADABLE = (OSError, EOFError, zlib.error, zstd.ZstdError)
_BUFFER = 1 << 18
_HEAD = 8  # bytes that tell what a file is
_UNPACKED: dict[bytes, Callable[[Any], Any]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"BZh": bz2.BZ2File,
    b"\x28\xb5\x2f\xfd": zstd.ZstdFile,
}
_NOT_READ = {
    b"\xfd7zXZ\0": "xz",
    b"PK\x03\x04": "zip",
    b"\x04\x22\x4d\x18": "lz4",
    b"7z\xbc\xaf": "7z",
    b"\xff\xfe\0\0": "UTF-32",
    b"\0\0\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
# JSON begins with ASCII characters, so zeros among the first bytes show the encoding.
_UTF_32 = re.compile(rb"\0\0\0[^\0]|[^\0]\0\0\0")
_UTF_16 = re.compile(rb"\0[^\0]|[^\0]\0")
_PACKED_NAMES = (".gz", ".bz2", ".zst", ".zstd")


class TransferStopped(Exception):
    """An import or export cannot go on; the message says why and what to do."""


class _Counted(io.RawIOBase):
    """Gives the bytes `head` and then those of `rest`, and counts what it has given."""

    def __init__(self, head: bytes, rest: IO[bytes]) -> None:
        self._head = head
        self._rest = rest
        self.given = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        part = self._head[: len(buffer)] or self._read(len(buffer))
        self._head = self._head[len(part) :]
        buffer[: len(part)] = part
        self.given += len(part)
        return len(part)

    def _read(self, size: int) -> bytes:
        read1: Callable[[int], bytes] = getattr(self._rest, "read1", self._rest.read)
        return read1(size)


def in_device_folder(name: str | os.PathLike[str]) -> bool:
    """Say whether a path lies where only the system makes files, such as /dev/stdin."""
    folder = os.path.dirname(os.path.abspath(name))
    return folder == "/dev" or (folder + "/").startswith(("/dev/fd/", "/proc/", "/sys/"))


def is_stream(name: str) -> bool:
    """Say whether `name` is a pipe or device, which can be read only once."""
    if name == STDIN or in_device_folder(name):
        return True
    try:
        mode = os.stat(name).st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def refuse_unreadable(name: str) -> None:
    """Raise TransferStopped unless the import can begin with `name`; take nothing from a stream."""
    if name == STDIN:
        if sys.stdin is None:
            raise TransferStopped("standard input is closed: give a file")
        return
    try:
        os.stat(name)
    except (OSError, ValueError) as error:
        raise TransferStopped(f"cannot read {name}: {_why(error)}") from error
    if os.path.isdir(name):
        raise TransferStopped(f"cannot read {name}: it is a folder, so name the files in it")
    if not os.access(name, os.R_OK):
        raise TransferStopped(f"cannot read {name}: Permission denied")
    if not is_stream(name):
        with opened(name):
            pass


@contextmanager
def opened(name: str) -> Iterator[tuple[IO[bytes], Callable[[], int]]]:
    """Open a file or stream; yield its text, and a function that tells how many bytes are read.

    The first bytes tell how the text is packed, whatever the name. Raises TransferStopped.
    """
    try:
        with nullcontext(sys.stdin.buffer) if name == STDIN else open(name, "rb") as raw:
            head, counted = _peeked(raw)
            text: IO[bytes] = io.BufferedReader(counted, _BUFFER)
            unpack = next((_UNPACKED[m] for m in _UNPACKED if head.startswith(m)), None)
            if unpack is not None:
                head, unpacked = _peeked(unpack(text))
                text = io.BufferedReader(unpacked, _BUFFER)
            _refuse_unknown(name, head, packed=unpack is not None)
            yield text, lambda: counted.given
    except UNREADABLE as error:
        raise TransferStopped(f"{name}: cannot be read: {_why(error)}") from error


def _why(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error)


def _peeked(file: IO[bytes]) -> tuple[bytes, _Counted]:
    head = file.read(_HEAD)
    return head, _Counted(head, file)


def _refuse_unknown(name: str, head: bytes, *, packed: bool) -> None:
    """Raise TransferStopped where the first bytes show that the text cannot be JSON in UTF-8."""
    shown = "standard input" if name == STDIN else name
    kind = next((kind for mark, kind in _NOT_READ.items() if head.startswith(mark)), None)
    if kind is None and (_UTF_32.match(head) or _UTF_16.match(head)):
        kind = "UTF-32" if _UTF_32.match(head) else "UTF-16"
    if kind is not None and kind.startswith("UTF"):
        raise TransferStopped(
            f"{shown}: cannot be read: it is {kind}; convert it to UTF-8,"
            f" for instance with iconv -f {kind} -t UTF-8"
        )
    if kind is not None:
        raise TransferStopped(
            f"{shown}: cannot be read: it is packed with {kind}; unpack it first, or pack it"
            " with gzip, bzip2 or zstd"
        )
    is_json = head.removeprefix(BOM).lstrip()[:1] in (b"", b"{", b"[")
    if name.endswith(_PACKED_NAMES) and not packed and not is_json:
        raise TransferStopped(f"{name}: cannot be read: it is neither packed nor JSON")
