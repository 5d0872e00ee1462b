"""Player ids: what is one, and how it becomes the UUID under which a player is stored.

A UUID is stored as it is. Any other id is stored as a UUID made from its BLAKE2b digest, so that a
row stays small and the id itself is never stored. An id is compared character by character: another
case, or another Unicode normalisation of the same text, is another player.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Annotated, Any
from uuid import UUID, SafeUUID

import msgspec
from msgspec import Meta

from player_sessions.rules.reasons import INVALID_PLAYER_ID, PLACEHOLDER_PLAYER_ID, Reason

MAX_LENGTH = 128  # characters
UUID_PATTERN = "^([0-9a-fA-F]{32}|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})$"
# The JSON Schemas of ids are what /docs shows; the rules are the functions below. \p is of
# ECMAScript, which JSON Schema uses: letters, marks, numbers, punctuation, symbols and the blank.
PLAYER_ID_SCHEMA = {
    "type": "string",
    "minLength": 1,
    "maxLength": MAX_LENGTH,
    "pattern": r"^[\p{L}\p{M}\p{N}\p{P}\p{S} ]+$",
}
PLAYER_ID_WORDS = (
    "1-128 printable characters. A UUID is the same with and without dashes. A setting of the"
    " service may allow only UUIDs."
)
# What languages write where a value is missing, in lower case. A client that sends one of these,
# in any case and with or without blanks around it, has a bug.
PLACEHOLDERS = frozenset(
    {"", "null", "(null)", "<null>", "undefined", "none", "nil", "(nil)", "<nil>", "nan", "-nan"}
)
# An object of JavaScript as text, such as `[object Object]` or `[object Promise]`.
_is_object = re.compile(r"\[object \w*\]\Z").match
# How such a text ends: most ids of games end otherwise and need no closer look.
_LAST_OF_BAD = "".join({text[-1:] + text[-1:].upper() for text in PLACEHOLDERS}) + "] "
_is_uuid = re.compile(UUID_PATTERN.replace("$", r"\Z")).match
# RFC 9562 keeps version 8 for UUIDs such as a digest; 122 bits of the digest remain.
_KEPT = ~(0xF << 76 | 0x3 << 62) & (1 << 128) - 1
_VERSION_8 = 0x8 << 76 | 0x2 << 62
# `UUID(int=…)` takes 0.5 µs to check its arguments, which is half of what an id may cost.
_fields: Mapping[str, Any] = vars(UUID)
_set_int, _set_is_safe = _fields["int"].__set__, _fields["is_safe"].__set__
_new, _int_of, _UNKNOWN = object.__new__, int.from_bytes, SafeUUID.unknown


class InvalidPlayerId(ValueError):
    """The text is no player id; the message says what is wrong and never names the text."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


PlayerId = Annotated[UUID, Meta(description=PLAYER_ID_WORDS, extra_json_schema=PLAYER_ID_SCHEMA)]
PlayerOf = Callable[[str], UUID]


def player_uuid(text: str) -> UUID:
    """Return the UUID under which the player is stored; raises InvalidPlayerId.

    Two ids share a UUID only if 122 bits of their digests agree by chance. That a billion players
    have one such pair among them has a probability of 1 in 10 ** 19.
    """
    size = len(text)
    if (size == 32 or size == 36) and _is_uuid(text):
        return msgspec.convert(text, UUID)
    if size > MAX_LENGTH or text[-1:] in _LAST_OF_BAD or not text.isprintable():
        _refuse_bad(text)
    digest = _int_of(blake2b(text.encode(), digest_size=16).digest(), "big")
    made = _new(UUID)
    _set_int(made, digest & _KEPT | _VERSION_8)
    _set_is_safe(made, _UNKNOWN)
    return made


def only_uuid(text: str) -> UUID:
    """Return the UUID that the text is, where no other ids are taken; raises InvalidPlayerId."""
    if _is_uuid(text):
        return msgspec.convert(text, UUID)
    _refuse_bad(text)
    raise InvalidPlayerId(INVALID_PLAYER_ID, "must be 32 hexadecimal digits or a UUID")


# By the value of the setting `player_ids`.
PLAYER_OF: dict[str, PlayerOf] = {"any": player_uuid, "uuid": only_uuid}


def shown(text: str) -> str:
    """Return the id as answers show it: a UUID as 32 lower-case digits, any other id as it is."""
    return text.replace("-", "").lower() if _is_uuid(text) else text


def _refuse_bad(text: str) -> None:
    plain = text.strip().lower()
    if plain in PLACEHOLDERS or _is_object(plain):
        raise InvalidPlayerId(
            PLACEHOLDER_PLAYER_ID, "is the text of a missing value, which is a bug in the client"
        )
    if len(text) > MAX_LENGTH or not text.isprintable():
        raise InvalidPlayerId(
            INVALID_PLAYER_ID, f"must be 1-{MAX_LENGTH} printable characters or a UUID"
        )
