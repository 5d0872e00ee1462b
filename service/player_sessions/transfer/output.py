"""The file that an export writes, packed as its name says, which can be cut at a checkpoint."""

from __future__ import annotations

import fcntl
import io
import os
import stat
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from player_sessions.transfer.opening import STDIN, TransferStopped

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

STDOUT = STDIN  # the same name means standard output where a file is written
_GZIP = 31  # zlib's number for a member of gzip with the largest window
_GZIP_LEVEL = 3  # half the time of the default level, for a tenth more bytes
_NOT_WRITTEN = (".bz2", ".xz", ".zip", ".lz4", ".7z")


class _Packer(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


class _Plain:
    def compress(self, data: bytes, /) -> bytes:
        return data

    def flush(self) -> bytes:
        return b""


def _gzip() -> _Packer:
    return zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP)


def _zstd() -> _Packer:
    return zstd.ZstdCompressor(options={zstd.CompressionParameter.checksum_flag: 1})


_PACKERS: dict[str, Callable[[], _Packer]] = {".gz": _gzip, ".zst": _zstd, ".zstd": _zstd}


class Output:
    """The open file. A packed file is many members (gzip) or frames (zstd), one a checkpoint."""

    def __init__(self, name: str, descriptor: int) -> None:
        self._name = name
        self._file = io.FileIO(descriptor, "wb", closefd=name != STDOUT)
        self._plain = stat.S_ISREG(os.fstat(descriptor).st_mode)
        self._pack = _PACKERS.get(Path(name).suffix, _Plain)
        self._packer: _Packer | None = None
        self._empty = True

    @classmethod
    def create(cls, name: str) -> Output:
        """Make the file, or open a stream; raises TransferStopped where the file exists."""
        try:
            if name == STDOUT:
                return cls(name, sys.stdout.fileno())
            if Path(name).exists() and not Path(name).is_file():  # a device or pipe
                return cls(name, os.open(name, os.O_WRONLY))
            return cls(name, os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))._alone()
        except OSError as error:
            raise unwritten(name, error) from error

    @classmethod
    def resume(cls, name: str, size: int) -> Output:
        """Go on after the first `size` bytes; raises TransferStopped where they are missing."""
        try:
            output = cls(name, os.open(name, os.O_WRONLY))._alone()
            if os.path.getsize(name) < size:
                output.close()
                raise TransferStopped(
                    f"{name} has less than what was exported to it: remove it and its state file,"
                    " and start without --resume"
                )
            os.truncate(name, size)
            output._file.seek(size)
        except OSError as error:
            raise unwritten(name, error) from error
        output._empty = not size
        return output

    def _alone(self) -> Output:
        """Return this file, which no other export may write to while it is open."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise TransferStopped(f"another export is writing {self._name}") from None
        return self

    def write(self, text: bytes) -> None:
        """Add lines; raises TransferStopped where there is no room or no reader."""
        if text:
            self._packer = self._packer or self._pack()
            self._put(self._packer.compress(text))

    def checkpoint(self) -> int:
        """Make all lines durable, and return after how many bytes the file can be cut."""
        if self._packer is not None:
            packer, self._packer = self._packer, None
            self._put(packer.flush())
        if not self._plain:
            return 0
        os.fsync(self._file.fileno())
        return self._file.tell()

    def finish(self) -> None:
        """End the file, which without a line has one empty member or frame."""
        if self._empty:
            self._packer = self._packer or self._pack()
        self.checkpoint()

    def close(self) -> None:
        """Close the file, as it is."""
        self._file.close()

    def _put(self, data: bytes) -> None:
        left = memoryview(data)
        try:
            while left:
                left = left[self._file.write(left) :]
                self._empty = False
        except BrokenPipeError:
            raise TransferStopped("the reader of the output ended before the export did") from None
        except OSError as error:
            raise unwritten(self._name, error) from error


def refuse_unwritable(name: str) -> None:
    """Raise TransferStopped unless `name` is a new file, or a stream, that can be packed so."""
    if name == STDOUT:
        if sys.stdout is None:
            raise TransferStopped("standard output is closed: name a file")
    elif name.endswith(_NOT_WRITTEN):
        raise TransferStopped(
            f"{name}: an export is packed with gzip (.gz) or zstd (.zst), or is plain text"
        )
    elif Path(name).is_dir():
        raise TransferStopped(f"cannot write {name}: it is a folder, so name a file in it")
    elif not Path(name).parent.is_dir():
        raise TransferStopped(f"cannot write {name}: its folder does not exist, so make it first")
    elif Path(name).is_file():
        raise TransferStopped(f"{name} exists: name another file, or remove it")


def unwritten(name: str, error: OSError) -> TransferStopped:
    """Return why the file cannot be written."""
    shown = "standard output" if name == STDOUT else name
    return TransferStopped(f"cannot write {shown}: {error.strerror}")
