"""Which clients get the page for people: browsers, and no client of the JSON interface.

RFC 9110, 12.4 and 12.5.1, tells how `Accept` is read. Where a client likes JSON as much as HTML, or
does not say, it gets JSON.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_HTML = "text/html"
_JSON = ("application/json", "application/*", "*/*")  # the more specific one counts
# The header of a browser is shorter. Reading a long one would take time, and only its sender's
# client would gain by it.
_LONGEST = 1024
_BODY = (b"content-length", b"transfer-encoding")
_WEIGHT = re.compile(r"0?\.\d{1,3}|[01](?:\.\d{0,3})?")  # Java's own client leaves the zero out


def wants_page(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Return whether the headers of a GET are a browser's: it likes HTML best, and has no body.

    A GET with a body is a request of the original contract, whatever it accepts.
    """
    lines = []
    for name, value in headers:
        if name == b"accept":
            lines.append(value)
        elif name in _BODY:
            return False
    accept = b",".join(lines)
    if not accept or len(accept) > _LONGEST:
        return False
    text = accept.decode("latin-1").lower()
    return _HTML in text and _prefers_html(text)


def _prefers_html(accept: str) -> bool:
    weights: dict[str, float] = {}
    for element in accept.split(","):
        media_range, *parameters = (part.strip() for part in element.split(";"))
        if media_range.endswith("+json"):
            media_range = _JSON[0]
        weights[media_range] = max(_weight(parameters), weights.get(media_range, 0))
    json = next((weights[each] for each in _JSON if each in weights), 0)
    return weights.get(_HTML, 0) > json


def _weight(parameters: list[str]) -> float:
    """Return the weight `q`, which is 1 unless it is given; a malformed one counts as 0."""
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            value = value.strip()
            return min(float(value), 1) if _WEIGHT.fullmatch(value) else 0
    return 1
