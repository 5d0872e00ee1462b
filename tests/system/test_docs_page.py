"""The page /docs in a real browser that reaches nothing but the service."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from dev import toolchain
from dev.cluster import Cluster
from tests.support import Server, variables, wait_for

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)  # fmt: skip


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Chrome]:
    options = ChromeOptions()
    options.binary_location = toolchain.program("chromium", "chromium")
    for flag in (*FLAGS, f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = Chrome(options, Service(toolchain.program("chromedriver", "chromium-driver")))
    driver.set_window_size(1200, 1600)
    yield driver
    driver.quit()


def requested(browser: Chrome) -> list[str]:
    """The address of every request that the browser tried on the network."""
    logged: list[Any] = browser.get_log("performance")  # type: ignore[no-untyped-call]
    messages = [json.loads(entry["message"])["message"] for entry in logged]
    urls = [
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    ]
    return [url for url in urls if not url.startswith(("data:", "chrome:"))]  # its own pages


def test_the_page_works_without_internet_and_sends_its_example(
    browser: Chrome, server: Server
) -> None:
    def found(selector: str) -> WebElement:
        element: WebElement = wait_for(
            lambda: next(iter(browser.find_elements(By.CSS_SELECTOR, selector)), None),
            what=selector,
        )
        return element

    browser.get(f"{server.url}/docs")
    found("#operations-default-V1EventsIngest .opblock-summary-control").click()
    found("#operations-default-V1EventsIngest .try-out__btn").click()
    found("#operations-default-V1EventsIngest .execute").click()
    answer = found("#operations-default-V1EventsIngest .live-responses-table .response")

    assert answer.find_element(By.CSS_SELECTOR, ".response-col_status").text.startswith("200")
    assert json.loads(answer.find_element(By.CSS_SELECTOR, "code").text) == {
        "accepted": 2,
        "discarded": 0,
    }
    assert browser.get_log("browser") == []  # type: ignore[no-untyped-call]
    urls = requested(browser)
    assert f"{server.url}/v1/events" in urls
    assert [url for url in urls if not url.startswith(f"{server.url}/")] == []


@pytest.mark.parametrize("path", ["/docs", "/docs/openapi.json", "/docs/swagger-ui-bundle.js"])
def test_the_page_may_load_from_us_alone(server: Server, path: str) -> None:
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
