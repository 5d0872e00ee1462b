"""What a transfer remembers in its state file, so that it can be resumed."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TypeVar

import msgspec

from player_sessions.transfer.opening import TransferStopped, in_device_folder


def fingerprint(name: str) -> str:
    """Return what identifies a file when an interrupted import is resumed."""
    with open(name, "rb") as file:
        head = hashlib.sha256(file.read(1 << 16)).hexdigest()[:16]
    return f"{os.path.getsize(name)}-{head}"


def fingerprints(names: list[str]) -> dict[str, str]:
    """Return the fingerprint of each file; raises TransferStopped where one cannot be read."""
    try:
        return {name: fingerprint(name) for name in names}
    except OSError as error:
        raise TransferStopped(f"cannot read {error.filename}: {error.strerror}") from error


class Saved(msgspec.Struct):
    """What a state file holds."""

    def save(self, path: Path) -> None:
        """Replace the file in one step, so that it is never half written."""
        new = _beside(path)
        try:
            with new.open("wb") as file:
                file.write(msgspec.json.encode(self))
                file.flush()
                os.fsync(file.fileno())
            new.replace(path)
        except OSError as error:
            raise _unwritable(path, error) from error


S = TypeVar("S", bound=Saved)


class State(Saved):
    """How far an import is: everything up to `lines` is stored, discarded or rejected."""

    files: dict[str, str]  # name: fingerprint
    rebase: bool = False
    shift_ms: int = 0
    rejects_bytes: int = 0
    lines: dict[str, int] = {}
    read: int = 0
    stored: int = 0
    discarded: int = 0
    rejected: dict[str, int] = {}
    rebase_to: int | None = None  # the time (ms) that --rebase-to names
    rejects: str = ""  # the file of the rejected lines


def refuse_unusable(path: Path, work: str = "import") -> None:
    """Raise TransferStopped unless a new state file of `work` can be made at `path`; make none."""
    if path.is_dir() or in_device_folder(path):
        raise TransferStopped(f"{path} cannot be the state file: name another with --state")
    if path.exists():
        raise TransferStopped(
            f"{path} belongs to an interrupted {work}: add --resume, or remove the file"
        )
    try:
        _beside(path).open("wb").close()
        _beside(path).unlink()
    except OSError as error:
        raise _unwritable(path, error) from error


def _beside(path: Path) -> Path:
    return path.with_name(path.name + ".new")


def _unwritable(path: Path, error: OSError) -> TransferStopped:
    return TransferStopped(
        f"cannot write the state file {path}: {error.strerror}; name another with --state"
    )


def read_saved(path: Path, kind: type[S]) -> S:
    """Return what a state file holds; raises TransferStopped where there is none."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise TransferStopped(f"nothing to resume at {path}: {error}") from None


def load_state(
    path: Path, names: list[str], *, rebase: bool, rebase_to: int | None = None
) -> State:
    """Return the state of an interrupted import of the same files; raises TransferStopped."""
    state = read_saved(path, State)
    if state.files != fingerprints(names):
        raise TransferStopped(
            f"{path} belongs to other files, or they have changed: start without --resume"
        )
    if rebase != state.rebase:
        raise TransferStopped(f"{path} was begun {'without' if rebase else 'with'} --rebase")
    if rebase_to != state.rebase_to:
        raise TransferStopped(f"{path} was begun with another --rebase-to, or without one")
    return state
