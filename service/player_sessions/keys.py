"""API keys: who may call what.

A key is 256 random bits, so that a plain SHA-256 of it is as safe to keep as a slow hash would be;
only that is kept, in a file with a line for each key: `name scope,scope sha256`. The file is read
again when it changes, which is how keys are rotated.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from player_sessions.telemetry.logs import log

INGEST = "ingest"
READ = "read"
ADMIN = "admin"
SCOPES = (INGEST, READ, ADMIN)
UNAUTHORIZED = "unauthorized"
FORBIDDEN = "forbidden"
_LINE = re.compile(r"([\w.-]{1,64}) (\w+(?:,\w+)*) ([0-9a-f]{64})", re.ASCII)


class InvalidKeys(ValueError):
    """The file is not one of keys; the message names the line and never its content."""


class Key(NamedTuple):
    name: str
    scopes: frozenset[str]
    digest: bytes


def new_key(name: str, scopes: Sequence[str]) -> tuple[str, str]:
    """(the key, which is shown once, the line for the file of keys)."""
    key = "ps_" + secrets.token_urlsafe(32)
    return key, f"{name} {','.join(scopes)} {hashlib.sha256(key.encode()).hexdigest()}"


def parse(text: str) -> dict[bytes, Key]:
    """Keys by digest; empty lines and those that begin with # are left out."""
    keys: dict[bytes, Key] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise InvalidKeys(f"line {number}: must be `name scope,scope sha256-in-hex`")
        name, scopes, digest = match[1], frozenset(match[2].split(",")), bytes.fromhex(match[3])
        if unknown := scopes - set(SCOPES):
            raise InvalidKeys(f"line {number}: no such scope: {', '.join(sorted(unknown))}")
        if digest in keys:
            raise InvalidKeys(f"line {number}: the same key as an earlier line")
        keys[digest] = Key(name, scopes, digest)
    return keys


class Keys:
    """The keys of a file; raises InvalidKeys or OSError when it cannot be read at first."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._complaint = ""
        self._seen = self._state()
        self._keys = parse(self._path.read_text(encoding="utf-8"))

    def _state(self) -> tuple[int, int, int]:
        found = os.stat(self._path)
        return found.st_ino, found.st_size, found.st_mtime_ns

    def refresh(self) -> None:
        """Read the file again if it has changed; a bad one leaves the keys as they were."""
        try:
            state = self._state()
            if state == self._seen:
                return
            self._seen = state
            self._keys = parse(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            if str(error) != self._complaint:
                log.error("the keys file is bad: the keys stay as they were", cause=str(error))
            self._complaint = str(error)
        else:
            self._complaint = ""
            log.info("keys read", keys=len(self._keys))

    def refusal(self, authorization: bytes, scope: str) -> str | None:
        """Why a request with this Authorization header may not do what needs `scope`, or None.

        Looked up by digest, which a caller cannot steer, and compared in constant time.
        """
        scheme, _, key = authorization.partition(b" ")
        digest = hashlib.sha256(key.strip()).digest()
        found = self._keys.get(digest)
        if scheme.lower() != b"bearer" or found is None:
            return UNAUTHORIZED
        if not hmac.compare_digest(found.digest, digest):
            return UNAUTHORIZED
        return None if scope in found.scopes else FORBIDDEN
