"""API keys: who may call what.

A key has 256 random bits, so its plain SHA-256 is as safe to store as a slow hash would be. Only
the hash is stored, in a file with a line for each key: `name scope,scope sha256`. To rotate keys,
change the file: the service reads it again.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from player_sessions.rules.reasons import FORBIDDEN, UNAUTHORIZED, Reason
from player_sessions.telemetry.logs import log

INGEST = "ingest"
READ = "read"
ERASE = "erase"
SCOPES = (INGEST, READ, ERASE)
_LINE = re.compile(r"([\w.-]{1,64}) (\w+(?:,\w+)*) ([0-9a-f]{64})", re.ASCII)


class InvalidKeys(ValueError):
    """The file is not a valid keys file; the message names a line, but never its content."""


class Key(NamedTuple):
    """The name and the scopes of a key."""

    name: str
    scopes: frozenset[str]


def new_key(name: str, scopes: Sequence[str]) -> tuple[str, str]:
    """Return a new key, which is shown only once, and its line for the keys file."""
    key = "ps_" + secrets.token_urlsafe(32)
    return key, f"{name} {','.join(scopes)} {hashlib.sha256(key.encode()).hexdigest()}"


def parse(text: str) -> dict[bytes, Key]:
    """Return the keys by their digest; empty lines and lines that begin with # are skipped.

    A text without a key is refused: a file is empty for a moment while some programs rewrite it.
    """
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
        keys[digest] = Key(name, scopes)
    if not keys:
        raise InvalidKeys("there is no key in it")
    return keys


class Keys:
    """The keys of a file; raises InvalidKeys or OSError when the file cannot be read at first."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._complaint = ""
        self._seen = self._state()
        self._keys = parse(self._path.read_text(encoding="utf-8"))

    def _state(self) -> tuple[int, int, int]:
        found = os.stat(self._path)
        return found.st_ino, found.st_size, found.st_mtime_ns

    def refresh(self) -> None:
        """Read the file again if it has changed; a bad file leaves the keys as they were."""
        try:
            state = self._state()
            if state == self._seen:
                return
            text = self._path.read_text(encoding="utf-8")
            self._seen = state
            self._keys = parse(text)
        except (OSError, ValueError) as error:
            if str(error) != self._complaint:
                log.error("the keys file is bad: the keys stay as they were", cause=str(error))
            self._complaint = str(error)
        else:
            self._complaint = ""
            log.info("keys read", keys=len(self._keys))

    def refusal(self, authorization: bytes, scope: str) -> Reason | None:
        """Return why this Authorization header does not allow what needs `scope`, or None.

        The look-up is by SHA-256 digest. A caller cannot choose the digest of a guess, so the time
        that the look-up takes tells nothing about the keys.
        """
        scheme, _, key = authorization.partition(b" ")
        digest = hashlib.sha256(key.strip()).digest()
        found = self._keys.get(digest)
        if scheme.lower() != b"bearer" or found is None:
            return UNAUTHORIZED
        return None if scope in found.scopes else FORBIDDEN
