"""Events as clients send them: the same fields, but the player id is any text.

msgspec makes a UUID of text in no time, but refuses any other id. So `events` decodes a body for
UUIDs first, and decodes it by this module when that fails.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Struct, structs

from player_sessions.rules.known_fields import UNDECODABLE
from player_sessions.rules.players import InvalidPlayerId

PLAYER_ID = "player_id"


class SentEvents:
    """Makes events of the given kinds, such as Start and End, from what clients send."""

    def __init__(self, *kinds: type[Struct]) -> None:
        self._kinds: dict[type[Any], Callable[..., Any]] = {_sent(kind): kind for kind in kinds}
        union: Any = functools.reduce(operator.or_, self._kinds)
        self._type: Any = list[union]
        self._decode_one: Callable[[bytes], Any] = msgspec.json.Decoder(union).decode

    def decoder(self, key: str) -> Callable[[bytes, Callable[[str], UUID]], list[Any]]:
        """Return a function that makes the events under `key` of a body; none if one is wrong.

        The function is given what makes a UUID of an id.
        """
        fields = [(key, self._type)]
        body = msgspec.defstruct("SentBody", fields, frozen=True, gc=False)
        decode: Callable[[bytes], Any] = msgspec.json.Decoder(body).decode

        def decoded(text: bytes, player_of: Callable[[str], UUID]) -> list[Any]:
            try:
                return self._made(getattr(decode(text), key), player_of)
            except (*UNDECODABLE, InvalidPlayerId):
                return []

        return decoded

    def decode_one(self, text: bytes, player_of: Callable[[str], UUID]) -> Any:
        """Return the event of a text that is only this event, like the function of `decoder`."""
        return self._made([self._decode_one(text)], player_of)[0]

    def convert(self, items: object, player_of: Callable[[str], UUID]) -> list[Any]:
        """Return the events of items that JSON decodes and that are valid."""
        return self._made(msgspec.convert(items, self._type), player_of)

    def _made(self, sent: Sequence[Any], player_of: Callable[[str], UUID]) -> list[Any]:
        kinds = self._kinds
        return [
            kinds[type(one)](player_of(one.player_id), one.session_id, one.ts, one.country)
            for one in sent
        ]


def _sent(kind: type[Struct]) -> type[Struct]:
    """Return a type with the fields of `kind`, except that the player id is text."""
    fields = [
        (field.name, str if field.name == PLAYER_ID else field.type, field.default)
        for field in structs.fields(kind)
    ]
    config = kind.__struct_config__
    return msgspec.defstruct(
        f"Sent{kind.__name__}",
        fields,
        tag_field=config.tag_field,
        tag=config.tag,
        frozen=True,
        gc=False,
    )
