"""Headers are read as RFC 9110 says, whatever blanks, cases and lists they have."""

from __future__ import annotations

import time

import pytest

from player_sessions.web.headers import allow, is_gzip, normalised, prefers_lenient


def test_blanks_around_a_value_mean_nothing() -> None:
    sent = [(b"content-type", b"application/json "), (b"x", b"\t a b \t"), (b"empty", b"")]
    assert normalised(sent) == [
        (b"content-type", b"application/json"),
        (b"x", b"a b"),
        (b"empty", b""),
    ]


def test_lines_of_content_encoding_are_one_list_and_of_other_headers_the_last_counts() -> None:
    sent = [
        (b"content-encoding", b"gzip "),
        (b"authorization", b"Bearer one"),
        (b"content-encoding", b"identity"),
        (b"authorization", b"Bearer two "),
    ]
    found = dict(normalised(sent))
    assert is_gzip(found[b"content-encoding"]) is True
    assert found[b"authorization"] == b"Bearer two"


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        (b"", False),
        (b"identity", False),
        (b"Identity", False),
        (b" , ,", False),
        (b"identity, identity", False),
        (b"gzip", True),
        (b"GZip", True),
        (b"x-gzip", True),
        (b"X-GZIP\t", True),
        (b" gzip ", True),
        (b"gzip, identity", True),
        (b"identity,,gzip,", True),
        (b"br", None),
        (b"gzip, gzip", None),
        (b"gzip, br", None),
        (b"deflate", None),
        (b"gzip;q=1", None),
        (b"gzip identity", None),
    ],
)
def test_an_encoding_is_gzip_or_plain_or_refused(encoding: bytes, expected: bool | None) -> None:
    assert is_gzip(encoding) is expected


def test_lines_of_prefer_are_one_list() -> None:
    sent = [(b"prefer", b"respond-async "), (b"x", b"1"), (b"prefer", b"handling=lenient")]
    (prefer,) = [value for name, value in normalised(sent) if name == b"prefer"]
    assert prefers_lenient(prefer)
    (prefer,) = [value for name, value in normalised(sent[::-1]) if name == b"prefer"]
    assert prefers_lenient(prefer)


@pytest.mark.parametrize(
    ("prefer", "expected"),
    [
        (b"handling=lenient", True),
        (b"Handling=Lenient", True),
        (b'handling="lenient"', True),
        (rb'handling="l\enient"', True),
        (b"handling\t=  lenient", True),
        (b"handling=lenient; foo", True),
        (b'handling=lenient;foo="a, handling=strict" ;; bar = 1', True),
        (b"respond-async, wait=10, handling=lenient", True),
        (b'foo="a\\", b", handling=lenient', True),
        (b",, ,handling=lenient", True),
        (b"foo; bar=1; baz, handling=lenient", True),
        (b"handling=lenient, handling=strict", True),
        (b"foo=, handling=lenient", True),
        (b"handling=strict, handling=lenient", False),
        (b"handling=whatever, handling=lenient", False),
        (b"handling, handling=lenient", False),
        (b'handling="", handling=lenient', False),
        (b"", False),
        (b"handling=strict", False),
        (b"handling", False),
        (b"handling=", False),
        (b"lenient", False),
        (b"lenient=handling", False),
        (b"xhandling=lenient", False),
        (b"handling=lenient2", False),
        (b"foo; handling=lenient", False),
        (b'foo="handling=lenient"', False),
        (b'foo="a, handling=lenient, b"', False),
        (b'foo="a, handling=lenient', False),
        (b"handling lenient", False),
        (b"handling=lenient strict", False),
        (b"return=minimal", False),
        (b"\xff, handling=lenient", False),
    ],
)
def test_lenient_handling_is_preferred_as_rfc_7240_says(prefer: bytes, expected: bool) -> None:
    assert prefers_lenient(prefer) is expected


@pytest.mark.parametrize(
    "part",
    [b'"', b'\\"', b'a="', b'a="\\', b" ", b"; ", b" ;", b",", b"a=", b"a ", b"\t\\", b"a;\t"],
)
def test_no_preference_takes_long_to_read(part: bytes) -> None:
    """The loop waits for it, so even the longest head may take only some milliseconds."""
    begun = time.process_time()
    for prefer in (part * (65_000 // len(part)), b'a="' + part * (65_000 // len(part))):
        assert not prefers_lenient(prefer)
    assert time.process_time() - begun < 1


def test_head_is_allowed_wherever_get_is() -> None:
    assert allow(["OPTIONS", "GET"]) == "GET, HEAD, OPTIONS"
    assert allow(["POST", "OPTIONS"]) == "OPTIONS, POST"
