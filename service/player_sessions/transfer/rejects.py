"""The file of the rejected lines, which never replaces what an earlier run has written."""

from __future__ import annotations

import io
import os
from itertools import count
from pathlib import Path
from typing import IO

from player_sessions.transfer.opening import TransferStopped


class Rejects:
    """The open file. It exists before anything is stored, and is removed if it stays empty."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self.path = path
        self._file = file
        self._plain = path.is_file()

    @classmethod
    def create(cls, path: Path) -> Rejects:
        """Make the file, as `rejects-2.jsonl` and so on where it exists; raises TransferStopped."""
        try:
            if path.exists() and not path.is_file():
                return cls(path, path.open("wb"))  # a device or pipe, such as /dev/null
            return cls(*_made(path))
        except OSError as error:
            raise _unwritable(path, error) from error

    @classmethod
    def resume(cls, path: Path, size: int) -> Rejects:
        """Go on after the first `size` bytes, so that no line stands in the file twice."""
        try:
            if not path.is_file() or path.stat().st_size < size:
                return cls.create(path)
            file = path.open("r+b")
            file.truncate(size)
            file.seek(0, os.SEEK_END)
        except OSError as error:
            raise _unwritable(path, error) from error
        return cls(path, file)

    def write(self, line: bytes) -> None:
        """Add one line."""
        self._file.write(line + b"\n")

    def sync(self) -> int:
        """Make the lines durable; return how many bytes the file has."""
        self._file.flush()
        if not self._plain:
            return 0
        os.fsync(self._file.fileno())
        return self._file.tell()

    def close(self) -> None:
        """Close the file, and remove it if it is empty."""
        self._file.close()
        if self._plain and self.path.is_file() and not self.path.stat().st_size:
            self.path.unlink()


def _made(path: Path) -> tuple[Path, io.BufferedWriter]:
    for number in count(1):
        free = path.with_name(f"{path.stem}-{number}{path.suffix}") if number > 1 else path
        try:
            return free, free.open("xb")
        except FileExistsError:
            continue
    raise AssertionError  # count() never ends


def _unwritable(path: Path, error: OSError) -> TransferStopped:
    return TransferStopped(
        f"cannot write {path}: {error.strerror}; name another file with --rejects"
    )
