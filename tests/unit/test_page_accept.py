"""The page for people is for browsers; every client of the JSON interface gets JSON."""

from __future__ import annotations

import time

import pytest

from player_sessions.web.page.accept import wants_page

CHROMIUM = (
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;"
    "q=0.8,application/signed-exchange;v=b3;q=0.7"
)
FIREFOX = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
SAFARI = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
JAVA = "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2"


def wants(*lines: str, **others: str) -> bool:
    headers = [(b"accept", line.encode()) for line in lines]
    more = [(name.replace("_", "-").encode(), value.encode()) for name, value in others.items()]
    return wants_page([(b"host", b"a"), *headers, *more])


@pytest.mark.parametrize(
    "accept",
    [
        CHROMIUM,
        FIREFOX,
        SAFARI,
        JAVA,
        "text/html",
        " TEXT/HTML ; Q=0.5 ",
        "text/html;charset=utf-8",
        "text/html;q=0.002, application/json;q=0.001",
        "text/html, application/json;q=0.9",
        "application/json;q=0, text/html;q=0.1, */*",
        "application/*;q=0.2, text/html;q=0.3, */*;q=1",
        ", text/html ,",
        "text/html;q=0.1, text/html, */*;q=0.5",
    ],
)
def test_who_likes_html_best_gets_the_page(accept: str) -> None:
    assert wants(accept)


@pytest.mark.parametrize(
    "accept",
    [
        "",
        "*/*",
        "application/json",
        "application/json, text/plain, */*",
        "application/json, text/html",
        "text/html, application/json",
        "text/html, */*",
        "text/html, application/*",
        "text/html;q=0.8, */*;q=0.9",
        "text/html;q=0.5, application/json;q=0.6, */*;q=0.1",
        "text/html;q=0.9, application/problem+json",
        "text/html;q=0",
        "text/html;q=0.000",
        "text/html;q=nan",
        "text/html;q=1e9",
        "text/html;q=-1",
        "text/html;q=",
        "text/html;q=0.1234",
        "text/htmlx, x-text/html",
        "text/*",
        "application/xhtml+xml",
        'a/b;x="text/html"',
        "text/html" + "," * 2000,
    ],
)
def test_who_likes_json_as_much_or_does_not_say_gets_json(accept: str) -> None:
    assert not wants(accept)


def test_without_accept_it_is_json() -> None:
    assert not wants()


def test_several_lines_of_accept_are_one_list() -> None:
    assert wants("image/png", "text/html")
    assert wants("text/html", "application/json;q=0.5")
    assert not wants("text/html;q=0.5", "application/json")


@pytest.mark.parametrize("header", ["content_length", "transfer_encoding"])
def test_a_request_with_a_body_is_the_original_contracts(header: str) -> None:
    assert not wants(CHROMIUM, **{header: "45"})


def test_a_long_header_costs_next_to_nothing() -> None:
    """64 KiB of it are read whole before they come here."""
    begun = time.perf_counter()
    for _ in range(100):
        assert not wants("text/html," + 'a/b;q=0.1;"' * 6000)
    assert time.perf_counter() - begun < 1
