"""The page /docs works in a real browser that reaches nothing but the service."""

from __future__ import annotations

import json

import httpx
import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from dev.cluster import Cluster
from dev.service import Server, variables, wait_for
from tests.browsing import prefixed, requested


def send_example(browser: Chrome, page: str) -> tuple[WebElement, WebElement]:
    """Send the example of `POST /v1/events` from the page; return status and body as it shows."""

    def found(selector: str) -> WebElement:
        element: WebElement = wait_for(
            lambda: next(iter(browser.find_elements(By.CSS_SELECTOR, selector)), None),
            what=selector,
        )
        return element

    browser.get(page)
    found("#operations-games-V1EventsIngest .opblock-summary-control").click()
    found("#operations-games-V1EventsIngest .try-out__btn").click()
    found("#operations-games-V1EventsIngest .execute").click()
    answer = found("#operations-games-V1EventsIngest .live-responses-table .response")
    status = answer.find_element(By.CSS_SELECTOR, ".response-col_status")
    return status, answer.find_element(By.CSS_SELECTOR, "code")


def test_the_page_works_without_internet_and_sends_its_example(
    browser: Chrome, server: Server
) -> None:
    status, body = send_example(browser, f"{server.url}/docs")
    assert status.text.startswith("200")
    assert json.loads(body.text) == {"accepted": 2, "discarded": 0}
    assert browser.get_log("browser") == []  # type: ignore[no-untyped-call]
    urls = requested(browser)
    assert f"{server.url}/v1/events" in urls
    assert [url for url in urls if not url.startswith(f"{server.url}/")] == []


@pytest.mark.parametrize("page", ["/docs", "/docs/"])
def test_the_page_works_behind_a_prefix(browser: Chrome, server: Server, page: str) -> None:
    with prefixed(server, "/games/sessions") as proxy:
        status, body = send_example(browser, f"{proxy}/games/sessions{page}")
        assert status.text.startswith("200")
        assert json.loads(body.text) == {"accepted": 2, "discarded": 0}
        assert browser.get_log("browser") == []  # type: ignore[no-untyped-call]
        urls = requested(browser)
    assert f"{proxy}/games/sessions/v1/events" in urls
    assert [url for url in urls if not url.startswith(f"{proxy}/games/sessions/")] == []


def test_the_description_names_its_server_relative_to_itself(server: Server) -> None:
    document = server.http.get("/docs/openapi.json").json()
    assert document["servers"] == [{"url": ".."}]


def test_every_operation_has_a_summary_in_words_and_a_tag_for_its_audience(server: Server) -> None:
    document = server.http.get("/docs/openapi.json").json()
    audiences = {tag["name"] for tag in document["tags"]}
    assert audiences == {"games", "analysts", "operators"}
    operations = [call for path in document["paths"].values() for call in path.values()]
    assert operations
    for operation in operations:
        assert " " in operation["summary"], operation["summary"]
        assert operation["tags"], operation["summary"]
        assert set(operation["tags"]) <= audiences
    summaries = [operation["summary"] for operation in operations]
    assert len(set(summaries)) == len(summaries)


@pytest.mark.parametrize("path", ["/docs", "/docs/openapi.json", "/docs/swagger-ui-bundle.js"])
def test_the_page_may_load_only_from_the_service(server: Server, path: str) -> None:
    answer = server.http.get(path)
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "//" not in policy
    assert "unsafe" not in policy


def test_the_page_can_be_switched_off(cassandra: Cluster, keyspace: str) -> None:
    with Server(variables(cassandra, keyspace, DOCS="off")) as server:
        for path in ("/docs", "/docs/openapi.json", "/docs/swagger-ui.css", "/schema"):
            assert httpx.get(server.url + path).status_code == 404
