"""A second Cassandra for tests that kill it, and a browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

from dev import toolchain
from dev.cluster import Cluster
from dev.service import run_schema_apply

KEYSPACE = "faults"
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)  # fmt: skip


@pytest.fixture(scope="session")
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Share a node with the schema in keyspace `faults`; a test that ends it starts it again."""
    with Cluster(tmp_path_factory.mktemp("mortal")) as cluster:
        run_schema_apply(cluster, KEYSPACE)
        yield cluster


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Chrome]:
    """Start Chromium, which reaches nothing but 127.0.0.1 and logs all that it requests."""
    options = ChromeOptions()
    options.binary_location = toolchain.program("chromium", "chromium")
    for flag in (*FLAGS, f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = Chrome(options, Service(toolchain.program("chromedriver", "chromium-driver")))
    driver.set_window_size(1200, 1600)
    yield driver
    driver.quit()
