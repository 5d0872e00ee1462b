"""The headers of a request in the one form in which we look at them, and two of our answers'."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

NO_STORE = {"Cache-Control": "no-store"}  # an answer about a player belongs to no cache

PREFER = b"prefer"
_LISTS = (b"content-encoding", PREFER)
_TOKEN, _QUOTED = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]++", rb'"(?:[^"\\]|\\.)*+"'
# A preference or one of its parameters, with the comma or semicolon behind it (RFC 7240). It reads
# each character once, since nothing in it goes back, so that no header can make it slow.
_PREFERENCE = re.compile(
    rb"[ \t]*+(?:(%b)(?:[ \t]*+=[ \t]*+(%b|%b)?+)?+)?+[ \t]*+([,;]|\Z)" % (_TOKEN, _TOKEN, _QUOTED)
)


def normalised(headers: Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return each header once and without blanks around its value; the parser keeps trailing ones.

    Several lines of Content-Encoding or Prefer make one list (RFC 9110, 5.3). No other header that
    we look at is a list: of those the last line counts.
    """
    found = {name: value.strip() for name, value in headers}
    if len(found) < len(headers):
        for each in found.keys() & _LISTS:
            found[each] = b", ".join(value for name, value in headers if name == each)
    return list(found.items())


def is_gzip(encoding: bytes) -> bool | None:
    """Return whether a Content-Encoding is gzip, or None when it is neither gzip nor plain.

    RFC 9110 knows gzip as x-gzip too, in any case, and empty elements of a list mean nothing.
    """
    if not encoding:
        return False
    codings = [coding.strip().lower() for coding in encoding.split(b",")]
    match [coding for coding in codings if coding not in (b"", b"identity")]:
        case []:
            return False
        case [b"gzip" | b"x-gzip"]:
            return True
    return None


def prefers_lenient(prefer: bytes) -> bool:
    """Return whether the value of a `Prefer` asks for lenient handling (RFC 7240).

    Of several preferences for `handling` the first counts, and an unknown one means nothing. What
    follows a mistake in the header means nothing either.
    """
    at, behind = 0, b","
    while match := _PREFERENCE.match(prefer, at):
        name, value, then = match.groups(b"")
        if behind == b"," and name.lower() == b"handling":  # behind a semicolon is a parameter
            return _unquoted(value).lower() == b"lenient"
        if not then:
            break
        at, behind = match.end(), then
    return False


def _unquoted(value: bytes) -> bytes:
    return re.sub(rb"\\(.)", rb"\1", value[1:-1]) if value.startswith(b'"') else value


def allow(methods: Iterable[str]) -> str:
    """Return the value of `Allow`; the middleware answers HEAD wherever a route answers GET."""
    known = set(methods)
    return ", ".join(sorted(known | {"HEAD"} if "GET" in known else known))
