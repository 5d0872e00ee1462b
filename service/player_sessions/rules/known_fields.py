"""Decodes only the fields of a document that we know, so that no other field can refuse it.

A value in an ignored field is skipped: it may be a number that Python cannot hold, text that is not
UTF-8, or half of a surrogate pair. The slow pass of `events` and the import both read by this.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable

import msgspec

UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_HIGH, _LOW = rb"\\u[dD][89abAB][0-9a-fA-F]{2}", rb"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
# The backslash of an escape has an even number of backslashes before it.
_SURROGATES = re.compile(
    rb"(?<!\\)((?:\\\\)*)(?:(%b%b)|%b|%b)" % (_HIGH, _LOW, _HIGH, _LOW),
)
_LEAP_SECOND = re.compile(r"(\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d):60(?:\.\d+)?(.*)", re.ASCII)
_decode_raw = msgspec.json.Decoder(msgspec.Raw).decode
_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_any = msgspec.json.Decoder().decode


def document_of(text: bytes) -> msgspec.Raw:
    """Return the JSON document of `text`, not decoded yet; raises one of UNDECODABLE.

    Clients cut texts in the middle of an emoji. JSON allows the escape of half a surrogate pair,
    but msgspec cannot even skip it. It skips a byte that is not UTF-8, so put that in its place.
    """
    try:
        return _decode_raw(text)
    except UNDECODABLE:
        return _decode_raw(_SURROGATES.sub(lambda m: m[0] if m[2] else m[1] + b"\xff", text))


def fields_of(document: msgspec.Raw, names: tuple[str, ...]) -> dict[str, msgspec.Raw] | None:
    """Return those fields of an object that are in `names`, in this order; None for no object."""
    try:
        found = _decoder(names)(document)
    except msgspec.ValidationError:
        return None
    fields = ((name, getattr(found, name)) for name in names)
    return {name: value for name, value in fields if value is not msgspec.UNSET}


@functools.cache
def _decoder(names: tuple[str, ...]) -> Callable[[msgspec.Raw], object]:
    kind = msgspec.Raw | msgspec.UnsetType
    struct = msgspec.defstruct("Known", [(name, kind, msgspec.UNSET) for name in names])
    return msgspec.json.Decoder(struct).decode


def items_of(document: msgspec.Raw) -> list[msgspec.Raw] | None:
    """Return the items of an array, not decoded yet; None for what is no array."""
    try:
        return _decode_list(document)
    except msgspec.ValidationError:
        return None


def items_under(key: str, body: bytes) -> list[msgspec.Raw] | None:
    """Return the items of the array under `key` of an object; None for any other document.

    Raises one of UNDECODABLE.
    """
    fields = fields_of(document_of(body), (key,))
    return items_of(fields[key]) if fields else None


def plain(value: msgspec.Raw) -> object:
    """Return a value as Python has it; raises one of UNDECODABLE if Python cannot hold it."""
    try:
        return _decode_any(value)
    except UnicodeDecodeError:
        raise msgspec.DecodeError("a field has text that is not Unicode") from None


def plain_or_no_value(value: msgspec.Raw) -> object:
    """Return a value as Python has it, or if Python cannot hold it, a value that no field takes."""
    try:
        return plain(value)
    except UNDECODABLE:
        return []


def event_of(
    document: msgspec.Raw,
    names: tuple[str, ...],
    value_of: Callable[[msgspec.Raw], object] = plain,
) -> object:
    """Return an object with those fields that are in `names`; None for what is no object.

    `value_of` decodes the value of a field. A `ts` in a leap second (RFC 3339), which Python cannot
    hold, becomes the last millisecond of its minute.
    """
    fields = fields_of(document, names)
    if fields is None:
        return None
    event = {name: value_of(value) for name, value in fields.items()}
    if isinstance(ts := event.get("ts"), str) and (match := _LEAP_SECOND.fullmatch(ts)):
        event["ts"] = f"{match[1]}:59.999{match[2]}"
    return event
